"""The machine a run is made on: what it is, and how busy it is.

Names and units of the measurements are those of MLflow's own system metrics, so that its tab of that name shows them.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["SystemSampler", "machine"]

SMI_SECONDS = 5
MEGABYTE = 1e6
GPU_FACTS = {"name": "name", "memory_mib": "memory.total", "driver": "driver_version"}
GPU_MEASUREMENTS = {
    "utilization_percentage": "utilization.gpu",
    "memory_usage_mib": "memory.used",
    "memory_total_mib": "memory.total",
    "power_usage_watts": "power.draw",
}


def machine() -> dict[str, Any]:
    """Host, system, processor, cores (physical, logical, usable by this process), memory in GiB, GPUs. Nothing here raises."""
    facts: dict[str, Any] = {"host": platform.node(), "system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}
    with contextlib.suppress(AttributeError, OSError):  # not on every system
        facts["cores_usable"] = len(os.sched_getaffinity(0))
    with contextlib.suppress(ImportError, OSError):
        import psutil

        facts["cores_physical"] = psutil.cpu_count(logical=False)
        facts["memory_gib"] = round(psutil.virtual_memory().total / 2**30, 1)
    return facts | {"gpus": _ask_gpus(GPU_FACTS)}


class SystemSampler:
    """Measures the machine and this process. To be made and asked in one thread: shares of processor time count from its last asking.

    ``folder`` says on which disk the free space is told. What cannot be measured is left away.
    """

    def __init__(self, folder: Path) -> None:
        import psutil

        self._folder, self._process = folder, psutil.Process()
        self._has_gpus = shutil.which("nvidia-smi") is not None
        self._network: Any = psutil.net_io_counters()
        psutil.cpu_percent()  # the first asking starts the count
        self._process.cpu_percent()

    def measure(self) -> dict[str, float]:
        """Name to value: processor and memory of machine and process, disk, network since the start, GPUs."""
        import psutil

        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._folder))
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "process_cpu_percentage": self._process.cpu_percent(),  # 100 for each core that is kept busy
            "process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
        }
        network: Any = psutil.net_io_counters()
        if network and self._network:  # a container may show none
            values["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / MEGABYTE
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / MEGABYTE
        return {name: round(value, 1) for name, value in values.items()} | (_measure_gpus() if self._has_gpus else {})


def _measure_gpus() -> dict[str, float]:
    values: dict[str, float] = {}
    for number, gpu in enumerate(_ask_gpus(GPU_MEASUREMENTS)):
        found: dict[str, float] = {}
        for name, text in gpu.items():
            with contextlib.suppress(ValueError):  # "[N/A]"
                found[name] = float(text)
        used, total = found.pop("memory_usage_mib", None), found.pop("memory_total_mib", None)
        if used is not None and total:
            found["memory_usage_megabytes"] = round(used * 2**20 / MEGABYTE, 1)
            found["memory_usage_percentage"] = round(100 * used / total, 1)
        values |= {f"gpu_{number}_{name}": value for name, value in found.items()}
    return values


def _ask_gpus(fields: dict[str, str]) -> list[dict[str, str]]:
    """What the NVIDIA driver says of each GPU: the values of ``fields``, name to the driver's own name. Empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
