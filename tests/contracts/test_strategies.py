"""What every strategy owes. One that is named in ksweep.search.registry is tested here by being there."""

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, SearchSettings, Start, Strategy
from ksweep.search.registry import STRATEGIES, build_strategy
from tests.contracts.spaces import PlainSpace, sampled_space, space

NAMES = list({kind: name for name, kind in reversed(STRATEGIES.items())}.values())  # one for each class: samplers have a suite
RUNGS = [name for name in NAMES if "rung_strategy" in str(STRATEGIES[name].__mro__)]
every_strategy = pytest.mark.parametrize("name", NAMES)
every_one_with_rungs = pytest.mark.parametrize("name", RUNGS)
parallel = pytest.mark.parametrize("num_parallel", [1, 2, 4])

Accident = Callable[[int, int], Status | None]  # (number, epoch) -> how the run ends there


def settings_for(name: str, **changes: object) -> SearchSettings:
    """27 points of up to 9 epochs; a population has 8 members, which are compared every 3 epochs."""
    population = {"num_points": 8, "min_resource": 3} if name == "pbt" else {}
    return replace(SearchSettings(num_points=27, max_resource=9, eta=3, seed=5), **{**population, **changes})


def plain_space() -> PlainSpace:
    return space(LR="log(1e-5, 1e-1, 41)", BATCH="4:4:64", KIND="a|b|c")


def six_points() -> PlainSpace:
    return space(LR="0.1|0.01|0.001", BATCH="4|8")


def quality(number: int, epoch: int) -> float:
    """Rises with the epoch towards a level of the point's own, with noise."""
    level = random.Random(f"level {number}").random()
    return level * (1 - 0.7**epoch) + 0.02 * random.Random(f"noise {number} {epoch}").random()


def halfway(first: int, last: int) -> int:
    """Neither nothing nor all, where there are epochs enough."""
    return (first + last) // 2 if last > first else first - 1


def no_accident(number: int, epoch: int) -> Status | None:
    return None


class Lab:
    """A sweep without training: runs end one at a time, in random order. `starts` is all that was handed out."""

    def __init__(
        self,
        name: str,
        settings: SearchSettings,
        *,
        num_parallel: int = 1,
        make_space: Callable[[], PlainSpace] = plain_space,
        value: Callable[[int, int], float] = quality,
        accident: Accident = no_accident,
    ) -> None:
        self.name, self.settings, self.num_parallel, self.make_space = name, settings, num_parallel, make_space
        self.value, self.accident = value, accident
        self.rng = random.Random(name)
        self.known: dict[int, Known] = {}
        self.curves: dict[int, dict[int, float]] = {}
        self.trained: list[tuple[int, int]] = []  # (number, epoch)
        self.running: dict[int, Start] = {}
        self.starts: list[tuple[int, int | None, int | None]] = []
        self.strategy = self.made()

    def made(self) -> Strategy:
        """The strategy as after a start, with all that is on disk."""
        strategy = build_strategy(self.name, "random", self.make_space(), self.settings)
        strategy.restore([self.on_disk(number) for number in sorted(self.known)])
        return strategy

    def on_disk(self, number: int) -> Known:
        known = self.known[number]
        unfinished = Outcome(status=Status.CANCELLED, curve=self.curves[number])
        outcome = unfinished if number in self.running else known.outcome
        return replace(known, notes=json.loads(json.dumps(dict(known.notes))), outcome=outcome)

    def fill(self) -> None:
        while len(self.running) < self.num_parallel and (start := self.strategy.ask()) is not None:
            self.starts.append((start.number, start.until, start.parent))
            self.take(start)

    def take(self, start: Start) -> None:
        assert start.number not in self.running, "handed out twice at a time"
        if start.draft is not None:
            assert start.number == len(self.known)
            assert start.draft.id, "not legal"
            assert start.draft.id not in {known.id for known in self.known.values()}
            self.known[start.number] = Known(
                number=start.number, id=start.draft.id, rows=start.draft.rows, notes=start.notes, outcome=None
            )
            self.curves[start.number] = {}
        self.running[start.number] = start

    def first_epoch(self, number: int) -> int:
        """Of what it still has to train; a copy begins where its parent stood."""
        if self.curves[number]:
            return max(self.curves[number]) + 1
        generation = self.known[number].notes.get("generation", 1)
        return (generation - 1) * self.settings.min_resource + 1

    def train(self, start: Start, until: int) -> Status:
        for epoch in range(self.first_epoch(start.number), until + 1):
            self.trained.append((start.number, epoch))
            self.curves[start.number][epoch] = self.value(start.number, epoch)
            if status := self.accident(start.number, epoch):
                return status
        return Status.PRUNED if start.until else Status.PASSED

    def end(self, number: int) -> None:
        start = self.running.pop(number)
        status = self.train(start, start.until or self.settings.max_resource)
        curve = dict(self.curves[number])
        values = (curve[max(curve)],) if status is Status.PASSED else ()
        outcome = Outcome(status=status, curve=curve, values=values)
        self.known[number] = replace(self.known[number], outcome=outcome)
        self.strategy.tell(number, outcome)

    def step(self) -> bool:
        """Start what there is room for, end one; False when it is over."""
        self.fill()
        if not self.running:
            return False
        self.end(self.rng.choice(sorted(self.running)))
        return True

    def run(self) -> "Lab":
        for _ in range(2000):
            if not self.step():
                return self
        raise AssertionError("it does not end")

    def kill(self, progress: Callable[[int, int], int]) -> None:
        """kill -9: what runs has come as far as `progress` of (first epoch, last epoch) says; then a new process."""
        for start in self.running.values():
            first, last = self.first_epoch(start.number), start.until or self.settings.max_resource
            self.train(start, progress(first, last))
        self.strategy = self.made()
        before, self.running = self.running, {}
        again = [self.strategy.ask() for _ in before]
        for start in again:
            assert start is not None
            assert start.draft is None
            assert start.parent == self.known[start.number].notes.get("parent")
            self.take(start)

    @property
    def statuses(self) -> list[Status]:
        return [known.outcome.status for _, known in sorted(self.known.items()) if known.outcome]

    @property
    def founders(self) -> int:
        return sum("parent" not in known.notes for known in self.known.values())


