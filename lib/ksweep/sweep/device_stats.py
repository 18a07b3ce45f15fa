"""`gpu_stats.json`: what a run's device did while it ran, sampled from outside by NVML."""

import time
from typing import Any

MAX_SAMPLES = 2048  # a run; past it every other sample is dropped and the interval doubles, so days stay readable


class DeviceStats:
    """The samples of one run on one device. Whole-device figures: runs that share a device see each other's load."""

    def __init__(self, nvml: Any, device: str) -> None:
        self._nvml = nvml
        by_name = nvml.nvmlDeviceGetHandleByUUID if device.startswith(("GPU-", "MIG-")) else nvml.nvmlDeviceGetHandleByIndex
        self._handle = by_name(device if device.startswith(("GPU-", "MIG-")) else int(device))
        self._device = device
        self._samples: list[dict[str, float | None]] = []
        self._interval_s = 0.0
        self._due = 0.0

    def sample(self, now: float) -> None:
        """Take a sample when one is due. `now` is a monotonic time in seconds."""
        if now < self._due:
            return
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo)
        use = self._ask(self._nvml.nvmlDeviceGetUtilizationRates)
        power_mw = self._ask(self._nvml.nvmlDeviceGetPowerUsage)
        self._samples.append(
            {
                "time": round(time.time(), 3),
                "utilization_percent": use.gpu if use else None,
                "memory_used_mib": round(memory.used / 2**20, 1) if memory else None,
                "power_w": power_mw / 1000 if power_mw is not None else None,
                "temperature_c": self._ask(self._nvml.nvmlDeviceGetTemperature, self._nvml.NVML_TEMPERATURE_GPU),
            }
        )
        if len(self._samples) >= MAX_SAMPLES:
            self._samples = self._samples[::2]
            self._interval_s = 2 * self._interval_s or 2.0
        self._due = now + self._interval_s

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
            "memory_total_mib": round(memory.total / 2**20, 1) if memory else None,
            "samples": self._samples,
        }


def open_nvml() -> Any:
    """The NVML module, initialised; None where there is no NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
