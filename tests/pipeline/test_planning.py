"""What cannot be is refused while planning, over the real tree, through the real command line: exit code 2 and both numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGSHIP = "resnet18-state-pruning-compare-range"


def ksweep(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "KSWEEP_KCONFIG"}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


PRUNED = "CONFIG_OPTIMIZER=adamwprune\nCONFIG_NUM_EPOCHS=10\n"  # digits: 17 steps an epoch
SPAM = "CONFIG_OPTIMIZER=adamwspam\nCONFIG_SPAM_WARMUP_STEPS=100\n"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_EPOCH=10\n", "10 < 10", id="ramp ends with training"),
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_EPOCH=4\nCONFIG_PRUNING_WARMUP=68\n", "68 < 68", id="warm-up and ramp"),
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_STEP=170\n", "170 < 170", id="ramp in steps"),
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_STEP=50\nCONFIG_PRUNING_WARMUP=60\n", "60 < 50", id="both in steps"),
        pytest.param(PRUNED + "CONFIG_PRUNING_SCHEDULE=one_shot\nCONFIG_PRUNING_WARMUP=170\n", "170 < 170", id="one-shot"),
        pytest.param("CONFIG_LR_WARMUP_EPOCHS=3\nCONFIG_NUM_EPOCHS=3\n", "3 < 3", id="warm-up of the rate"),
        pytest.param("CONFIG_BATCH_SIZE=1080\n", "1080 <= 1079", id="batch larger than the data"),
        pytest.param("CONFIG_GRAD_ACCUMULATION=65\n", "65 <= 64", id="more micro-batches than examples"),
        pytest.param(
            "CONFIG_OPTIMIZER=adamwspam\nCONFIG_SPAM_INTERVAL=100\nCONFIG_SPAM_WARMUP_STEPS=100\n", "100 < 100", id="SPAM"
        ),
    ],
)
def test_schedule_that_cannot_be_is_refused_with_both_numbers(tmp_path: Path, text: str, numbers: str) -> None:
    (tmp_path / "ranges").write_text(text)
    results = tmp_path / "results"
    code, out = ksweep("sweep", "--range", tmp_path / "ranges", "--results", results, "--out", tmp_path / "configs")

    assert code == 2, out
    assert numbers in out
    assert not results.exists(), "nothing was started"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_EPOCH=9\nCONFIG_PRUNING_WARMUP=152\n", id="in epochs"),
        pytest.param(PRUNED + "CONFIG_PRUNING_RAMP_END_STEP=169\nCONFIG_PRUNING_WARMUP=168\n", id="in steps"),
        pytest.param(PRUNED + "CONFIG_PRUNING_SCHEDULE=one_shot\nCONFIG_PRUNING_WARMUP=169\n", id="one-shot"),
        pytest.param("CONFIG_BATCH_SIZE=1079\nCONFIG_GRAD_ACCUMULATION=1079\n", id="batches"),
        pytest.param(SPAM + "CONFIG_SPAM_INTERVAL=0\n", id="no reset"),
    ],
)
def test_the_last_legal_value_is_legal(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranges").write_text(text)

    assert ksweep("check", "--range", tmp_path / "ranges")[0] == 0


def test_check_counts_with_the_epochs_that_are_given() -> None:
    code, out = ksweep("check", "--range", FLAGSHIP, "--epochs", "75")
    assert code == 0
    assert "cartesian 36 -> legal 18 -> distinct 18" in out

    code, out = ksweep("check", "--range", FLAGSHIP, "--epochs", "1")
    assert code == 2
    assert "no point is left of 36" in out


def test_defaults_in_a_dot_config_follow_the_epochs_that_are_given(tmp_path: Path) -> None:
    """.config states the end of the ramp, 8; with three epochs it is to be 1."""
    config = tmp_path / ".config"
    assert ksweep("kconf", "--config", config, "defconfig", "--defconfig", "lenet5-adamwprune")[0] == 0

    assert ksweep("train", "--config", config, "--epochs", "3", "--dry-run")[0] == 0
    config.write_text(config.read_text().replace("CONFIG_PRUNING_RAMP_END_EPOCH=8", "CONFIG_PRUNING_RAMP_END_EPOCH=7"))
    code, out = ksweep("train", "--config", config, "--epochs", "3", "--dry-run")
    assert code == 2
    assert "7 < 3" in out


@pytest.mark.slow
def test_estimate_takes_one_epoch_of_a_recipe_with_a_warmup(tmp_path: Path) -> None:
    (tmp_path / "ranges").write_text("CONFIG_OPTIMIZER=adamwprune\nCONFIG_NUM_EPOCHS=10\nCONFIG_LR_WARMUP_EPOCHS=2\n")
    code, out = ksweep("estimate", "--range", tmp_path / "ranges", "--results", tmp_path / "results")

    assert code == 0, out
    assert "from one run of one epoch" in out