# -- every strategy --------------------------------------------------------------------------------------------------


@every_strategy
@parallel
def test_ends_with_as_many_points_as_were_asked_for(name: str, num_parallel: int) -> None:
    lab = Lab(name, settings_for(name), num_parallel=num_parallel).run()

    assert lab.founders == lab.settings.num_points
    assert Status.PASSED in lab.statuses
    assert lab.strategy.ask() is None


@every_strategy
@parallel
def test_trains_each_epoch_of_a_point_once(name: str, num_parallel: int) -> None:
    lab = Lab(name, settings_for(name), num_parallel=num_parallel).run()

    assert len(lab.trained) == len(set(lab.trained))


@every_strategy
@pytest.mark.parametrize("num_parallel", [1, 3])
def test_restored_after_any_run_it_does_what_it_would_have_done(name: str, num_parallel: int) -> None:
    lived = Lab(name, settings_for(name), num_parallel=num_parallel).run()
    num_ends = len(lived.starts)

    for killed_after in range(0, num_ends, 3):
        killed = Lab(name, settings_for(name), num_parallel=num_parallel)
        for _ in range(killed_after):
            killed.step()
        killed.fill()
        killed.kill(halfway)
        killed.run()

        assert killed.starts == lived.starts, f"killed after {killed_after} of {num_ends} runs"
        assert sorted(killed.trained) == sorted(lived.trained)


@every_strategy
def test_killed_before_the_first_report_above_a_rung_nothing_is_trained_twice(name: str) -> None:
    lab = Lab(name, settings_for(name), num_parallel=3)
    for _ in range(20):
        lab.step()
        lab.fill()
        lab.kill(lambda first, last: first - 1)
    lab.run()

    assert lab.founders == lab.settings.num_points
    assert len(lab.trained) == len(set(lab.trained))
    assert Status.PASSED in lab.statuses


