"""`gpu_stats.json`: what a run's device did while it ran, sampled from outside by NVML."""

import os
import statistics
import time
from typing import Any

MAX_SAMPLES = 2048  # a run; past it every other sample is dropped and the interval doubles, so days stay readable


class DeviceStats:
    """The samples of one run on one device.

    The figures are those of the whole device, where runs that share it see each other's load; `run_memory_mib` alone is the
    run's own.
    """

    def __init__(self, nvml: Any, device: str) -> None:
        self._nvml = nvml
        by_name = nvml.nvmlDeviceGetHandleByUUID if device.startswith(("GPU-", "MIG-")) else nvml.nvmlDeviceGetHandleByIndex
        self._handle = by_name(device if device.startswith(("GPU-", "MIG-")) else int(device))
        self._device = device
        self._samples: list[dict[str, float | None]] = []
        self._peaks: dict[str, float] = {}  # of all samples, dropped ones too
        self._interval_s = 0.0
        self._due = 0.0

    def sample(self, now: float, session: int | None) -> None:
        """Take a sample when one is due. `now` is a monotonic time in seconds, `session` the run's (None: not known yet)."""
        if now < self._due:
            return
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo)
        use = self._ask(self._nvml.nvmlDeviceGetUtilizationRates)
        power_mw = self._ask(self._nvml.nvmlDeviceGetPowerUsage)
        taken = {
            "time": round(time.time(), 3),
            "utilization_percent": use.gpu if use else None,
            "memory_used_mib": _mib(memory.used) if memory else None,
            "run_memory_mib": self._run_memory_mib(session),
            "power_w": power_mw / 1000 if power_mw is not None else None,
            "temperature_c": self._ask(self._nvml.nvmlDeviceGetTemperature, self._nvml.NVML_TEMPERATURE_GPU),
        }
        self._samples.append(taken)
        for name in ("memory_used_mib", "run_memory_mib"):
            if taken[name] is not None:
                self._peaks[name] = max(taken[name], self._peaks.get(name, 0.0))
        if len(self._samples) >= MAX_SAMPLES:
            self._samples = self._samples[::2]
            self._interval_s = 2 * self._interval_s or 2.0
        self._due = now + self._interval_s

    def _run_memory_mib(self, session: int | None) -> float | None:
        """Memory of the run's processes; None where none of them is seen, or their memory is not told.

        A driver may tell neither, and in a container it may tell the process numbers of the host.
        """
        users = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses) or []
        used = [user.usedGpuMemory for user in users if session is not None and _session_of(user.pid) == session]
        return _mib(sum(used)) if used and None not in used else None

    def _ask(self, question: Any, *arguments: Any) -> Any:
        try:
            return question(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None  # a figure that this device does not give is shown as missing

    def to_dict(self) -> dict[str, Any]:
        """As written to JSON."""
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo)
        return {
            "device": self._device,
            "name": self._ask(self._nvml.nvmlDeviceGetName),
            "memory_total_mib": _mib(memory.total) if memory else None,
            "max_memory_used_mib": self._peaks.get("memory_used_mib"),
            "max_run_memory_mib": self._peaks.get("run_memory_mib"),
            "mean_utilization_percent": self._mean("utilization_percent"),
            "mean_power_w": self._mean("power_w"),
            "samples": self._samples,
        }

    def _mean(self, name: str) -> float | None:
        """Over time: the samples that are kept lie evenly."""
        found = [value for sample in self._samples if (value := sample[name]) is not None]
        return round(statistics.fmean(found), 1) if found else None


def _mib(size: int) -> float:
    return round(size / 2**20, 1)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None  # gone, or a number of another process namespace


def open_nvml() -> Any:
    """The NVML module, initialised; None where there is no NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
