"""Split embedded images and captions by image: NAME_train, NAME_val, NAME_test, and NAME_tuning, a share of NAME_train.

NAME_image_embeddings.pt, NAME_text_embeddings.pt and NAME_metadata.json lie in the data directory, and so do then those of the
parts, which a run finds by CONFIG_DATASET=embeddings and CONFIG_EMBEDDINGS_TRAIN, _VAL and _TEST. All captions of an image are in
one part; the same seed makes the same parts. Of the metadata go along: texts, and lists with an entry for each pair. A search is
quicker with CONFIG_EMBEDDINGS_TRAIN="NAME_tuning". Nothing is replaced.
"""

import argparse
from pathlib import Path

from ksweep.analysis.formats import table
from ksweep.contract.errors import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("name", metavar="NAME", help="of the set: coco for DATA_DIR/coco_image_embeddings.pt and its siblings")
    parser.add_argument(
        "--data-dir", metavar="DATA_DIR", type=Path, default=Path("data"), help="where it lies (default: %(default)s)"
    )
    for part, share, of in (("val", 0.1, "the images"), ("test", 0.2, "the images"), ("tuning", 0.2, "those of NAME_train")):
        parser.add_argument(
            f"--{part}",
            metavar="SHARE",
            type=float,
            default=share,
            help=f"of {of} in NAME_{part}; 0: none (default: %(default)s)",
        )
    parser.add_argument("--seed", type=int, default=42, help="which images come into which part (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """See the module docstring; prints what each part holds."""
    from ksweep.data.embedding_split import split_set

    if not 0 <= args.seed < 2**32:
        raise RequestError(f"SEED: found {args.seed}, allowed: 0 to {2**32 - 1}")
    written = split_set(args.data_dir, args.name, val=args.val, test=args.test, tuning=args.tuning, seed=args.seed)
    rows = [[part.name, f"{part.num_images:,}", f"{part.num_pairs:,}"] for part in written]
    print("\n".join(table(["part", "images", "pairs"], rows, left=["part"])))
    return 0
