"""Places to run: one process each, reserved before it starts, so that two starts never pick the same place."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One place: its number, the device it owns a share of (a CUDA_VISIBLE_DEVICES entry, None: CPU), its CPU threads."""

    number: int
    device: str | None
    threads: int


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cuda_devices() -> list[str]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES entries; found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [entry for entry in visible.split(",") if entry and entry != "-1"]
    if not os.path.exists("/dev/nvidiactl"):
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(line for line in listed.stdout.splitlines() if line.startswith("GPU "))]


def make_slots(jobs: int, threads: int, devices: list[str]) -> list[Slot]:
    """`jobs` places (0: one a device, or one a core without devices) spread evenly over the devices.

    `threads`: CPU threads of a place; 0: cores / places. Two runs with two threads each on two cores are several times slower
    than two with one, because their thread pools wait for each other.
    """
    count = jobs or len(devices) or cpu_cores()
    threads = threads or max(1, cpu_cores() // count)
    return [Slot(number=i, device=devices[i % len(devices)] if devices else None, threads=threads) for i in range(count)]
