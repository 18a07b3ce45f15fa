"""Checkpoint files: whole or refused, never an accident."""

from pathlib import Path

import pytest
import torch

from ksweep.contract.paths import RunDir
from ksweep.train.checkpoint import Checkpoints, config_digest

STATE = {"weights": torch.arange(1000.0), "numbers": [1, 2.5, "text", None], "nested": {"a": (1, 2)}}


@pytest.fixture
def dir(tmp_path: Path) -> RunDir:
    (tmp_path / "config.txt").write_text("CONFIG_SEED=1\n")
    return RunDir(tmp_path)


def test_state_comes_back_as_it_was(dir: RunDir) -> None:
    Checkpoints(dir).save(STATE, needs_best=False)
    state, reason = Checkpoints(dir).load_last()

    assert reason == ""
    assert state is not None
    assert torch.equal(state["weights"], STATE["weights"])
    assert {name: state[name] for name in ("numbers", "nested")} == {name: STATE[name] for name in ("numbers", "nested")}


def test_new_run_has_no_state_and_no_complaint(dir: RunDir) -> None:
    assert Checkpoints(dir).load_last() == (None, "")


def test_every_cut_and_every_kind_of_junk_is_a_reason(dir: RunDir) -> None:
    checkpoints = Checkpoints(dir)
    checkpoints.save(STATE, needs_best=False)
    whole = checkpoints.last.read_bytes()
    damages = [whole[:length] for length in range(0, len(whole), 97)]
    damages += [b"hello", bytes(1000), b"PK\x03\x04" + b"x" * 1000, b"\x80\x02junk", whole[::-1]]
    for damage in damages:
        checkpoints.last.write_bytes(damage)
        state, reason = checkpoints.load_last()

        assert state is None
        assert reason.startswith(f"{checkpoints.last} is damaged: ")


def test_flipped_bytes_of_the_weights_are_noticed(dir: RunDir) -> None:
    """torch.load alone takes them as they are."""
    checkpoints = Checkpoints(dir)
    checkpoints.save(STATE, needs_best=False)
    whole = checkpoints.last.read_bytes()
    start = whole.index(STATE["weights"].numpy().tobytes())
    for place in range(start, start + 4000, 501):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        checkpoints.last.write_bytes(damaged)

        assert checkpoints.load_last()[0] is None


def test_missing_best_weights_are_a_reason(dir: RunDir) -> None:
    checkpoints = Checkpoints(dir)
    checkpoints.save(STATE, needs_best=True)

    assert "best.pt" in checkpoints.load_last()[1]


def test_what_a_kill_left_behind_is_not_gathered(dir: RunDir) -> None:
    checkpoints = Checkpoints(dir)
    (dir.checkpoints / ".last.pt.tmp").write_bytes(b"half a checkpoint")
    checkpoints.save(STATE, needs_best=False)

    assert [path.name for path in dir.checkpoints.iterdir()] == ["last.pt"]


def test_digest_ignores_what_steers_the_sweep() -> None:
    text = "CONFIG_SEED=1\nCONFIG_SWEEP_RETRIES=1\n"

    assert config_digest(text) == config_digest(text.replace("RETRIES=1", "RETRIES=5"))
    assert config_digest(text) != config_digest(text.replace("SEED=1", "SEED=2"))


def test_best_weights_are_written_with_the_next_save_as_they_were_then(dir: RunDir) -> None:
    checkpoints = Checkpoints(dir)
    weights = {"w": torch.zeros(3)}
    checkpoints.keep_best(weights, epoch=2)
    weights["w"] += 1
    assert not checkpoints.best.exists()

    checkpoints.save(STATE, needs_best=True)
    assert checkpoints.load_best()["epoch"] == 2
    assert torch.equal(checkpoints.load_best()["model"]["w"], torch.zeros(3))
    assert Checkpoints(dir).load_last()[0] is not None


def test_saving_is_due_again_when_it_has_its_share_of_the_time(dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ksweep.train.checkpoint.time.monotonic", lambda: now)
    checkpoints = Checkpoints(dir)
    assert checkpoints.is_due(), "the first epoch is saved at once"

    def slow_sync(fd: int) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr("ksweep.train.checkpoint.os.fsync", slow_sync)
    monkeypatch.setattr("ksweep.train.checkpoint.sync_directory", lambda path: None)
    checkpoints.save(STATE, needs_best=False)
    assert now == 102.0

    now = 121.9
    assert not checkpoints.is_due()
    now = 122.0
    assert checkpoints.is_due()