@every_strategy
def test_killed_after_the_last_report_of_a_run_nothing_is_trained_twice(name: str) -> None:
    lab = Lab(name, settings_for(name), num_parallel=3)
    for _ in range(20):
        lab.step()
        lab.fill()
        lab.kill(lambda first, last: last)
    lab.run()

    assert lab.founders == lab.settings.num_points
    assert len(lab.trained) == len(set(lab.trained))


def often(number: int, epoch: int) -> Status | None:
    """One report in eight is a run's last; some come at a rung, some between."""
    kinds = [Status.FAILED, Status.OOM, Status.DIVERGED, Status.TIMEOUT, Status.CRASHED, Status.INVALID]
    rng = random.Random(f"accident {number} {epoch}")
    return rng.choice(kinds) if rng.random() < 0.12 else None


@every_strategy
@parallel
def test_runs_that_go_wrong_block_nobody_and_are_not_let_further(name: str, num_parallel: int) -> None:
    lab = Lab(name, settings_for(name), num_parallel=num_parallel, accident=often)
    gone_wrong: set[int] = set()
    while lab.step():
        gone_wrong |= {number for number, known in lab.known.items() if known.outcome and known.outcome.status.is_bad}

        assert not gone_wrong & set(lab.running)
    assert lab.founders == lab.settings.num_points
    assert len(gone_wrong) >= 3
    assert Status.PASSED in lab.statuses


@every_strategy
@pytest.mark.parametrize("epoch", [1, 2, 3, 9])
def test_ends_when_every_run_goes_wrong(name: str, epoch: int) -> None:
    lab = Lab(name, settings_for(name), num_parallel=2, accident=lambda number, e: Status.FAILED if e == epoch else None).run()

    assert lab.founders == lab.settings.num_points
    assert Status.PASSED not in lab.statuses


@every_strategy
def test_the_direction_is_the_objectives(name: str) -> None:
    up = Lab(name, settings_for(name), num_parallel=2).run()
    down = Lab(name, settings_for(name, maximize=(False,)), num_parallel=2, value=lambda n, e: -quality(n, e)).run()

    assert up.starts == down.starts


@every_strategy
@parallel
def test_a_space_that_is_smaller_is_run_whole_and_it_says_so(name: str, num_parallel: int) -> None:
    lab = Lab(name, settings_for(name, num_points=40), num_parallel=num_parallel, make_space=six_points).run()

    assert lab.founders == 6
    assert "6 points" in lab.strategy.why_over
    assert Status.PASSED in lab.statuses


@every_strategy
def test_points_of_other_sweeps_are_not_counted_nor_run(name: str) -> None:
    lab = Lab(name, settings_for(name))
    other = Known(number=-1, id="of another sweep", rows={}, outcome=Outcome(status=Status.PASSED, values=(1.0,), curve={9: 1.0}))
    lab.strategy = build_strategy(name, "random", plain_space(), lab.settings)
    lab.strategy.restore([other])
    lab.run()

    assert lab.founders == lab.settings.num_points
    assert lab.starts[0][0] == 0


@every_strategy
def test_a_point_that_is_told_cancelled_is_handed_out_again(name: str) -> None:
    lab = Lab(name, settings_for(name))
    lab.fill()
    lab.strategy.tell(0, Outcome(status=Status.CANCELLED))
    again = lab.strategy.ask()

    assert again is not None
    assert (again.number, again.draft, again.until) == (0, None, lab.starts[0][1])


# -- those with rungs ------------------------------------------------------------------------------------------------


@every_one_with_rungs
def test_a_run_between_rungs_that_a_pruner_stopped_is_out(name: str) -> None:
    lab = Lab(
        name, settings_for(name), num_parallel=2, accident=lambda number, epoch: Status.PRUNED if epoch == 5 else None
    ).run()

    assert lab.founders == lab.settings.num_points
    assert max(epoch for _, epoch in lab.trained) == 5
    assert lab.strategy.ask() is None


@every_one_with_rungs
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"max_resource": 1}, "1 epoch", id="one epoch"),
        pytest.param({"min_resource": 9}, "9", id="the first rung is the last"),
    ],
)
def test_settings_without_a_rung_are_refused(name: str, changes: dict[str, int], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        build_strategy(name, "random", plain_space(), settings_for(name, **changes))


@pytest.mark.parametrize("name", ["halving", "asha", "hyperband"])
def test_eta_below_two_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="CONFIG_SWEEP_ETA: found 1, allowed: 2 or more"):
        build_strategy(name, "random", plain_space(), settings_for(name, eta=1))


