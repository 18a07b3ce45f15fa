"""The last word on the chosen model: as a whole, on data that the search has not seen, timed against the dense one."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ksweep.nn.sizes import sizes
from ksweep.nn.timing import Comparison, compare
from ksweep.tuner.assessor import Assessor, EvalFunc, Point, calling
from ksweep.tuner.groups import Settings, identity
from ksweep.tuner.trials import VERIFIED, Goal, Trial

if TYPE_CHECKING:
    from ksweep.search.optuna_study import StudyRecord

NUM_PAIRS = 31
NUM_SPEED_PAIRS = 5


@dataclass(frozen=True, kw_only=True)
class Verification:
    """`accuracy`, `dense_accuracy`: on `on`, HELD_OUT or SEARCHED (no holdout_eval_func was given). `floor`: there.
    `rolled_back`: layers that were made dense again, in that order, and why. `timing`: of whole models in evaluation mode, in
    pairs; None where the model cannot be called on its own. `speeds`: by the user's speed function, chosen and dense,
    medians of interleaved calls. Neither for a model that is all dense."""

    on: str
    accuracy: float
    dense_accuracy: float
    floor: float | None
    rolled_back: Mapping[str, str]
    timing: Mapping[str, Any] | None
    speeds: tuple[float, float] | None

    @classmethod
    def of_json(cls, record: Mapping[str, Any]) -> "Verification":
        """What asdict gave, after JSON."""
        return cls(**{**record, "speeds": tuple(record["speeds"]) if record["speeds"] else None})

    @property
    def is_passed(self) -> bool:
        """Whether the accuracy is above the floor; the dense model may be below it too."""
        return self.floor is None or self.accuracy >= self.floor


HELD_OUT, SEARCHED = "held-out data", "the data of the search"


@dataclass(kw_only=True)
class Verifier:
    """`holdout`: accuracy on data that the search has not seen; None: there is none. `floor_of`: the floor, from the dense
    accuracy. `record`: where steps are kept that have ended."""

    assessor: Assessor
    dense: Trial
    holdout: EvalFunc | None
    floor_of: Callable[[float], float]
    record: "StudyRecord"
    say: Callable[[str], None]

    def verify(self, chosen: Trial, settings: Settings) -> tuple[Settings, Verification, list[Trial]]:
        """What is left of the chosen trial's settings when they have passed; how; and a trial for each step on held-out data.

        Layers are made dense again one by one, first the one with the largest error for the numbers that it saves, until the
        accuracy is not below the floor; and all of them when whole models are measurably slower. RuntimeError when the dense
        model cannot be evaluated.
        """
        trials, rolled_back, settings = list[Trial](), dict[str, str](), dict(settings)
        if self.holdout is None:
            assert self.dense.accuracy is not None
            dense_accuracy, floor, accuracy = self.dense.accuracy, self.floor_of(self.dense.accuracy), chosen.accuracy
        else:
            held = replace(self.assessor, accuracy_func=self.holdout, measures_speed=False, goal=Goal(floor=None))
            trials.append(self._kept("") or self._keep("", replace(self._dense(held), layer_name=VERIFIED)))
            assert trials[0].accuracy is not None
            dense_accuracy = trials[0].accuracy
            floor = self.floor_of(dense_accuracy)
            held.goal = Goal(floor=floor, by_speed=False)
            accuracy = self._accuracy(held, settings, trials) if settings else dense_accuracy
            while settings and (accuracy is None or accuracy < floor):
                worst = max(settings, key=lambda name: self._harm(name, settings))
                rolled_back[worst] = trials[-1].reason
                self.say(f"{VERIFIED}: {trials[-1].reason}: {worst} is dense again")
                del settings[worst]
                accuracy = self._accuracy(held, settings, trials) if settings else dense_accuracy
        timing, speeds = self._timing(settings), self._speeds(settings)
        if settings and (reason := self._why_no_gain(settings, timing, speeds)):
            self.say(f"{VERIFIED}: {reason}: all layers are dense again")
            rolled_back |= dict.fromkeys(settings, reason)
            settings, accuracy, timing, speeds = {}, dense_accuracy, None, None
        assert accuracy is not None
        verification = Verification(
            on=HELD_OUT if self.holdout else SEARCHED,
            accuracy=accuracy,
            dense_accuracy=dense_accuracy,
            floor=floor if self.assessor.goal.floor is not None else None,
            rolled_back=rolled_back,
            timing=asdict(timing) if timing else None,
            speeds=speeds,
        )
        return settings, verification, trials

    def _dense(self, held: Assessor) -> Trial:
        try:
            return held.dense()
        except RuntimeError as error:
            raise RuntimeError(f"holdout_eval_func: {error}") from None

    def _accuracy(self, held: Assessor, settings: Settings, trials: list[Trial]) -> float | None:
        params = {f"{name}.{key}": value for name, setting in settings.items() for key, value in setting.params.items()}
        point = Point(layer_name=VERIFIED, params=params, settings=dict(settings))
        id = identity(self.assessor.layers, settings)
        kept = self._kept(id)
        trials.append(held.goal.judged(kept) if kept else self._keep(id, held.measure([point])[0]))
        return trials[-1].accuracy

    def _kept(self, id: str) -> Trial | None:
        return next((Trial.of_json(kept["trial"]) for kept in self.record.known if kept["id"] == id), None)

    def _keep(self, id: str, trial: Trial) -> Trial:
        self.record.add({"id": id, "trial": trial.as_json()}, axes=(), rows={}, value=trial.score, shown=trial.as_json())
        return trial

    def _harm(self, name: str, settings: Settings) -> float:
        """Squared error of a layer's outputs for each number that it saves; attention, of which no error is known, goes first."""
        error = self.assessor.error({name: settings[name]})
        if error is None:
            return float("inf")
        both = (self.assessor.layers[name], self.assessor.layer(name, settings))
        before, after = (sizes(layer).num_stored for layer in both)
        return error**2 / max(before - after, 1)

    def _timing(self, settings: Settings) -> Comparison | None:
        if self.assessor.inputs is None or not settings:
            return None
        own, dense = (calling(self.assessor.build(of).eval(), self.assessor.inputs) for of in (settings, {}))
        return compare(own, dense, num_pairs=NUM_PAIRS, num_threads=self.assessor.num_threads)

    def _speeds(self, settings: Settings) -> tuple[float, float] | None:
        if self.assessor.speed_func is None or not settings:
            return None
        pairs = []
        for _ in range(NUM_SPEED_PAIRS):
            own, dense = (self.assessor.speed(of).value for of in (settings, {}))
            if own is not None and dense is not None:
                pairs.append((own, dense))
        if not pairs:
            return None
        return statistics.median(own for own, _ in pairs), statistics.median(dense for _, dense in pairs)

    def _why_no_gain(self, settings: Settings, timing: Comparison | None, speeds: tuple[float, float] | None) -> str:
        """Why the chosen model is no gain; empty when none of the measurements says so. The user's function has the say."""
        if self.assessor.speed_func is not None:
            if speeds is None:
                return f"optimization_eval_func gave no speed of the whole in {NUM_SPEED_PAIRS} calls"
            own, dense = speeds
            return f"the whole is slower than dense: speed {own:.5g} against {dense:.5g}" if own < dense else ""
        if timing is not None and timing.high < 1:
            interval = f"{timing.low:.3f} to {timing.high:.3f}"
            return f"the whole is slower than dense: {timing.speedup:.3f} times as fast ({interval})"
        is_smaller = self.assessor.sizes(settings).num_bytes < self.assessor.sizes({}).num_bytes
        if timing is not None and timing.low <= 1 and not is_smaller:
            return "the whole stores no less than dense, and is not shown to be faster"
        return ""
