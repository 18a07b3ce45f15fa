"""Places to run, and samples of their devices."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ksweep.sweep.device_stats import MAX_SAMPLES, DeviceStats
from ksweep.sweep.slots import cpu_cores, cuda_devices, make_slots


def test_devices_are_shared_evenly_and_cores_divided() -> None:
    slots = make_slots(4, ["0", "GPU-abc"])

    assert [slot.device for slot in slots] == ["0", "GPU-abc", "0", "GPU-abc"]
    assert {slot.threads for slot in slots} == {max(1, cpu_cores() // 4)}
    assert [slot.number for slot in slots] == [0, 1, 2, 3]


def test_jobs_of_0_are_one_a_device_or_one_a_core() -> None:
    assert len(make_slots(0, ["0", "1", "2"])) == 3
    assert len(make_slots(0, [])) == cpu_cores()
    assert make_slots(0, [])[0] == make_slots(cpu_cores(), [])[0]


@pytest.mark.parametrize(("visible", "devices"), [("2,3", ["2", "3"]), ("", []), ("-1", []), ("GPU-1,GPU-2", ["GPU-1", "GPU-2"])])
def test_only_visible_devices_are_used(monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert cuda_devices() == devices


class FakeNvml:
    """A device whose memory grows by one MiB a question, and that has no power meter."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.used_mib = 0

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

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        raise self.NVMLError

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> int:
        return 40


def test_samples_of_days_stay_few_and_span_the_whole_run() -> None:
    stats = DeviceStats(FakeNvml(), "1")
    seconds = 3 * 24 * 3600
    for second in range(0, seconds, 2):
        stats.sample(second)

    written = json.loads(json.dumps(stats.to_dict()))
    assert MAX_SAMPLES / 4 < len(written["samples"]) < MAX_SAMPLES
    assert written["name"] == "index 1"
    assert written["memory_total_mib"] == 80 * 1024
    assert written["samples"][0]["memory_used_mib"] == 1
    assert written["samples"][-1]["power_w"] is None
    assert written["samples"][-1]["utilization_percent"] == 50


def test_device_is_found_by_its_uuid() -> None:
    assert DeviceStats(FakeNvml(), "GPU-12").to_dict()["name"] == "uuid GPU-12"
