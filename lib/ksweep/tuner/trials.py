"""One evaluated point of a tuning run, and the floor that its accuracy must not fall below."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

Params = dict[str, int | float | str]


class TrialStatus(StrEnum):
    """What became of a trial."""

    DENSE = "dense"  # the model as it was given
    PASSED = "passed"  # its accuracy is not below the floor
    REJECTED = "rejected"  # it is below
    FAILED = "failed"  # no number: an exception, NaN, None, out of time


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A set of layers with their settings, all other layers dense, and what was measured of the model.

    `layer_name`: the layer that was searched, several that share a setting joined by "_", COMBINED for all of them together,
    VERIFIED for the same on data that the search has not seen. `params`: as they were searched, {} for dense; `settings`: what
    each replaced layer was built with. `accuracy`, `speed`: medians of the repeats, `_spread`: largest less smallest. `score`:
    what the search maximises, None where there is none (rejected and failed). `error`: the largest relative error of the outputs
    of a replaced layer, by calibration. `num_stored`: parameters and buffers of the model, tied ones once; `num_bytes` of them.
    """

    layer_name: str
    params: Params
    settings: Mapping[str, Params]
    status: TrialStatus
    reason: str = ""
    accuracy: float | None = None
    accuracy_spread: float | None = None
    speed: float | None = None
    speed_spread: float | None = None
    score: float | None = None
    error: float | None = None
    num_stored: int = 0
    num_bytes: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_eligible(self) -> bool:
        """Whether it may be chosen."""
        return self.status in (TrialStatus.DENSE, TrialStatus.PASSED) and self.score is not None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; `of_json` gives it back."""
        return asdict(self)

    @classmethod
    def of_json(cls, record: Mapping[str, Any]) -> "Trial":
        """What `as_json` gave."""
        return cls(**{**record, "status": TrialStatus(record["status"])})


COMBINED, VERIFIED, DENSE = "(combined)", "(verified)", "(dense)"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is searched for. `floor`: the lowest accuracy that is allowed, None: no threshold was given, so the accuracy itself is
    maximised and speed only decides ties; else speed is maximised above the floor."""

    floor: float | None = None
    by_speed: bool = True  # False: the accuracy is the score with a floor too

    def is_met(self, accuracy: float) -> bool:
        """Whether the accuracy is high enough."""
        return self.floor is None or accuracy >= self.floor

    def score(self, accuracy: float, speed: float | None) -> float | None:
        """What is maximised."""
        return speed if self.by_speed and self.floor is not None else accuracy

    def judged(self, trial: Trial) -> Trial:
        """A measured trial with its status, reason and score by this goal. Dense and failed ones as they are; without the number
        that is maximised it has failed, for its own reason."""
        if trial.status is TrialStatus.DENSE or trial.accuracy is None:
            return trial
        if not self.is_met(trial.accuracy):
            reason = f"accuracy {trial.accuracy:.6g} is below {self.floor:.6g}"
            return replace(trial, status=TrialStatus.REJECTED, reason=reason, score=None)
        score = self.score(trial.accuracy, trial.speed)
        if score is None:
            return replace(trial, status=TrialStatus.FAILED, score=None)
        return replace(trial, status=TrialStatus.PASSED, reason="", score=score)
