"""Places to run, and samples of their devices."""

import json
import os
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from ksweep.sweep.device_stats import MAX_SAMPLES, DeviceStats
from ksweep.sweep.slots import cpu_cores, cuda_devices, make_slots


def test_devices_are_shared_evenly_and_cores_divided() -> None:
    slots = make_slots(4, 0, ["0", "GPU-abc"])

    assert [slot.device for slot in slots] == ["0", "GPU-abc", "0", "GPU-abc"]
    assert {slot.threads for slot in slots} == {max(1, cpu_cores() // 4)}
    assert [slot.number for slot in slots] == [0, 1, 2, 3]
    assert [slot.threads for slot in make_slots(2, 3, [])] == [3, 3]  # as they were asked for


def test_jobs_of_0_are_one_a_device_or_one_a_core() -> None:
    assert len(make_slots(0, 0, ["0", "1", "2"])) == 3
    assert len(make_slots(0, 0, [])) == cpu_cores()
    assert make_slots(0, 0, [])[0] == make_slots(cpu_cores(), 0, [])[0]


@pytest.mark.parametrize(("visible", "devices"), [("2,3", ["2", "3"]), ("", []), ("-1", []), ("GPU-1,GPU-2", ["GPU-1", "GPU-2"])])
def test_only_visible_devices_are_used(monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert cuda_devices() == devices


class FakeNvml:
    """A device whose memory grows by one MiB a question, and that has no power meter. `users`: pid -> MiB, None: not told."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, users: dict[int, int | None] | None = None) -> None:
        self.used_mib = 0
        self.users = users

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"index {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return f"uuid {uuid}"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self.used_mib += 1
        return SimpleNamespace(used=self.used_mib << 20, total=80 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=50)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:
        if self.users is None:
            raise self.NVMLError
        sizes = {pid: None if mib is None else mib << 20 for pid, mib in self.users.items()}
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in sizes.items()]

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        raise self.NVMLError

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> int:
        return 40


def test_samples_of_days_stay_few_and_span_the_whole_run() -> None:
    stats = DeviceStats(FakeNvml(), "1")
    seconds = 3 * 24 * 3600
    for second in range(0, seconds, 2):
        stats.sample(second, None)

    written = json.loads(json.dumps(stats.to_dict()))
    assert MAX_SAMPLES / 4 < len(written["samples"]) < MAX_SAMPLES
    assert written["name"] == "index 1"
    assert written["memory_total_mib"] == 80 * 1024
    assert written["samples"][0]["memory_used_mib"] == 1
    assert written["samples"][-1]["power_w"] is None
    assert written["samples"][-1]["utilization_percent"] == 50


def test_device_is_found_by_its_uuid() -> None:
    assert DeviceStats(FakeNvml(), "GPU-12").to_dict()["name"] == "uuid GPU-12"


def test_stand_in_has_the_names_of_the_real_library() -> None:
    assert [name for name in vars(FakeNvml) if name[0].lower() == "n" and not hasattr(pynvml, name)] == []


@pytest.fixture
def run_pids() -> Iterator[tuple[int, int]]:
    """The leader of a session of its own, as a run is, and its child."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout
        yield leader.pid, int(leader.stdout.readline())
        os.killpg(leader.pid, 9)


def test_memory_of_a_run_is_that_of_its_own_session(run_pids: tuple[int, int]) -> None:
    leader, child = run_pids
    nvml = FakeNvml({leader: 100, child: 20, os.getpid(): 4000, 2**22 + 1: 8000})
    stats = DeviceStats(nvml, "0")
    stats.sample(0, leader)
    nvml.users = {child: 50}
    stats.sample(1, leader)

    written = stats.to_dict()
    assert [sample["run_memory_mib"] for sample in written["samples"]] == [120, 50]
    assert (written["max_run_memory_mib"], written["max_memory_used_mib"]) == (120, 2)
    assert (written["mean_utilization_percent"], written["mean_power_w"]) == (50, None)


@pytest.mark.parametrize(
    "users", [None, {}, {2**22 + 1: 8000}, {os.getpid(): None}], ids=["refused", "none", "others", "no size"]
)
def test_memory_that_the_driver_does_not_tell_is_missing_not_zero(users: dict[int, int | None] | None) -> None:
    stats = DeviceStats(FakeNvml(users), "0")
    stats.sample(0, os.getsid(0))

    assert stats.to_dict()["samples"][0]["run_memory_mib"] is None
    assert stats.to_dict()["max_run_memory_mib"] is None


def test_peak_outlives_the_samples_that_are_dropped(run_pids: tuple[int, int]) -> None:
    leader, _ = run_pids
    nvml = FakeNvml({leader: 1})
    stats = DeviceStats(nvml, "0")
    for second in range(MAX_SAMPLES):
        nvml.users = {leader: 999 if second == 1 else 1}
        stats.sample(second, leader)

    written = stats.to_dict()
    assert max(sample["run_memory_mib"] for sample in written["samples"]) == 1
    assert written["max_run_memory_mib"] == 999
