"""The processes of one training: one on a laptop, one a GPU under ``torchrun`` or ``srun``. All of ``torch.distributed`` is here.

What the ranks share is little: gradients are added once a step (not hooked into backward, as DistributedDataParallel does it: a rank that
must split its part for lack of memory runs backward more often than the others), and the first rank tells the others what it alone knows.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from scidiff.device import choose_device
from scidiff.train.place import place

_PATIENCE = timedelta(hours=4)
"""How long a rank waits for the others: the first one validates, draws samples and writes checkpoints alone."""


class Ranks:
    """This process among those of its training. Close it in the end: processes that leave a group open may abort when they exit."""

    def __init__(self, device: str, precision: Any) -> None:
        self.rank, self.world, local, nodes = place()
        accelerator = choose_device(device).type
        strategy: Any = "auto"
        if self.world > 1:
            os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")  # without it, gloo cannot connect again when torchrun restarts the workers
            strategy = DDPStrategy(timeout=_PATIENCE)
            for name in ("lightning_fabric", "lightning.fabric", "lightning_utilities"):  # they announce every rank
                logging.getLogger(name).setLevel(logging.WARNING)
        self.fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=local, num_nodes=nodes, precision=precision)
        self.fabric.launch()

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def add(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def tell(self, content: bytes | None) -> bytes:
        """The first rank's bytes, on every rank (the others give what they like)."""
        if self.world == 1:
            return content or b""
        size = torch.tensor([len(content or b"")], device=self.device)
        dist.broadcast(size, 0)
        data = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        if self.is_first:
            data.copy_(torch.frombuffer(bytearray(content or b""), dtype=torch.uint8) if content else data)
        dist.broadcast(data, 0)
        return data.cpu().numpy().tobytes()

    def close(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
