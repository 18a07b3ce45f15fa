import re
from pathlib import Path

from ksweep.contract.metrics import FINAL_ONLY, METRICS, is_measured, is_reported_each_epoch

ROOT = Path(__file__).resolve().parents[3]


def test_the_readme_has_the_schema_as_a_table() -> None:
    readme = (ROOT / "test_matrix_results" / "README.md").read_text()
    _, table = readme.split("| name | unit | each epoch |")
    rows = re.findall(r"^\| (`.*`) \| (.*) \| (yes|at the end only) \|$", table, re.MULTILINE)
    found = {name: (meaning, when == "yes") for names, meaning, when in rows for name in re.findall(r"`(\w+)`", names)}

    assert found == {name: (meaning, is_reported_each_epoch(name)) for name, meaning in METRICS.items()}


def test_what_is_known_at_the_end_only_is_of_the_schema_and_foreign_metrics_may_come_at_any_time() -> None:
    assert set(METRICS) > FINAL_ONLY
    assert is_reported_each_epoch("one_of_their_own")


def test_what_tells_of_the_machine_is_told_from_what_a_configuration_repeats() -> None:
    """Of the former no two runs agree to the last bit: compared, they would be called different."""
    measured = {name for name in METRICS if is_measured(name)}

    times = {"epoch_time_s", "train_time_s", "step_time_s", "images_per_s", "tokens_per_s", "pairs_per_s"}
    speeds = {"speedup_measured", "speedup", "speedup_low", "speedup_high", "samples_per_s"}
    assert measured == times | speeds | {"peak_memory_mib", "ms_per_token", "ms_per_1k_embeddings"}
