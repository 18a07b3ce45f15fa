"""How a tuning run searches, and where it keeps what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ksweep.search.base import Sampler, SearchSettings
from ksweep.search.samplers import make_sampler
from ksweep.space.axes import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

    from ksweep.search.optuna_study import StudyRecord


@dataclass(kw_only=True, init=False)
class OptunaSearch:
    """At most `n_trials` distinct points for each layer (each group with separate=False), and as many of the combined model.

    A space with no more points than that is gone through whole, in an order whose every beginning covers it; a larger one is
    searched by `sampler`, any of Optuna's (None: TPE that knows of the floor, and gives the same points after a restart). No
    point is evaluated twice. Samplers that go through a grid (GridSampler, BruteForceSampler) end at its end.

    `storage`: a URL as "sqlite:///tuning.db", or a storage of Optuna's; each finished trial is kept there, and with
    `load_if_exists` a tuning run goes on after the last one that was finished. There is a study a layer, `study_name`/<layer>.
    ValueError for n_trials below 1, a seed below 0, no name, a storage that is none.
    """

    n_trials: int
    sampler: "BaseSampler | None"
    study_name: str
    storage: Any
    load_if_exists: bool
    seed: int
    records: list[Mapping[str, Any]] = field(repr=False)

    def __init__(
        self,
        n_trials: int = 100,
        sampler: "BaseSampler | None" = None,
        study_name: str = "skautotuner_study",
        storage: Any = None,
        load_if_exists: bool = False,
        seed: int | None = None,
    ) -> None:
        for name, number, least in (("n_trials", n_trials, 1), ("seed", 0 if seed is None else seed, 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(f"{name}: found {number!r}, allowed: a whole number from {least}")
        if not isinstance(study_name, str) or not study_name:
            raise ValueError(f"study_name: found {study_name!r}, allowed: a name")
        if not (storage is None or isinstance(storage, str) or hasattr(storage, "create_new_study")):
            raise ValueError(f"storage: found {storage!r}, allowed: a URL as sqlite:///tuning.db, or a storage of Optuna's")
        self.n_trials, self.sampler, self.study_name, self.storage = n_trials, sampler, study_name, storage
        self.load_if_exists, self.seed = load_if_exists, 0 if seed is None else seed
        self.records = []

    @property
    def study(self) -> "Study":
        """All trials of single layers so far as one study of Optuna's, with `layer` as a parameter: for its plots.

        Rejected ones are in it as pruned, with accuracy and speed as attributes.
        """
        from ksweep.search.optuna_study import merged

        return merged(self.study_name, self.records)

    def settings(self, num_constraints: int) -> SearchSettings:
        """What the engine is told."""
        return SearchSettings(seed=self.seed, num_points=self.n_trials, maximize=(True,), num_constraints=num_constraints)

    def open(self, part: str) -> "StudyRecord":
        """The study of a part of the search; "": of the whole run."""
        from ksweep.search.optuna_study import StudyRecord

        name = f"{self.study_name}/{part}" if part else self.study_name
        return StudyRecord(name, self.storage, load_if_exists=self.load_if_exists or bool(part))

    def grid(self) -> Mapping[str, Sequence[Any]] | None:
        """What a sampler that goes through a grid goes through; None: it is none of those."""
        from ksweep.search.optuna_study import grid_of

        return grid_of(self.sampler)

    def make_sampler(self, space: Space, num_distinct: int | None, num_constraints: int) -> Sampler:
        """A sampler of the engine's for a space of so many distinct points (None: not counted)."""
        settings = self.settings(num_constraints)
        if self.grid() is not None or (num_distinct is not None and num_distinct <= self.n_trials):
            return make_sampler("grid", space, settings)
        from copy import deepcopy

        from ksweep.search.optuna_study import GivenSampler, NearbyTpeSampler

        if self.sampler is None:
            return NearbyTpeSampler(space, settings)
        return GivenSampler(space, settings, deepcopy(self.sampler))  # each part of the search starts alike