@pytest.mark.parametrize("name", ["random", "halving", "asha"])
def test_a_search_without_an_end_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="set CONFIG_SWEEP_TRIALS"):
        build_strategy(name, "random", sampled_space(), settings_for(name, num_points=None))


# -- the sampler's points, each run to its end ------------------------------------------------------------------------


def test_a_grid_of_four_by_two_is_eight_runs_killed_or_not() -> None:
    lab = Lab("grid", SearchSettings(max_resource=9), num_parallel=2, make_space=lambda: space(BATCH="4|8|16|32", KIND="a|b"))
    for _ in range(5):
        lab.step()
        lab.fill()
        lab.kill(halfway)
    lab.run()

    assert len(lab.known) == 8
    assert lab.statuses == [Status.PASSED] * 8


# -- halving ---------------------------------------------------------------------------------------------------------


@parallel
def test_halving_lets_nine_three_and_one_run_to_a_ninth_a_third_and_all(num_parallel: int) -> None:
    lab = Lab("halving", settings_for("halving", num_points=9), num_parallel=num_parallel).run()

    assert [until for _, until, _ in lab.starts] == [1] * 9 + [3] * 3 + [None]
    assert len(lab.trained) == 9 * 1 + 3 * 2 + 1 * 6
    assert best(lab, 1, range(9), 3) == {number for number, until, _ in lab.starts if until == 3}


def test_halving_without_a_number_takes_the_whole_space() -> None:
    lab = Lab("halving", settings_for("halving", num_points=None), make_space=lambda: space(LR="1|2|3", BATCH="4|8|16")).run()

    assert [until for _, until, _ in lab.starts] == [1] * 9 + [3] * 3 + [None]


def test_halving_of_a_space_that_is_smaller_keeps_its_rungs_and_its_eta() -> None:
    lab = Lab("halving", settings_for("halving", num_points=40), make_space=six_points).run()

    assert [until for _, until, _ in lab.starts] == [1] * 6 + [3] * 2 + [None]


def test_of_two_equal_ones_the_earlier_goes_on() -> None:
    lab = Lab("halving", settings_for("halving", num_points=9), num_parallel=3, value=lambda number, epoch: 0.5).run()

    assert [number for number, until, _ in lab.starts if until != 1] == [0, 1, 2, 0]


def test_one_that_fails_at_the_rung_makes_room_for_the_next_best() -> None:
    by_number = {"value": lambda number, epoch: -number, "accident": lambda number, epoch: Status.OOM if number < 2 else None}
    lab = Lab("halving", settings_for("halving", num_points=9), **by_number).run()

    assert [number for number, until, _ in lab.starts if until != 1] == [2, 3, 4, 2]


def test_halving_of_fewer_than_eta_points_is_refused() -> None:
    with pytest.raises(RequestError, match="found 2 points, allowed: 3 "):
        build_strategy("halving", "random", plain_space(), settings_for("halving", num_points=2))


def test_halving_tells_what_a_run_lost_to() -> None:
    lab = Lab("halving", settings_for("halving", num_points=9), value=lambda number, epoch: (10 - number) / 10).run()

    assert lab.strategy.loss_reason(7) == "rung 1 of 3 (1 epoch): 0.3, best 3 of 9 go on, the last of them has 0.8"
    assert lab.strategy.loss_reason(1) == "rung 2 of 3 (3 epochs): 0.9, best 1 of 3 go on, the last of them has 1"
    assert lab.strategy.loss_reason(0) == ""


# -- hyperband -------------------------------------------------------------------------------------------------------


