"""What every sampler owes. One that is named in ksweep.search.samplers is tested here by being there."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, Sampler, SearchSettings
from ksweep.search.samplers import SAMPLERS, make_sampler
from ksweep.space.axes import Draft
from tests.contracts.spaces import PlainSpace, Values, sampled_space, space, toy_regret, toy_space

ROOT = Path(__file__).resolve().parents[2]
# Few points for what takes a second a point; both are enough for each model to be used.
SETTINGS = {name: SearchSettings(seed=3, num_points=12 if name == "gp" else 40, maximize=(False,)) for name in SAMPLERS}
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
# A Gaussian process takes seconds: by default in two tests only.
every_sampler_gp_slow = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "gp")) for n in SAMPLERS]
)
MakeSpace = Callable[[], PlainSpace]


def small_space() -> PlainSpace:
    """13 points of 24 combinations: MOMENTUM is inactive under adamw; and those with LR 0.1 under sgd are not legal."""
    made = space(
        {"MOMENTUM": lambda values: values["OPTIMIZER"] == "sgd"},
        OPTIMIZER="sgd|adamw",
        LR="log(1e-4, 1e-1, 4)",
        MOMENTUM="0.8|0.9|0.95",
    )
    made.reason = lambda values: "too hot for sgd" if values["OPTIMIZER"] == "sgd" and values["LR"] == "0.1" else ""
    return made


def large_space() -> PlainSpace:
    """More values than any test draws; some axes are conditional. Each sampler can search it."""
    return space(
        {"MOMENTUM": lambda values: values["OPTIMIZER"] == "sgd"},
        LR="log(1e-5, 1e-1, 41)",
        BATCH="4:4:32",
        KIND="a|b|c",
        OPTIMIZER="sgd|adamw",
        MOMENTUM="0.8:0.05:0.95",
    )


def space_for(name: str) -> PlainSpace:
    """A space that this sampler can search, as rich as may be."""
    return {"grid": large_space, "gp": toy_space}.get(name, sampled_space)()  # with few axes gp is four times as fast


def passed(values: Values) -> Outcome:
    """A complete run of a point."""
    regret = toy_regret(values)
    return Outcome(status=Status.PASSED, values=(regret,), curve={1: regret + 1, 2: regret})


def mixed(values: Values, number: int) -> Outcome:
    """Runs of all kinds, some of which go wrong."""
    whole = passed(values)
    others = [
        Outcome(status=Status.OOM),
        Outcome(status=Status.PRUNED, curve={1: whole.curve[1]}),
        Outcome(status=Status.DIVERGED, curve={1: math.nan}),
        Outcome(status=Status.FAILED),
        Outcome(status=Status.PASSED, values=(math.nan,), curve={1: math.inf}),
    ]
    return others[number // 3 % len(others)] if number % 3 == 1 else whole


class Run:
    """A search that lives on, or is restored: what was handed out and told, in the form in which it comes back."""

    def __init__(self, name: str, make_space: MakeSpace, seed: int = 3) -> None:
        self.name, self.make_space, self.settings = name, make_space, replace(SETTINGS[name], seed=seed)
        self.known: dict[int, Known] = {}
        self.drafts: list[Draft] = []
        self.sampler = self.made()

    def made(self) -> Sampler:
        """The sampler after a start, with all that is known."""
        sampler = make_sampler(self.name, self.make_space(), self.settings)
        sampler.restore([self.known[number] for number in sorted(self.known)])
        return sampler

    def restart(self) -> None:
        """Go on as a new process would: notes have been JSON."""
        self.known = {n: replace(known, notes=json.loads(json.dumps(dict(known.notes)))) for n, known in self.known.items()}
        self.sampler = self.made()

    def draw(self) -> Draft | None:
        """The next point, which then runs."""
        number = len(self.drafts)
        drawn = self.sampler.draw(number)
        if drawn is None:
            return None
        draft, notes = drawn
        self.drafts.append(draft)
        self.known[number] = Known(number=number, id=draft.id, rows=draft.rows, notes=notes)
        return draft

    def tell(self, number: int, outcome: Outcome) -> None:
        """A run of point `number` has ended."""
        self.known[number] = replace(self.known[number], outcome=outcome)
        self.sampler.tell(number, outcome)

    def serial(self, count: int, judge: Callable[[Values, int], Outcome] = mixed) -> list[str]:
        """Ids of the next `count` points, one after the other; fewer where the sampler has no more."""
        for _ in range(count):
            draft = self.draw()
            if draft is None:
                break
            self.tell(len(self.drafts) - 1, judge(draft.values, len(self.drafts) - 1))
        return [draft.id for draft in self.drafts]


def in_parallel(run: Run, count: int, restarts: Sequence[int] = ()) -> list[str]:
    """Ids of `count` points with three running at a time, which end out of order; a point pruned at first passes later."""
    running: list[int] = []
    for i in range(count):
        if i in restarts:
            run.restart()
        assert run.draw()
        running.append(i)
        if len(running) == 3:
            number = running.pop(i % 2)
            run.tell(number, mixed(run.drafts[number].values, number))
            if number >= 6 and number % 3 == 0:
                run.tell(number - 5, passed(run.drafts[number - 5].values))
    return [draft.id for draft in run.drafts]


@every_sampler
def test_points_are_legal_and_distinct_and_as_many_as_asked_for(name: str) -> None:
    # That rows lie on their axes is what the space itself asserts, and only active axes are asked for.
    count = SETTINGS[name].num_points

    ids = Run(name, lambda: space_for(name)).serial(count or 0)

    assert len(set(ids)) == count
    assert "" not in ids


@every_sampler_gp_slow
def test_a_finite_space_is_handed_out_whole_and_then_it_says_so(name: str) -> None:
    run = Run(name, small_space)

    ids = run.serial(20)

    assert len(ids) == len(set(ids)) == 13
    assert run.sampler.why_over == "the whole space: all 13 points of 24 combinations have been run"


@every_sampler_gp_slow
def test_a_point_is_not_handed_out_again_after_a_restart(name: str) -> None:
    run = Run(name, small_space)
    run.serial(7)
    run.restart()

    ids = run.serial(20)

    assert len(ids) == len(set(ids)) == 13
    assert run.sampler.why_over.startswith("the whole space")


@every_sampler_gp_slow
def test_same_seed_gives_same_points_and_another_seed_others(name: str) -> None:
    count = 8 if name == "gp" else 40
    first = Run(name, lambda: space_for(name)).serial(count)

    assert Run(name, lambda: space_for(name)).serial(count) == first
    assert Run(name, lambda: space_for(name), seed=4).serial(4) != first[:4]


@every_sampler_gp_slow
def test_restored_goes_on_as_if_it_had_lived_on(name: str) -> None:
    count = 10 if name == "gp" else 40
    lived_on = in_parallel(Run(name, lambda: space_for(name)), count)

    assert in_parallel(Run(name, lambda: space_for(name)), count, restarts=(5, count - 4, count - 1)) == lived_on


@pytest.mark.slow
def test_another_process_and_hash_seed_gives_the_same_points() -> None:
    script = (
        "import json, sys; from tests.contracts.test_samplers import *; names = [n for n in SAMPLERS if n != 'gp'];"
        "print(json.dumps({n: Run(n, lambda: space_for(n)).serial(26) for n in names}))"
    )

    def answers(hash_seed: str) -> dict[str, list[str]]:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    here = {name: Run(name, lambda name=name: space_for(name)).serial(26) for name in SAMPLERS if name != "gp"}  # type: ignore[misc]

    assert answers("1") == here


@every_sampler_gp_slow
def test_a_rule_that_turns_down_nine_of_ten_points_still_gives_all(name: str) -> None:
    def strict() -> PlainSpace:
        made = space_for(name)
        made.reason = lambda values: "" if sum(map(ord, values["LR"] + values["BATCH"])) % 10 == 0 else "a rule"
        return made

    run = Run(name, strict)

    assert len(set(run.serial(12))) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make_space"),
    [
        pytest.param(name, make_space, id=f"{kind}-{name}", marks=[pytest.mark.slow] * (name == "gp"))
        for kind, make_space in (("finite", small_space), ("large", large_space), ("sampled", sampled_space))
        for name in SAMPLERS
        if not (name == "grid" and kind == "sampled")  # a grid has no sampled axes
    ],
)
def test_a_rule_that_turns_down_all_points_ends_and_says_which(name: str, make_space: MakeSpace) -> None:
    nothing = make_space()
    nothing.reason = lambda values: "require LR < 0 is not met"
    sampler = make_sampler(name, nothing, SETTINGS[name])
    sampler.restore([])

    assert sampler.draw(0) is None
    assert "legal" in sampler.why_over
    assert "require LR < 0 is not met" in sampler.why_over
    assert nothing.num_draws < 8_000


@every_sampler_gp_slow
def test_points_of_a_space_that_was_changed_count_as_handed_out_and_nothing_more(name: str) -> None:
    old = Run(name, small_space)
    old.serial(6)

    def changed() -> PlainSpace:
        return space(OPTIMIZER="sgd|adamw", LR="log(1e-4, 1e-2, 3)", DEPTH="1|2")

    run = Run(name, changed)
    run.known = dict(old.known)
    foreign = [n for n, known in run.known.items() if "MOMENTUM" in known.rows or known.rows["LR"] == ("0.1",)]
    run.sampler = run.made()

    points = [run.sampler.draw(number) for number in range(6, 30)]

    assert foreign
    assert len({draft.id for draft, _ in filter(None, points)}) == 12


@every_sampler_gp_slow
def test_outcomes_of_unknown_points_are_passed_over(name: str) -> None:
    run = Run(name, lambda: space_for(name))
    run.serial(3)

    run.sampler.tell(77, Outcome(status=Status.PASSED, values=(0.0,)))

    assert run.draw()


@every_sampler_gp_slow
def test_when_every_run_fails_it_goes_on(name: str) -> None:
    for status in (Status.OOM, Status.FAILED, Status.DIVERGED):
        run = Run(name, lambda: space_for(name))

        ids = run.serial(14, lambda values, number, status=status: Outcome(status=status))  # type: ignore[misc]

        assert len(set(ids)) == 14


def numbers(value: Any) -> Iterator[float]:
    """All numbers in notes."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@every_sampler_gp_slow
def test_notes_are_strict_json(name: str) -> None:
    run = Run(name, lambda: space_for(name))
    run.serial(8 if name == "gp" else 40)

    for known in run.known.values():
        assert json.loads(json.dumps(dict(known.notes), allow_nan=False)) == known.notes
        assert all(map(math.isfinite, numbers(dict(known.notes))))
