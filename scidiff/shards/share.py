"""Which shards a process makes: those it is told to, or its share among the ranks of torchrun or srun and the tasks of a SLURM array."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from scidiff.errors import UserError

__all__ = ["Share", "share_of", "use_own_gpu"]


@dataclass(frozen=True)
class Share:
    """Process ``index`` of ``count``; ``why`` says by whom: torchrun, srun, a SLURM array, or several of them."""

    index: int = 0
    count: int = 1
    why: str = ""

    def of(self, shards: int) -> range:
        """Every ``count``-th shard: the longest first ids are as evenly spread as the others."""
        return range(self.index, shards, self.count)


def share_of(environment: Mapping[str, str] = os.environ) -> Share:
    """The share of this process: ranks within tasks of an array. One process where neither is said.

    Raises UserError for an array whose tasks are not evenly numbered: a task cannot know which one it is.
    """
    task, tasks = _array(environment)
    rank, ranks, who = _rank(environment)
    why = " in ".join(filter(None, (who if ranks > 1 else "", "a SLURM array" if tasks > 1 else "")))
    return Share(task * ranks + rank, tasks * ranks, why)


def _rank(environment: Mapping[str, str]) -> tuple[int, int, str]:
    """(rank, ranks, who says so). A batch script itself is told SLURM_PROCID=0 and the job's number of tasks, but only srun starts those:
    there is a step then."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return int(environment["RANK"]), int(environment["WORLD_SIZE"]), "torchrun"
    rank = int(environment.get("SLURM_PROCID", "0"))
    if "SLURM_STEP_ID" in environment or rank > 0:
        return rank, int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1")), "srun"
    return 0, 1, ""


def _array(environment: Mapping[str, str]) -> tuple[int, int]:
    """(place of this task in its array, tasks): tasks may be numbered from anywhere, in steps."""
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return 0, 1
    names = {"ID": 0, "COUNT": 1, "MIN": 0, "STEP": 1}
    number, count, low, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in names.items())
    if count == 1:
        return 0, 1
    place, rest = divmod(number - low, max(step, 1))
    high = int(environment.get("SLURM_ARRAY_TASK_MAX", low + (count - 1) * step))
    if rest or not 0 <= place < count or high - low != (count - 1) * step:
        raise UserError(
            f"task {number} of a SLURM array of {count} tasks from {low} to {high}: which share is that? Number the tasks evenly "
            f"(--array=0-{count - 1}), or name the shard: --shard $SLURM_ARRAY_TASK_ID"
        )
    return place, count


def use_own_gpu(environment: Mapping[str, str] = os.environ) -> None:
    """Where processes share a machine with several CUDA devices, let each compute on its own."""
    import torch

    local = environment.get("LOCAL_RANK") or environment.get("SLURM_LOCALID")
    if local is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())