@parallel
def test_hyperband_runs_every_bracket_once(num_parallel: int) -> None:
    settings = SearchSettings(num_points=None, max_resource=81)
    lab = Lab("hyperband", settings, num_parallel=num_parallel).run()
    firsts: dict[int, list[int | None]] = {}
    for number, known in lab.known.items():
        firsts.setdefault(known.notes["bracket"], []).append(next(until for n, until, _ in lab.starts if n == number))

    assert {bracket: (len(untils), *set(untils)) for bracket, untils in firsts.items()} == {
        1: (81, 1),
        2: (34, 3),
        3: (15, 9),
        4: (8, 27),
        5: (5, None),
    }
    assert lab.statuses.count(Status.PASSED) == 1 + 1 + 1 + 2 + 5
    assert lab.strategy.num_points == 143


def test_hyperband_starts_the_next_bracket_while_a_rung_waits() -> None:
    lab = Lab("hyperband", settings_for("hyperband", num_points=None), num_parallel=4)
    while 9 not in lab.known:
        lab.step()
        lab.fill()

    assert any(until == 1 for until in (start.until for start in lab.running.values()))


@pytest.mark.parametrize(
    ("num_points", "sizes"),
    [pytest.param(11, {1: 9, 2: 2}, id="cut"), pytest.param(20, {1: 9, 2: 5, 3: 3, 4: 3}, id="repeated, and cut")],
)
def test_a_number_of_points_cuts_or_repeats_the_brackets(num_points: int, sizes: dict[int, int]) -> None:
    lab = Lab("hyperband", settings_for("hyperband", num_points=num_points), num_parallel=2).run()
    brackets = [known.notes["bracket"] for known in lab.known.values()]

    assert {bracket: brackets.count(bracket) for bracket in brackets} == sizes


def test_hyperband_says_how_many_points_each_bracket_got() -> None:
    settings = settings_for("hyperband", num_points=None)
    lab = Lab("hyperband", settings, make_space=lambda: space(LR="1|2|3", BATCH="1|2|3|4")).run()

    assert lab.strategy.why_over.endswith("points of the brackets: 9 of 9, 3 of 5, 0 of 3")


# -- asha ------------------------------------------------------------------------------------------------------------


