"""System metrics: the machine is measured in a thread of its own, and what fails there costs the run nothing."""

from __future__ import annotations

import mmap
import os
import stat
import sys
from pathlib import Path

import numpy
import psutil
import pytest
from support.stores import history, spooled, until

from scidiff.tracking import OFF, Tracker
from scidiff.tracking.machine import SystemSampler, machine
from scidiff.tracking.spool import folder_of, read_lines


def test_system_metrics_come_by_themselves_and_a_continued_run_counts_on(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    folder, name = tmp_path / "run", "system/process_memory_megabytes"
    for least in (2, 5):
        with Tracker.start("first", folder, tracking_uri=uri) as run:
            until(lambda least=least: len(spooled(folder, name)) >= least, 30)
    assert [step for _, step, _ in spooled(folder, name)] == list(range(len(spooled(folder, name))))
    assert history(uri, run.run_id, name) == spooled(folder, name)
    resident = psutil.Process().memory_info().rss / 1e6
    assert all(0.2 * resident < value < 5 * resident for value, _, _ in spooled(folder, name))
    *_, last = read_lines(folder_of(folder))
    assert last.content == {"status": "FINISHED"}  # nothing is measured after the end


def test_system_metrics_can_be_turned_off_and_their_failure_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")

    def broken(self: SystemSampler) -> dict[str, float]:
        raise OSError("no such device")

    monkeypatch.setattr(SystemSampler, "measure", broken)
    with Tracker.start("first", tmp_path / "a", tracking_uri=OFF) as run:
        until(lambda: "system metrics are not measured any more (OSError: no such device)" in caplog.text, 30)
        run.log_metrics({"loss": 1.0}, 1)
    assert len(spooled(tmp_path / "a", "loss")) == 1
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    caplog.clear()
    with Tracker.start("first", tmp_path / "b", tracking_uri=OFF) as run:
        run._monitor.join(30)
    assert caplog.text == ""


def test_memory_and_work_of_this_process_are_measured(tmp_path: Path) -> None:
    sampler = SystemSampler(tmp_path)
    before = sampler.measure()["process_memory_megabytes"]
    ballast = numpy.frombuffer(mmap.mmap(-1, 10**8), dtype=numpy.uint8)  # fresh pages: an allocator may hand out old ones
    ballast[:] = 1
    while psutil.Process().cpu_times().user < 0.2 or ballast[0] == 0:
        ballast[::4096] += 1
    after = sampler.measure()
    assert 80 < after["process_memory_megabytes"] - before < 140
    assert after["process_cpu_percentage"] > 0
    assert after["disk_available_megabytes"] == pytest.approx(psutil.disk_usage(str(tmp_path)).free / 1e6, rel=0.05)


SMI = """#!{python}
import sys
facts = "NVIDIA H200, 143771, 570.1\\nNVIDIA H200, 143771, 570.1"
print(facts if "name" in sys.argv[1] else "97, 70000, 143771, 412.5\\n[N/A], 0, 143771, [N/A]")
"""


def test_gpus_are_named_and_measured_where_the_driver_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine()["gpus"] == [{"name": "NVIDIA H200", "memory_mib": "143771", "driver": "570.1"}] * 2
    measured = {name: value for name, value in SystemSampler(tmp_path).measure().items() if name.startswith("gpu_")}
    assert measured == {
        "gpu_0_utilization_percentage": 97.0,
        "gpu_0_power_usage_watts": 412.5,
        "gpu_0_memory_usage_megabytes": 73400.3,
        "gpu_0_memory_usage_percentage": 48.7,
        "gpu_1_memory_usage_megabytes": 0.0,
        "gpu_1_memory_usage_percentage": 0.0,
    }
    program.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not fit
    assert machine()["gpus"] == []
