"""``torchrun ... ranks.py FOLDER PLAN``: a tiny training by several processes. The plan, JSON: ``changes`` of its configuration, and
``kill`` or ``term``, the step before which the last rank ends itself by SIGKILL or gets a SIGTERM, the first time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from support.training import Log, tiny_task, train_config

from scidiff.train.loop import fit
from scidiff.train.place import place


def main() -> None:
    torch.set_num_threads(1)
    folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
    rank, world, *_ = place()
    task, log, seen = tiny_task(), Log(), 0
    real, flag = task.batch, folder / "ended-once"

    def batch(examples: Any) -> Any:
        nonlocal seen
        seen += 1
        for kind, number in (("kill", signal.SIGKILL), ("term", signal.SIGTERM)):
            if rank == world - 1 and plan.get(kind) == seen and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), number)
        return real(examples)

    task.batch = batch  # type: ignore[method-assign]
    try:
        fit(task, train_config(**plan["changes"]), folder, log, device="cpu")
    finally:
        if rank == 0:
            with (folder / "log.jsonl").open("a") as file:
                file.writelines(json.dumps({"step": step, **values}) + "\n" for step, values in log.losses().items())


if __name__ == "__main__":
    main()
