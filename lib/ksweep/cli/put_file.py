"""A file that a command writes for people, who may have edited what it wrote before: nothing of theirs is replaced."""

import os
from pathlib import Path

from ksweep.contract.atomic import write_text
from ksweep.contract.errors import RequestError


def put_file(path: Path, text: str) -> str:
    """Write a file; one that is there and differs is kept beside it, as `name.1`. A line on what was done. RequestError when it
    cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == text.encode():
            return f"unchanged: {path}"
        kept = f"; what was there is kept as {_put_aside(path)}" if path.exists() else ""
        write_text(path, text)
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({_why(error, path)}); choose another place with OUT=") from None
    return f"written: {path}{kept}"


def _why(error: OSError, path: Path) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{path.parent} is not a directory"
    return error.strerror or str(error)


def _put_aside(path: Path) -> str:
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    os.rename(path, aside)
    return aside.name
