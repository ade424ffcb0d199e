"""submitit's executors, for a plain command. Needs submitit (the extra ``cluster``).

submitit's ``submit`` pickles a Python function, runs it in a process that ignores SIGTERM, and pickles what it returns. Nothing of that is
used: these classes are given a command, as submitit's plug-ins are, and call no more than what submitit has its plug-ins write or call.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.local.local import LocalExecutor

from scidiff.errors import UserError
from scidiff.launch.job import Job, as_parameters
from scidiff.launch.resources import minutes

__all__ = ["run_here", "script_of", "submit"]


class ScriptExecutor(submitit.SlurmExecutor):
    """Writes and submits the script of a job."""

    @classmethod
    def affinity(cls) -> int:
        return 1  # a script can be written where there is no srun

    def script(self, command: str) -> str:
        return self._make_submission_file_text(command, "")

    def send(self, command: str) -> str:
        return str(self._submit_command(command).job_id)


class HereExecutor(LocalExecutor):
    """Runs a job's processes on this machine, and again after those that ended as a preempted job's do."""

    def start(self, command: str) -> tuple[str, subprocess.Popen[bytes]]:
        job: Any = self._submit_command(command)
        return str(job.job_id), job._process


def script_of(job: Job, dependency: str | None = None) -> str:
    """The text that is given to sbatch."""
    return _executor(job, dependency).script(job.command)


def submit(job: Job, dependency: str | None = None) -> str:
    """Give the job to sbatch; its number. Raises :class:`~scidiff.errors.UserError` where there is no sbatch, or it refuses."""
    if shutil.which("sbatch") is None:
        raise UserError("sbatch is not found here: run this on the cluster's login node, or write the script with --dry-run")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints there what it then raises
            return _executor(job, dependency).send(job.command)
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"sbatch does not take the job: {str(error).strip()}") from error


def run_here(job: Job) -> list[int]:
    """Run the job with submitit's local executor, and wait for it; the exit statuses of its processes.

    A process that ends with 143 is started again, as SLURM would start the job again (submitit does that five times at most).
    """
    resources = job.resources
    if resources.nodes > 1:
        raise UserError(f"--nodes {resources.nodes}: this machine is one node; leave --nodes out with --cluster local")
    executor = HereExecutor(job.folder)
    executor.update_parameters(
        timeout_min=minutes(resources.time),
        tasks_per_node=resources.processes,
        gpus_per_node=resources.gpus,
        signal_delay_s=resources.grace,
    )
    number, process = executor.start(shlex.join([sys.executable, "-m", "scidiff.launch.task", str(job.folder), *shlex.split(job.command)]))
    try:
        process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)  # as submitit cancels a job; its processes save, and stop
        process.wait()
        raise
    return [_status(job.folder, number, rank) for rank in range(resources.processes)]


def _status(folder: Path, number: str, rank: int) -> int:
    try:
        return int((folder / f"{number}_{rank}_status").read_text())
    except (OSError, ValueError):
        return 1


def _executor(job: Job, dependency: str | None) -> ScriptExecutor:
    executor = ScriptExecutor(job.folder)
    executor.update_parameters(**as_parameters(job), dependency=dependency)
    if job.resources.array is not None:
        executor.parameters["map_count"] = 1  # as submitit marks an array: logs are then named by the array's number and the task's
    return executor