class Algorithm2:
    """Li et al. 2020, Algorithm 2, as it is printed, with sets that remember who was promoted. `None` asks for a new point.

    `at_least`: who is in a rung before it promotes, see the departures of ksweep.search.asha.
    """

    def __init__(self, rungs: tuple[int, ...], eta: int, at_least: int) -> None:
        self.rungs, self.eta, self.at_least = rungs, eta, at_least
        self.losses: list[list[tuple[float, int]]] = [[] for _ in rungs]
        self.promoted: list[set[int]] = [set() for _ in rungs]

    def report(self, number: int, rung: int, loss: float) -> None:
        self.losses[rung].append((loss, number))

    def get_job(self) -> tuple[int, int] | None:
        for k in reversed(range(len(self.rungs) - 1)):
            if len(self.losses[k]) < self.at_least:
                continue
            candidates = sorted(self.losses[k])[: len(self.losses[k]) // self.eta]
            for _, number in candidates:
                if number not in self.promoted[k]:
                    self.promoted[k].add(number)
                    return number, self.rungs[k + 1]
        return None


@parallel
def test_asha_promotes_as_algorithm_2_does(num_parallel: int) -> None:
    rungs = (1, 3, 9)
    lab, oracle = Lab("asha", settings_for("asha", num_points=200), num_parallel=num_parallel), Algorithm2(rungs, 3, at_least=18)
    asked = 0
    while asked < 200:
        lab.fill()
        for number, until, _ in lab.starts[asked:]:
            job = oracle.get_job()

            assert job is None if until == 1 else job == (number, until or 9)
        asked = len(lab.starts)
        for number in lab.rng.sample(sorted(lab.running), lab.rng.randint(1, len(lab.running))):
            rung = rungs.index(lab.running[number].until or 9)
            lab.end(number)
            oracle.report(number, rung, -lab.curves[number][rungs[rung]])


def test_asha_always_has_a_complete_run() -> None:
    lab = Lab("asha", settings_for("asha", num_points=9, max_resource=27), num_parallel=2).run()

    assert lab.statuses.count(Status.PASSED) == 1


@pytest.mark.parametrize(
    ("num_points", "epochs", "limit"), [pytest.param(27, 9, 0.40, id="27 points"), pytest.param(81, 27, 0.16, id="81 points")]
)
def test_asha_spends_a_fraction_of_what_all_points_would(num_points: int, epochs: int, limit: float) -> None:
    shares = [
        len(Lab("asha", settings, num_parallel=2, value=shifted(seed)).run().trained) / (num_points * epochs)
        for seed in range(20)
        for settings in [settings_for("asha", num_points=num_points, max_resource=epochs)]
    ]

    assert max(shares) <= limit


def test_asha_tells_what_a_run_lost_to() -> None:
    lab = Lab("asha", settings_for("asha", num_points=9), value=lambda number, epoch: (10 - number) / 10).run()

    assert lab.strategy.loss_reason(8) == "rung 1 of 3 (1 epoch): 0.2, best 3 of 9 go on, the last of them has 0.8"


# -- population based training -----------------------------------------------------------------------------------------


def test_a_population_costs_as_much_as_so_many_complete_runs() -> None:
    lab = Lab("pbt", settings_for("pbt"), num_parallel=3).run()

    assert len(lab.trained) == 8 * 9
    assert len(lab.known) == lab.strategy.num_points == 8 + 2 * 2
    assert lab.statuses.count(Status.PASSED) == 8


def test_a_copy_starts_from_one_of_the_best_before_that_goes_on() -> None:
    lab = Lab("pbt", settings_for("pbt"), num_parallel=3).run()
    copies = [(number, until, parent) for number, until, parent in lab.starts if parent is not None]

    assert [until for _, until, _ in copies] == [6, 6, None, None]
    assert {parent for _, until, parent in copies if until == 6} <= best(lab, 3, range(8), 2)
    for copy in copies:
        went_on = [i for i, (number, until, parent) in enumerate(lab.starts) if number == copy[2] and until == copy[1]]

        assert lab.starts.index(copy) < min(went_on)


def test_a_sampler_that_learns_is_told_of_its_own_points_only() -> None:
    lab = Lab("pbt", settings_for("pbt"))
    told: list[int] = []
    lab.strategy = build_strategy("pbt", "random", plain_space(), lab.settings)
    lab.strategy.sampler.tell = lambda number, outcome: told.append(number)  # type: ignore[method-assign]
    lab.run()

    assert set(told) == set(range(8))


def test_a_copy_differs_from_its_parent_in_numbers_only() -> None:
    lab = Lab("pbt", settings_for("pbt", num_points=16), make_space=sampled_space).run()
    copies = [known for known in lab.known.values() if "parent" in known.notes]
    parents = [lab.known[copy.notes["parent"]] for copy in copies]

    assert len(copies) >= 8
    for copy, parent in zip(copies, parents, strict=True):
        assert copy.rows != parent.rows
        assert copy.rows["OPTIMIZER"] == parent.rows["OPTIMIZER"]
        assert copy.rows["A,B"] == parent.rows["A,B"]
    for name in ("LR", "BATCH", "WIDTH", "DROPOUT", "DEPTH"):
        assert any(copy.rows[name] != parent.rows[name] for copy, parent in zip(copies, parents, strict=True)), name


def test_a_member_that_failed_is_replaced() -> None:
    lab = Lab("pbt", settings_for("pbt"), accident=lambda number, epoch: Status.CRASHED if number == 5 else None).run()

    assert 5 in {known.notes.get("replaces") for known in lab.known.values()}
    assert lab.statuses.count(Status.PASSED) == 8


def test_a_population_tells_who_took_a_place() -> None:
    lab = Lab("pbt", settings_for("pbt", num_points=4), value=lambda number, epoch: (10 - number) / 10).run()

    assert lab.strategy.loss_reason(3) == (
        "generation 1 of 3 (to epoch 3): 0.7; point 4 takes its place, a perturbed copy of point 0, which has 1"
    )


# -- helpers ---------------------------------------------------------------------------------------------------------


def best(lab: Lab, epoch: int, numbers: range, count: int) -> set[int]:
    return set(sorted(numbers, key=lambda number: -quality(number, epoch))[:count])


def shifted(seed: int) -> Callable[[int, int], float]:
    """The same kind of curves, others."""
    return lambda number, epoch: quality(1000 * (seed + 1) + number, epoch)
