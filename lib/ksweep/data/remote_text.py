"""Texts that lie in a data directory: one file `<name>.txt` each, as a package ships it, checked by its digest."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ksweep.contract.atomic import exclusive, write_bytes
from ksweep.contract.errors import ConfigError, KsweepError


@dataclass(frozen=True, kw_only=True)
class RemoteText:
    """A text that `fetch` brings, given an empty folder to work in; `sha256`: the digest of its bytes."""

    name: str
    sha256: str
    fetch: Callable[[Path], bytes]

    def path(self, data_dir: Path) -> Path:
        """Where it lies."""
        return data_dir / f"{self.name}.txt"

    def load(self, data_dir: Path) -> bytes:
        """The text. ConfigError, with the way to get it, when it is not in `data_dir` or not as published."""
        path = self.path(data_dir)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: not there: run `make data-{self.name}` ({error.strerror})") from None
        if problem := self._problem(content):
            raise ConfigError(f"{path}: not the published text: {problem}: delete it and run `make data-{self.name}`")
        return content

    def is_stored(self, data_dir: Path) -> bool:
        """True when it lies in `data_dir` and has its digest."""
        try:
            return not self._problem(self.path(data_dir).read_bytes())
        except OSError:
            return False

    def store(self, data_dir: Path) -> Path:
        """Bring the text into `data_dir`. KsweepError, with the client's words, when that fails, or it is another text."""
        data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(data_dir / ".lock"), tempfile.TemporaryDirectory(dir=data_dir, prefix=".fetch-") as scratch:
            content = self.fetch(Path(scratch))
            if problem := self._problem(content):
                raise KsweepError(f"data set {self.name}: {problem}")
            write_bytes(self.path(data_dir), content)
        return self.path(data_dir)

    def _problem(self, content: bytes) -> str:
        found = hashlib.sha256(content).hexdigest()
        return "" if found == self.sha256 else f"found sha256 {found}, expected {self.sha256}"
