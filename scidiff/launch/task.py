"""``python -m scidiff.launch.task FOLDER COMMAND...``: one process of a job on this machine, in the place of srun.

It tells the command its rank as srun does, passes signals on to it as SIGTERM, writes its exit status to ``FOLDER/JOB_RANK_status``, and
ends itself with the status by which submitit's local executor knows that the job is to be started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from scidiff.signals import TERMINATED

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command until it ends; the exit status for submitit."""
    from submitit.core.job_environment import JobEnvironment
    from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

    folder, command = Path(arguments[0]), list(arguments[1:])
    job, stopped, process = JobEnvironment(), False, None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if process is not None:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):  # a preemption, a cancelled job, the end of the time limit
        signal.signal(number, stop)
    process = subprocess.Popen(command, env={**os.environ, **_as_srun(job.job_id, job.global_rank, job.num_tasks)})
    if stopped:
        process.terminate()
    status = process.wait()
    status = status if status >= 0 else 128 - status
    (folder / f"{job.job_id}_{job.global_rank}_status").write_text(str(status))
    return LOCAL_REQUEUE_RETURN_CODE if status == TERMINATED else status


def _as_srun(job: str, rank: int, count: int) -> dict[str, str]:
    """What srun sets on a job's only node."""
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(count),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20_000 + int(job) % 40_000),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
