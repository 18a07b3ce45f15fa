"""Trackers of requirements-trackers.txt, by the suite, each read back with its own package; and that they stay offline."""

import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.tracker_suite import ROOT, Read, TrackerSuite, export, make_sweep, shortest

# The packages' own warnings are theirs.
pytestmark = [pytest.mark.trackers, pytest.mark.filterwarnings("default")]
SYMBOLS = ("LEARNING_RATE", "NOTE", "SEED")


class TestMLflow(TrackerSuite):
    NAME = "mlflow"

    @staticmethod
    def read(folder: Path) -> dict[str, Read]:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        (experiment,) = (one for one in client.search_experiments() if one.name.startswith("demo "))
        runs = {}
        for found in client.search_runs([experiment.experiment_id]):
            assert found.info.run_name not in runs
            run = runs[found.info.run_name] = Read(values=dict(found.data.params), text=json.dumps(found.data.tags))
            run.status = {"FINISHED": "passed", "FAILED": "failed"}.get(found.info.status, found.info.status)
            for name in found.data.metrics:
                points = client.get_metric_history(found.info.run_id, name)
                run.num_points += len(points)
                if name.startswith("final/"):
                    run.final[name.removeprefix("final/")] = points[-1].value
                else:
                    run.reports[name] = {point.step: point.value for point in points}
        return runs


class TestWandb(TrackerSuite):
    NAME = "wandb"

    @staticmethod
    def read(folder: Path) -> dict[str, Read]:
        runs = {}
        for path in folder.glob("wandb/offline-run-*/run-*.wandb"):
            run, reason = Read(), ""
            for record in wandb_records(path):
                if record.run.run_id:
                    name = record.run.display_name
                    config = {entry.key: json.loads(entry.value_json) for entry in record.run.config.update}
                    run.values = {symbol: shortest(config[symbol]) for symbol in SYMBOLS if symbol in config}
                    run.text = json.dumps(config["ksweep"], sort_keys=True)
                items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                for metric, value in items.items():
                    if not metric.startswith("_"):
                        run.reports.setdefault(metric, {})[items["_step"]] = value
                        run.num_points += 1
                for item in record.summary.update:
                    if item.key.startswith("final/"):
                        run.final[item.key.removeprefix("final/")] = json.loads(item.value_json)
                        run.num_points += 1
                    elif item.key == "status":
                        run.status = json.loads(item.value_json)
                    elif item.key == "reason":
                        reason = json.loads(item.value_json)
            assert name not in runs
            runs[name], run.text = run, run.text + reason
        return runs


def wandb_records(path: Path) -> Iterator:
    """The records of an offline run: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


class TestTrackio(TrackerSuite):
    NAME = "trackio"

    @staticmethod
    def read(folder: Path) -> dict[str, Read]:
        script = (
            "import json; from trackio.sqlite_storage import SQLiteStorage as S; (p,) = S.get_projects();"
            "print(json.dumps([[r['name'], S.get_run_config(p, run_id=r['id']), S.get_logs(p, run_id=r['id'])]"
            " for r in S.get_run_records(p)]))"
        )
        env = os.environ | {"TRACKIO_DIR": str(folder)}  # read once a process
        out = subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True).stdout
        runs = {}
        for name, config, logs in json.loads(out):
            assert name not in runs
            run = runs[name] = Read(status=config.get("status", ""), text=json.dumps(config))
            run.values = {symbol: shortest(config[symbol]) for symbol in SYMBOLS if symbol in config}
            for log in logs:
                for metric, value in log.items():
                    if metric in ("step", "timestamp"):
                        continue
                    run.num_points += 1
                    if metric.startswith("final/"):
                        run.final[metric.removeprefix("final/")] = value
                    else:
                        run.reports.setdefault(metric, {})[log["step"]] = value
        return runs


def test_tensorboard_itself_shows_curves_and_the_hparams_table(tmp_path) -> None:
    dir = make_sweep(tmp_path / "sweep")
    export(dir, "tensorboard")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", dir.trackers / "tensorboard"]
    log = tmp_path / "log"
    with open(log, "w") as file:
        board = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", "0"], stdout=file, stderr=file)
    try:
        url = wait_for(lambda: (found := re.search(r"http://127.0.0.1:\d+/", log.read_text())) and found[0])
        runs = wait_for(lambda: len(found := fetch(url + "data/runs")) == 5 and found)
        points = fetch(url + "data/plugin/scalars/scalars?run=config_001_x&tag=val_acc")
        columns = fetch(url + "data/plugin/hparams/experiment", experimentName="")
        statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        rows = fetch(
            url + "data/plugin/hparams/session_groups", experimentName="", allowedStatuses=statuses, colParams=[],
            aggregationType="AGGREGATION_AVG", startIndex=0, sliceSize=10,
        )["sessionGroups"]  # fmt: skip
    finally:
        board.terminate()
        board.wait()

    assert sorted(runs) == [".", *(f"config_00{number}_x" for number in (1, 2, 3, 4))]
    assert [(step, value) for _, step, value in points] == [(1, 0.625), (2, 0.75), (3, 0.875)]
    assert [info["name"] for info in columns["hparamInfos"]] == ["LEARNING_RATE", "NOTE", "SEED"]
    assert [info["displayName"] for info in columns["metricInfos"]] == ["test_acc"]
    first = next(row for row in rows if row["name"] == "config_001_x")
    assert first["hparams"] == {"LEARNING_RATE": 0.1, "NOTE": "plain", "SEED": 7.0}
    assert [(one["name"]["tag"], one["value"]) for one in first["metricValues"]] == [("final/test_acc", 0.75)]
    assert {row["name"]: row["sessions"][0]["status"] for row in rows} == {
        "config_001_x": "STATUS_SUCCESS", "config_002_x": "STATUS_FAILURE",
        "config_003_x": "STATUS_SUCCESS", "config_004_x": "STATUS_FAILURE",
    }  # fmt: skip


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_export_needs_no_network_and_writes_nothing_elsewhere(tmp_path, monkeypatch, tracker: str) -> None:
    dir, home = make_sweep(tmp_path / "sweep"), tmp_path / "home"
    home.mkdir()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there: a request would fail, or hang
    monkeypatch.setenv("HOME", str(home))
    # What is meant for the user's own runs changes nothing here.
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9")
    trace = tmp_path / "trace.py"
    trace.write_text(
        "import sys\n"
        "def hook(event, args):\n"
        "    if event == 'socket.getaddrinfo' or event == 'socket.connect' and isinstance(args[1], tuple):\n"
        f"        open({str(tmp_path / 'asked')!r}, 'a').write(f'{{event}} {{args}}\\n')\n"
        "sys.addaudithook(hook)\n"
    )
    trace.rename(tmp_path / "sitecustomize.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = set(ROOT.iterdir())
    monkeypatch.chdir(home)
    said = export(dir, tracker)

    assert said.startswith(f"{tracker}: 3 runs handed over")
    assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()
    assert list(home.iterdir()) == []
    assert set(ROOT.iterdir()) == before


def fetch(url: str, **data: object) -> object:
    """The JSON at a URL on loopback, of a POST where there is data."""
    request = urllib.request.Request(url, json.dumps(data).encode() if data else None, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(found) -> object:
    """The first answer that is not empty."""
    deadline = time.monotonic() + 60
    while not (answer := found()):
        assert time.monotonic() < deadline, "waited for 60 s"
        time.sleep(0.2)
    return answer
