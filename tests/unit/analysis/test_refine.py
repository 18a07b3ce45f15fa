"""Axes around the best region: each kind of axis, ends, limits, ties."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from ksweep.analysis.load import load_sweep
from ksweep.analysis.ranking import Ranking, rank
from ksweep.analysis.refine import RefinedAxis, axis_text, best_region, is_log_spaced, refine_axes, region_text
from ksweep.contract.outcome import Status
from ksweep.kconfig.limits import Limits
from ksweep.space.axes import Axis
from ksweep.space.values import Sampled, parse_values
from tests.simulated import SweepMaker, simulate

REAL = Limits(low=Decimal(0), is_low_allowed=False)
SHARE = Limits(low=Decimal(0), high=Decimal(1), is_high_allowed=False)
WHOLE = Limits(is_whole=True, low=Decimal(1), high=Decimal(1000))


@pytest.fixture
def ranked(tmp_path: Path) -> Callable[[Mapping[str, float]], Ranking]:
    """`ranked({"0.1": 0.9, ...})`: one seed of each value of X, with this val_acc."""

    def make(scores: Mapping[str, float]) -> Ranking:
        dir = simulate(tmp_path / "sweep", {"X": list(scores)}, lambda v, s, e: {"val_acc": scores[v["X"]]})
        return rank(load_sweep(dir))

    return make


def refined(ranking: Ranking, values: Sequence[str], limits: Limits | None) -> RefinedAxis:
    axis = Axis(symbols=("X",), values=tuple((value,) for value in values), where="ranges:1")
    return refine_axes([axis], ranking, {"X": limits})[0]


@pytest.mark.parametrize(
    ("values", "best", "limits", "wanted"),
    [
        # linear: halfway to the neighbours, exact
        ("0.1|0.2|0.3", "0.2", SHARE, "CONFIG_X=0.15|0.2|0.25"),
        ("0.85|0.87|0.89", "0.87", SHARE, "CONFIG_X=0.86|0.87|0.88"),
        # in the logarithm: half and twice the best, or the geometric mean, three digits, where that is nearer
        ("0.001|0.01|0.1", "0.01", REAL, "CONFIG_X=0.005|0.01|0.02"),
        ("1e-9|1e-8|1e-7", "1e-8", REAL, "CONFIG_X=5e-9|1e-8|2e-8"),
        ("0|0.001|0.01|0.1", "0.01", REAL, "CONFIG_X=0.005|0.01|0.02"),
        ("0.003|0.009|0.027", "0.009", REAL, "CONFIG_X=0.0052|0.009|0.0156"),
        ("10|100|1000", "100", WHOLE, "CONFIG_X=50|100|200"),
        ("1|100|1000", "1", WHOLE, "CONFIG_X=1|2"),
        ("0|0.001|0.01", "0", Limits(low=Decimal(0)), "CONFIG_X=0|0.0005"),
        # at an end: as far beyond it
        ("0.1|0.2|0.3", "0.3", REAL, "CONFIG_X=0.25|0.3|0.35"),
        ("0.001|0.01|0.1", "0.1", REAL, "CONFIG_X=0.05|0.1|0.2"),
        ("0.001|0.01|0.1", "0.001", REAL, "CONFIG_X=0.0005|0.001|0.002"),
        ("0.003|0.009|0.027", "0.027", REAL, "CONFIG_X=0.0156|0.027|0.0468"),
        # limits of Kconfig: one that is allowed, one that is not, one that is reached, and 0
        ("0.5|0.7|0.9", "0.9", SHARE, "CONFIG_X=0.8|0.9|0.95"),
        ("0|0.5|0.9", "0", SHARE, "CONFIG_X=0|0.25"),
        ("200|600|1000", "1000", WHOLE, "CONFIG_X=800|1000"),
        ("500|700|950", "950", WHOLE, "CONFIG_X=825|950|1000"),
        ("0.1|0.5|0.9", "0.1", REAL, "CONFIG_X=0.05|0.1|0.3"),
        # whole numbers stay whole, and on a grain of the old ones
        ("16|32|64", "32", WHOLE, "CONFIG_X=24|32|48"),
        ("16|32|64", "64", WHOLE, "CONFIG_X=48|64|88"),
        ("1|2|3", "2", WHOLE, "CONFIG_X=2"),
        ("1|2|3", "3", WHOLE, "CONFIG_X=3|4"),
        ("7800|11700", "7800", Limits(is_whole=True), "CONFIG_X=5850|7800|9750"),
        ("2|5", "2", WHOLE, "CONFIG_X=1|2|4"),
    ],
)
def test_numbers_around_the_best(ranked: Callable[..., Ranking], values: str, best: str, limits: Limits, wanted: str) -> None:
    texts = values.split("|")
    ranking = ranked({text: 0.9 if text == best else 0.1 for text in texts})

    assert refined(ranking, texts, limits).text == wanted


def test_each_change_of_a_number_has_its_reason(ranked: Callable[..., Ranking]) -> None:
    axis = refined(ranked({"0.1": 0.1, "0.2": 0.2, "0.3": 0.9}), ["0.1", "0.2", "0.3"], SHARE)

    assert axis.reasons == (
        "best 0.3",
        "below: 0.25, halfway to 0.2",
        "above: 0.35, beyond the old values: the best is the greatest of the old values",
    )


def test_words_outside_of_the_region_are_dropped_with_their_rank(ranked: Callable[..., Ranking]) -> None:
    axis = refined(ranked({"sgd": 0.9, "adam": 0.5, "adamw": 0.4}), ["sgd", "adam", "adamw"], None)

    assert axis.text == "CONFIG_X=sgd"
    assert axis.reasons == (
        "adam dropped: its best setting ranks 2 of 3, val_acc 50.00%",
        "adamw dropped: its best setting ranks 3 of 3, val_acc 40.00%",
    )


def test_tied_settings_are_the_region_and_those_behind_are_not(tmp_path: Path) -> None:
    scores = {"sgd": (0.90, 0.92, 0.91), "adam": (0.91, 0.90, 0.91), "lion": (0.50, 0.53, 0.51)}
    dir = simulate(tmp_path / "s", {"X": list(scores)}, lambda v, s, e: {"val_acc": scores[v["X"]][s - 1]}, seeds=3)
    ranking = rank(load_sweep(dir))
    axis = refined(ranking, list(scores), None)

    assert axis.text == "CONFIG_X=sgd|adam"
    assert axis.reasons == ("lion dropped: its best setting ranks 3 of 3, val_acc 51.33% ± 1.53%, behind",)
    assert region_text(ranking) == "the best and those tied with it: 2 of 3 settings"


def test_tied_number_on_one_side_is_kept_with_the_middle(tmp_path: Path) -> None:
    scores = {"1": (0.5, 0.52), "2": (0.91, 0.90), "4": (0.9, 0.92), "8": (0.5, 0.53)}
    maker = SweepMaker(tmp_path / "s")
    for x, values in scores.items():
        for seed in range(4):
            maker.add({"X": x, "SEED": str(seed)}, val_acc=values[seed % 2] + seed / 10_000)
    axis = refined(rank(load_sweep(maker.save())), list(scores), Limits(low=Decimal(0)))

    assert axis.text == "CONFIG_X=2|2.83|4|5.66"
    assert "below: 2.83, halfway to 2, which is in the region" in axis.reasons


def test_without_seeds_the_best_fifth_is_the_region(ranked: Callable[..., Ranking]) -> None:
    ranking = ranked({f"word{i}": i / 20 for i in range(10)})

    assert [group.values["X"] for group in best_region(ranking)] == ["word9", "word8"]
    assert region_text(ranking) == "the best fifth: 2 of 10 settings (one seed: nothing is known of the noise)"


def test_seeds_that_differ_by_nothing_are_not_called_one_seed(tmp_path: Path) -> None:
    dir = simulate(tmp_path / "s", {"X": ["1", "2"]}, lambda v, s, e: {"val_acc": float(v["X"]) / 10}, seeds=2)

    assert region_text(rank(load_sweep(dir))) == (
        "the best fifth: 1 of 2 settings (no difference has a spread: nothing is known of the noise)"
    )


def test_several_goals_make_the_front_the_region(tmp_path: Path) -> None:
    costs = {"1": (0.9, 9.0), "2": (0.8, 1.0), "3": (0.5, 5.0)}
    dir = simulate(
        tmp_path / "s",
        {"X": list(costs)},
        lambda v, s, e: {"val_acc": costs[v["X"]][0], "step_time_s": costs[v["X"]][1]},
        objective="val_acc:max, step_time_s:min",
    )
    ranking = rank(load_sweep(dir))

    assert {group.values["X"] for group in best_region(ranking)} == {"1", "2"}
    assert region_text(ranking) == "the front: 2 of 3 settings"
    assert refined(ranking, list(costs), None).text == "CONFIG_X=1|2"


def test_nothing_ranked_is_an_empty_region(tmp_path: Path) -> None:
    dir = simulate(tmp_path / "s", {"X": ["1", "2"]}, lambda v, s, e: {"val_acc": 0.1}, status=lambda v, s: Status.OOM)

    assert best_region(rank(load_sweep(dir))) == []


def test_word_whose_runs_all_failed_says_so(tmp_path: Path) -> None:
    dir = simulate(
        tmp_path / "s", {"X": ["a", "b"]}, lambda v, s, e: {"val_acc": 0.1},
        status=lambda v, s: Status.OOM if v["X"] == "b" else Status.PASSED,
    )  # fmt: skip
    axis = refined(rank(load_sweep(dir)), ["a", "b"], None)

    assert axis.reasons == ("b dropped: no setting with it has a run that counts",)


def test_pairs_keep_the_rows_of_the_region(tmp_path: Path) -> None:
    maker = SweepMaker(tmp_path / "s")
    maker.add({"A": "sgd", "B": "0.1"}, val_acc=0.9)
    maker.add({"A": "adam, w", "B": "0.2"}, val_acc=0.1)
    axis = Axis(symbols=("A", "B"), values=(("sgd", "0.1"), ("adam, w", "0.2")), where="ranges:1")
    (found,) = refine_axes([axis], rank(load_sweep(maker.save())), {"A": None, "B": REAL})

    assert found.text == "CONFIG_A,CONFIG_B=(sgd, 0.1)"
    assert axis_text(axis.values, None) == '(sgd, 0.1)|("adam, w", 0.2)'


def test_axis_that_the_region_does_not_have_is_left_out(tmp_path: Path) -> None:
    maker = SweepMaker(tmp_path / "s")
    maker.add({"A": "adam"}, val_acc=0.9)
    maker.add({"A": "sgd", "MOMENTUM": "0.9"}, val_acc=0.1)
    axis = Axis(symbols=("MOMENTUM",), values=(("0.5",), ("0.9",)), where="ranges:1")
    (found,) = refine_axes([axis], rank(load_sweep(maker.save())), {"MOMENTUM": SHARE})

    assert found.text == ""
    assert found.reasons == ("no setting of the best region has it",)


@pytest.mark.parametrize(
    ("old", "numbers", "limits", "wanted"),
    [
        # ten settings; the first two are the best fifth
        ("loguniform(1e-4, 1)", "0.01 0.02 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5", REAL, "loguniform(0.00398, 0.0503)"),
        ("uniform(0, 1)", "0.4 0.5 0.9 0.9 0.9 0.9 0.9 0.9 0.9 0.9", SHARE, "uniform(0.3, 0.6)"),
        # no wider than before, unless the best lies at an end: then a tenth beyond, within Kconfig
        ("uniform(0, 10)", "5 0.5 9 9 9 9 9 9 9 9", Limits(), "uniform(0, 6)"),
        ("uniform(1, 11)", "10.9 9 2 2 2 2 2 2 2 2", Limits(), "uniform(8, 11.9)"),
        ("uniform(0, 0.98)", "0.97 0.9 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1", Limits(high=Decimal("0.99")), "uniform(0.802, 0.99)"),
        ("int(16, 256, 16)", "64 96 16 16 16 16 16 16 16 16", WHOLE, "int(32, 128, 16)"),
        ("logint(1, 1000)", "30 40 1 1 1 1 1 1 1 1", WHOLE, "logint(15, 80)"),
        ("int(1, 1000)", "1000 990 5 5 5 5 5 5 5 5", WHOLE, "int(890, 1000)"),
    ],
)
def test_distribution_is_narrowed_and_stays_of_its_kind(
    tmp_path: Path, old: str, numbers: str, limits: Limits, wanted: str
) -> None:
    maker = SweepMaker(tmp_path / "s")
    for i, number in enumerate(numbers.split()):
        maker.add({"X": number}, val_acc=0.9 - i / 100)
    sampled = parse_values(old)
    assert isinstance(sampled, Sampled)
    axis = Axis(symbols=("X",), values=(), where="ranges:1", sampled=sampled)
    (found,) = refine_axes([axis], rank(load_sweep(maker.save())), {"X": limits})

    assert found.text == f"CONFIG_X={wanted}"
    assert found.sampled is not None
    assert all(found.sampled.has(Decimal(number)) for number in numbers.split()[:2])


@pytest.mark.parametrize(
    ("numbers", "is_log"),
    [
        ("1 10 100", True),
        ("1 2 4", True),
        ("0 0.001 0.01", True),
        ("0.001 0.01", True),
        ("1 2 3", False),
        ("0.85 0.9", False),
        ("0 0.5 0.9", False),
        ("-1 0 1", False),
        ("5", False),
        ("0 1", False),
    ],
)
def test_log_spacing_is_seen(numbers: str, is_log: bool) -> None:
    assert is_log_spaced([Decimal(number) for number in numbers.split()]) is is_log


def test_values_that_do_not_mean_themselves_are_quoted() -> None:
    rows = [("a|b",), ("1:2:3",), ('say "x"',), ("",), ("plain-1.5",)]

    assert parse_values(axis_text(rows, None)) == [row[0] for row in rows]
