"""Sweep directories as a runner leaves them, written through the contract's own classes: one point at a time, or a whole
simulated sweep whose metrics are a function of its values."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ksweep.contract.atomic import to_json, write_json
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord

CREATED_AT = 1_700_000_000.0


class SweepMaker:
    """Makes one sweep directory, point by point."""

    def __init__(
        self, path: Path, objective: str = "val_acc", direction: str = "maximize", digits: int = 3, **settings: Any
    ) -> None:
        path.mkdir(parents=True)
        self._digits = digits
        self.dir = SweepDir(path)
        self.points: list[PointRecord] = []
        self._objective, self._direction, self._settings = (
            objective,
            direction,
            {"strategy": "grid", "axes": [], "counts": {}} | settings,
        )

    def add(
        self,
        values: dict[str, str] | None = None,
        *,
        status: Status = Status.PASSED,
        reason: str = "",
        wall_s: float = 10.0,
        ended_at: float | None = None,
        history: Iterable[dict[str, Any]] = (),
        search: dict[str, Any] | None = None,
        slot: int | None = None,
        until: int | None = None,
        log: str = "",
        **metrics: float | None,
    ) -> RunDir:
        """Add a point. PLANNED: nothing of it exists; RUNNING: a run directory without a result; else a finished run. Its config
        asks for 10 epochs, and has the point's values."""
        number = len(self.points) + 1
        label = f"config_{number:0{self._digits}d}"
        point = PointRecord(
            config=label,
            id=f"id{number}",
            run_dir=f"{label}_x",
            values=dict(values or {}),
            search=search or {},
        )
        self.points.append(point)
        run = RunDir(self.dir.path / point.run_dir)
        if status is not Status.PLANNED:
            run.path.mkdir()
            text = "".join(f'CONFIG_{name}="{value}"\n' for name, value in point.values.items())
            run.config.write_text(("" if "NUM_EPOCHS" in point.values else "CONFIG_NUM_EPOCHS=10\n") + text)
            run.provenance.write_text("{}\n")
            run.metrics.write_text("".join(to_json(report) + "\n" for report in history))
            if log:
                run.log.write_text(log)
        if status not in (Status.PLANNED, Status.RUNNING):
            result = Result(
                id=point.id,
                config=point.config,
                status=status,
                reason=reason,
                metrics=dict(metrics),
                started_at=CREATED_AT if ended_at is None else ended_at - wall_s,
                wall_s=wall_s,
                slot=slot,
                until=until,
                symbols_read=dict(point.values),
            )
            write_json(run.result, result.to_dict(), sync=False)
        return run

    def save(self) -> SweepDir:
        """Write sweep.json."""
        SweepRecord(
            name="demo",
            range_file="defconfigs/demo",
            range_text="",
            objective=self._objective,
            direction=self._direction,
            created_at=CREATED_AT,
            git={},
            kconfig_hash="",
            points=self.points,
            **self._settings,
        ).save(self.dir)
        return self.dir


def simulate(
    path: Path,
    axes: Mapping[str, list[str]],
    metrics: Callable[[dict[str, str], int, int], dict[str, float | None]],
    *,
    seeds: int = 1,
    epochs: int = 10,
    status: Callable[[dict[str, str], int], Status] = lambda values, seed: Status.PASSED,
    num_slots: int = 2,
    **settings: Any,
) -> SweepDir:
    """A finished grid over `axes` (symbol -> texts in file order), each point with `seeds` values of SEED.

    `metrics(values, seed, epoch)` gives what a run reports after an epoch from 1 to `epochs`; a run that passed has those of the
    last one as its final metrics, one that did not has none. `status(values, seed)` says how a run ended.
    """
    sizes = [len(values) for values in axes.values()]
    num_points = seeds
    for size in sizes:
        num_points *= size
    entries = [{"symbols": [name], "values": [[value] for value in values]} for name, values in axes.items()]
    if seeds > 1:
        entries.append({"symbols": ["SEED"], "values": [[str(seed)] for seed in range(1, seeds + 1)]})
    maker = SweepMaker(path, digits=max(3, len(str(num_points))), axes=entries, **settings)
    wall_s, ends = 10.0, [CREATED_AT] * num_slots
    for row in itertools.product(*axes.values()):
        for seed in range(1, seeds + 1):
            values = dict(zip(axes, row, strict=True))
            how = status(values, seed)
            reports = [{"step": 10 * epoch, "epoch": epoch, **metrics(values, seed, epoch)} for epoch in range(1, epochs + 1)]
            final = {name: value for name, value in reports[-1].items() if name not in ("step", "epoch")}
            slot = min(range(num_slots), key=ends.__getitem__)
            ends[slot] += wall_s
            maker.add(
                values | ({"SEED": str(seed)} if seeds > 1 else {}),
                status=how,
                reason="" if how is Status.PASSED else "on purpose",
                wall_s=wall_s,
                ended_at=ends[slot],
                slot=slot,
                history=reports,
                **(final if how is Status.PASSED else {}),
            )
    return maker.save()
