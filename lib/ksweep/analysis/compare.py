"""Two runs of one configuration, compared to the last bit."""

from typing import Any

from ksweep.contract.metrics import is_measured, read_history
from ksweep.contract.outcome import read_result
from ksweep.contract.paths import RunDir


def compare_runs(new: RunDir, old: RunDir, *, which: tuple[str, str] = ("now", "then")) -> tuple[int, list[str]]:
    """Count of numbers compared, and one line for each that differs. Times, rates and memory are left out: they never agree.

    `which`: what the two are called in these lines.
    """
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    histories = [{record["step"]: record for record in read_history(dir.metrics)} for dir in (new, old)]
    for step in sorted(histories[0].keys() | histories[1].keys()):
        pairs.append((f"step {step}", histories[0].get(step, {}), histories[1].get(step, {})))
    finals = [result.metrics if (result := read_result(dir)) else {} for dir in (new, old)]
    pairs.append(("final", finals[0], finals[1]))
    count, differences = 0, []
    for where, mine, theirs in pairs:
        for name in sorted(mine.keys() | theirs.keys()):
            if is_measured(name):
                continue
            count += 1
            if mine.get(name) != theirs.get(name):
                values = mine.get(name, "missing"), theirs.get(name, "missing")
                differences.append(f"{where}: {name} {values[0]} {which[0]}, {values[1]} {which[1]}")
    return count, differences
