"""Build the emoji set: each emoji of Debian's Noto Color Emoji, and as captions what it is called and sought by in English.

An image has up to three captions: its short name in Unicode's CLDR ("hammer"), the keywords beside it ("tool"), and all words of
npm's emojilib in a row ("hammer, tools, build, create, claw, handyman, tool"). Keywords that several images have, such as "flag",
are left out: they could not say which is meant. So are skin tones: five more pictures of the same sign, they would be half
of the set. Glyphs that are equal, such as the flags of Norway and of Bouvet Island, are one image with the captions of both.
Emoji that differ in who is shown, man, woman or person, are in one part: else the picture of the one would have been seen in
training when the other is asked for.

Embeddings know nothing but these pictures and words: of images PCA over gradients and colours (emoji_features.py), of captions
SVD over TF-IDF of words and of pieces of words; what is fitted is fitted on the training part.

DATA_DIR/
  emoji_{train,val,test}_*    the parts, as embedding_files.py describes them
  emoji_glyphs/1F528.png      the picture of each image, named by its code points as the id is
"""

import io
import json
import re
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, features

from ksweep.contract.atomic import exclusive, write_bytes
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.embedding_files import open_set, paths_of, read_metadata
from ksweep.data.embedding_split import NewSet, split_by_image, write_sets
from ksweep.data.emoji_features import embed_images, embed_texts
from ksweep.data.fetch import debian_package, npm_package
from ksweep.data.paired.emoji import PARTS

FONT, NAMES = "fonts-noto-color-emoji", "unicode-cldr-core"  # of Debian
FONT_FILE = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
WORDS, WORDS_VERSION = "emojilib", "4.0.3"  # of npm
GLYPHS = "emoji_glyphs"
FONT_SIZE, GLYPH_SIZE = 109, (136, 128)  # the one size that this font holds, and the pixels of a glyph there
SHARES, SEED_OF_SPLIT = {"val": 0.15, "test": 0.15}, 42
SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
# What says who is shown; the joiner between the parts of a sequence, and the sign that asks for colour, say nothing.
WHO = str.maketrans({"👨": "🧑", "👩": "🧑", "👦": "🧒", "👧": "🧒", **dict.fromkeys("♂♀\u200d\ufe0f")})
Picture = Image.Image


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """An image: `id` its code points, as "1F468-200D-1F33E"; `family`: emoji that are alike, one of its code points left out or
    another; `captions`, at least one."""

    id: str
    family: str
    picture: Picture
    captions: tuple[str, ...]


def is_stored(data_dir: Path) -> bool:
    """True when all is in `data_dir` and whole; False when nothing is. KsweepError, with what to do, for some of it."""
    paths = [path for part in PARTS for path in paths_of(data_dir, part)]
    there = [path for path in paths if path.exists()]
    if not there:
        return False
    again = f"delete {data_dir}/emoji_* and run `make data-emoji` again"
    if len(there) < len(paths):
        missing = next(path for path in paths if path not in there)
        raise KsweepError(f"{missing}: not there, but {there[0]} is: {again}")
    try:
        for part in PARTS:
            open_set(data_dir, part)
            for picture in set(read_metadata(data_dir, part)["image_paths"]):
                if not (data_dir / picture).is_file():
                    raise ConfigError(f"{data_dir / picture}: not there")
    except (ConfigError, KeyError, TypeError) as error:
        raise KsweepError(f"{error}: {again}") from None
    return True


def store(data_dir: Path) -> list[str]:
    """Fetch, draw, embed, split, write; what was made of what, in lines. KsweepError when a client fails or a package is another
    one than expected."""
    if not features.check("raqm"):
        raise KsweepError("Pillow without raqm draws an emoji of several code points as several: install pillow from its wheel")
    data_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(data_dir / ".lock"), tempfile.TemporaryDirectory(dir=data_dir, prefix=".fetch-") as scratch:
        emoji, packages = _fetch(Path(scratch))
        sets = embed(emoji, packages)
        write_pictures(data_dir, emoji)
        write_sets(data_dir, sets)
    return [f"packages: {', '.join(packages)}", *(_counts(name, sets[name]) for name in PARTS)]


def _fetch(scratch: Path) -> tuple[list[Emoji], list[str]]:
    """All emoji, and the packages that they are of, each with its version."""
    roots = {name: debian_package(name, scratch / name) for name in (FONT, NAMES)}
    packages = [*(next(root.parent.glob("*.deb")).stem for root in roots.values()), f"{WORDS}_{WORDS_VERSION}"]
    (scratch / WORDS).mkdir()
    words_root = npm_package(WORDS, WORDS_VERSION, scratch / WORDS)
    try:
        words = read_words(words_root)
        names, keywords = read_annotations(roots[NAMES])
        captions = {sign: captions_of(name, keywords.get(sign, []), words.get(sign, [])) for sign, name in names.items()}
        return draw(roots[FONT] / FONT_FILE, captions), packages
    except (OSError, KeyError, ValueError, ET.ParseError) as error:
        raise KsweepError(f"{', '.join(packages)}: not as they were when this was written: {error!r}") from None


