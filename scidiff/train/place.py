"""Which process of a training this one is. Apart from :mod:`scidiff.train.ranks`, which takes seconds to import, as models are also asked
where nothing is trained."""

from __future__ import annotations

import os


def place() -> tuple[int, int, int, int]:
    """(rank, world size, ranks on this node, nodes), as torchrun or srun say; (0, 1, 1, 1) without either."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"]), int(env["GROUP_WORLD_SIZE"])
    if "SLURM_STEP_ID" in env and "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        world, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_STEP_NUM_NODES", env.get("SLURM_NNODES", "1")))
        return int(env["SLURM_PROCID"]), world, world // nodes, nodes
    return 0, 1, 1, 1


def is_first() -> bool:
    """Is this the process that writes, logs and shows?"""
    return place()[0] == 0
