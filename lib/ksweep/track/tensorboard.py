"""TensorBoard: a folder of event files a run, and what the HPARAMS tab needs. Written by tensorboardX, of requirements.txt.

The format of the HPARAMS tab is tensorboard/plugins/hparams/{plugin_data,api}.proto: an experiment summary at the top says which
columns there are, each run has its values (session start) and how it ended (session end).
"""

import shutil
import struct
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.outcome import Status
from ksweep.track.base import FINAL, End, Report, RunLog, TrackedRun, TrackedSweep, Tracker

SUCCESS, FAILURE, RUNNING = 1, 2, 3  # of api.proto
STRING, FLOAT64 = 1, 3


class TensorBoard(Tracker):
    """See the module docstring."""

    PACKAGES: ClassVar = {"tensorboardX": "tensorboardX"}
    HOW_TO_SEE = "tensorboard --logdir {folder}"

    def __init__(self, folder: Path, sweep: TrackedSweep) -> None:
        super().__init__(folder, sweep)
        import_without_torch()
        self._columns_file = folder / "columns.json"  # of earlier exports, too: a run that is there is not handed over again
        self._columns: dict[str, list[str]] = read_json(self._columns_file) or {"symbols": [], "metrics": []}

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        folder = self.folder / run.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return _Run(self, folder, run)

    def add_columns(self, symbols: Iterable[str], metrics: Iterable[str]) -> None:
        """Columns of the HPARAMS tab: swept symbols and metrics. The file at the top is written anew when there is a new one."""
        wanted = {"symbols": symbols, "metrics": metrics}
        columns = {kind: list(dict.fromkeys([*self._columns[kind], *names])) for kind, names in wanted.items()}
        if columns == self._columns:
            return
        for path in self.folder.glob("events.out.tfevents.*"):
            path.unlink()
        events = _Events(self.folder)
        events.add_hparams("experiment", experiment=self._experiment(columns))
        events.close()
        self._columns = columns
        write_json(self._columns_file, columns, sync=False)

    def _experiment(self, columns: Mapping[str, list[str]]) -> dict[str, Any]:
        types = {name: FLOAT64 if name in self.sweep.numeric else STRING for name in columns["symbols"]}
        return {
            "name": self.sweep.name,
            "description": str(self.sweep.path),
            "hparam_infos": [{"name": name, "type": type} for name, type in types.items()],
            "metric_infos": [{"name": {"tag": FINAL + name}, "display_name": name} for name in columns["metrics"]],
        }


class _Run(RunLog):
    def __init__(self, tracker: TensorBoard, folder: Path, run: TrackedRun) -> None:
        self._tracker, self._run = tracker, run
        self._events = _Events(folder)
        values = tracker.sweep.typed(run.values)
        hparams = {
            name: {"number_value": value} if isinstance(value, float) else {"string_value": value}
            for name, value in values.items()
        }
        start = {"hparams": _values(hparams), "group_name": run.name, "start_time_secs": run.started_at}
        self._events.add_hparams("session_start_info", session_start_info=start)
        self._events.add_text("about", {**run.tags, **run.values}, run.started_at)
        self._step = 0

    def log(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self._events.add_scalars(report.metrics, report.step, report.at)
        self._step = reports[-1].step
        self._events.flush()

    def close(self, end: End) -> None:
        final = {FINAL + name: value for name, value in end.metrics.items()}
        self._events.add_scalars(final, self._step, end.at)
        self._events.add_text("end", end.tags, end.at)
        if end.status.is_final:
            status = FAILURE if end.status.is_bad else SUCCESS
        else:
            status = RUNNING if end.status is Status.RUNNING else FAILURE
        self._events.add_hparams("session_end_info", session_end_info={"status": status, "end_time_secs": end.at})
        self._events.close()
        self._tracker.add_columns(self._run.values, end.metrics)


class _Events:
    """One event file, written as one goes. SummaryWriter has a thread and a queue a file, and syncs each to the disk."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / f"events.out.tfevents.{int(time.time())}.ksweep", "wb")  # noqa: SIM115  # closed by `close`
        self._write(file_version="brain.Event:2", wall_time=time.time())

    def add_hparams(self, tag: str, **data: Any) -> None:
        """What the hparams plugin reads, as metadata of a summary without a value."""
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

        content = HParamsPluginData(version=0, **data).SerializeToString()
        metadata = {"plugin_data": {"plugin_name": "hparams", "content": content}}
        self._add([{"tag": f"_hparams_/{tag}", "metadata": metadata}], 0, 0.0)

    def add_scalars(self, values: Mapping[str, float], step: int, at: float) -> None:
        """Metrics of one step."""
        self._add([{"tag": name, "simple_value": value} for name, value in values.items()], step, at)

    def add_text(self, tag: str, lines: Mapping[str, str], at: float) -> None:
        """A table, for the TEXT tab; its cells are shown as they are."""
        from tensorboardX.proto.plugin_text_pb2 import TextPluginData

        text = "".join(f"    {name:12}  {line}\n" for name, line in lines.items())  # Markdown: indented text is literal
        tensor = {"dtype": 7, "string_val": [text.encode()], "tensor_shape": {"dim": [{"size": 1}]}}
        content = TextPluginData(version=0).SerializeToString()
        metadata = {"plugin_data": {"plugin_name": "text", "content": content}}
        self._add([{"tag": tag, "metadata": metadata, "tensor": tensor}], 0, at)

    def _add(self, values: list[dict[str, Any]], step: int, at: float) -> None:
        if values:
            self._write(wall_time=at, step=step, summary={"value": values})

    def _write(self, **event: Any) -> None:
        """A TFRecord: length, its checksum, data, its checksum."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        data = Event(**event).SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data)))

    def flush(self) -> None:
        """Let readers see it."""
        self._file.flush()

    def close(self) -> None:
        """The file is complete."""
        self._file.close()


def _values(fields: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    from google.protobuf.struct_pb2 import Value

    return {name: Value(**field) for name, field in fields.items()}


def import_without_torch() -> None:
    """Import tensorboardX. It imports torch where there is one, for pictures and graphs: 3 s of CPU time that the runs lack."""
    is_absent = "torch" not in sys.modules
    if is_absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` is an ImportError, which it expects
    try:
        import tensorboardX  # noqa: F401
    finally:
        if is_absent:
            del sys.modules["torch"]