def _counts(name: str, new: NewSet) -> str:
    return f"{name}: {len(new.image_rows)} images x {new.images.shape[1]}, {len(new.text_rows)} captions x {new.texts.shape[1]}"


def read_annotations(root: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Of each character or sequence its English short name, and its keywords."""
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = {}
    for folder in ("annotations", "annotationsDerived"):  # the second: flags, keycaps, who does what
        for each in ET.parse(root / "usr/share/unicode/cldr/common" / folder / "en.xml").iter("annotation"):
            sign, text = each.attrib["cp"], each.text or ""
            if each.get("type") == "tts":
                names[sign] = text
            else:
                keywords[sign] = text.split(" | ")
    return names, keywords


def read_words(root: Path) -> dict[str, list[str]]:
    """Of each emoji its name and other words."""
    words: dict[str, list[str]] = json.loads((root / "dist" / "emoji-en-US.json").read_text(encoding="utf-8"))
    return {sign.replace("\ufe0f", ""): [each.replace("_", " ") for each in of] for sign, of in words.items()}


def captions_of(name: str, keywords: Iterable[str], words: Iterable[str]) -> tuple[str, ...]:
    """The name; the keywords beside it; all words in a row: those that there are, equal ones once."""
    found = (name, ", ".join(word for word in keywords if word != name), ", ".join(words))
    return tuple(dict.fromkeys(filter(None, found)))


def draw(font_file: Path, captions: Mapping[str, tuple[str, ...]]) -> list[Emoji]:
    """All signs of `captions` that the font has one glyph for, in their order: none with a skin tone, equal glyphs once."""
    font = ImageFont.truetype(font_file, FONT_SIZE)
    found: dict[bytes, Emoji] = {}
    for sign, of in captions.items():
        picture = None if SKIN_TONE.search(sign) else _draw(font, sign)
        if picture is None:
            continue
        new = Emoji(id="-".join(f"{ord(c):04X}" for c in sign), family=family_of(sign), picture=picture, captions=of)
        content = picture.tobytes()
        first = found.get(content, new)
        found[content] = replace(first, captions=tuple(dict.fromkeys((*first.captions, *of))))
    counts = Counter(caption for each in found.values() for caption in each.captions)
    return [replace(each, captions=_own(each.captions, counts)) for each in found.values()]


def _own(captions: Sequence[str], counts: Mapping[str, int]) -> tuple[str, ...]:
    """The name, and of the others those that no other image has."""
    return tuple(of for place, of in enumerate(captions) if place == 0 or counts[of] == 1)


def _draw(font: ImageFont.FreeTypeFont, sign: str) -> Picture | None:
    """The glyph on nothing; None where the font has none, or several in a row."""
    if font.getlength(sign) > GLYPH_SIZE[0]:
        return None
    picture = Image.new("RGBA", GLYPH_SIZE)
    ImageDraw.Draw(picture).text((0, 0), sign, font=font, embedded_color=True)
    return picture if picture.getbbox() else None


def family_of(sign: str) -> str:
    """The same for emoji that differ in who is shown, and how many of them."""
    return "".join(dict.fromkeys(sign.translate(WHO))) or sign


def embed(emoji: Sequence[Emoji], packages: Sequence[str]) -> dict[str, NewSet]:
    """The three parts, by family."""
    number = [image for image, each in enumerate(emoji) for _ in each.captions]
    captions = [caption for each in emoji for caption in each.captions]
    texts_of = split_by_image([emoji[image].family for image in number], shares=SHARES, seed=SEED_OF_SPLIT)
    images_of = {part: np.unique(np.array(number)[rows]) for part, rows in texts_of.items()}
    images = torch.from_numpy(embed_images([each.picture for each in emoji], images_of["train"]))
    texts = torch.from_numpy(embed_texts(captions, texts_of["train"]))
    return {
        f"emoji_{part}": NewSet(
            images=images,
            image_rows=torch.from_numpy(images_of[part]),
            texts=texts,
            text_rows=torch.from_numpy(rows),
            metadata=_metadata([emoji[number[row]] for row in rows], [captions[row] for row in rows], packages),
        )
        for part, rows in texts_of.items()
    }


def _metadata(images: Sequence[Emoji], captions: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    return {
        "dataset_name": "emoji",
        "source": list(packages),
        "image_ids": [each.id for each in images],
        "captions": list(captions),
        "image_paths": [f"{GLYPHS}/{each.id}.png" for each in images],
    }


def write_pictures(data_dir: Path, emoji: Iterable[Emoji]) -> None:
    """Each as a PNG with a transparent ground."""
    (data_dir / GLYPHS).mkdir(exist_ok=True)
    for each in emoji:
        content = io.BytesIO()
        each.picture.save(content, "PNG")
        write_bytes(data_dir / GLYPHS / f"{each.id}.png", content.getvalue(), sync=False)
