"""What the kill harness found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AT_FSYNC", "AT_RANDOM", "BEFORE_MANIFEST", "BEFORE_RENAME", "KINDS", "THINGS", "KillReport"]

AT_RANDOM = "at a random time"
AT_FSYNC = "in a save, at an fsync"
BEFORE_RENAME = "in a save, between write and rename"
BEFORE_MANIFEST = "in a save, between data and manifest"
KINDS = (AT_RANDOM, AT_FSYNC, BEFORE_RENAME, BEFORE_MANIFEST)
"""Where a process is killed."""

THINGS = ("weights", "optimiser", "average", "schedule", "data order", "losses", "files")
"""What is compared: weights, the optimiser's state and the moving average at every checkpoint and in the end; the learning rate, and every
other number that is logged; the numbers of every batch's examples; and that no file is damaged, missing or left over."""

_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True)
class KillReport:
    """Of ``kills`` processes ended by SIGKILL (their number by kind), and what became of the trainings that they belonged to.

    ``fsyncs``: kills by the number of the fsync within its save. ``continued``: kills whose training was continued by the next process,
    ``from_checkpoint`` of them from a checkpoint (the others were killed before the first save, and begin again). ``terminated``: processes
    ended by SIGTERM, all of which saved what they had and exited with 143. ``equal``: of each of :data:`THINGS`, after how many kills it
    equals the uninterrupted training's to the bit, from there to the end. ``differences``: the others, each with its place.
    """

    name: str
    steps: int
    trainings: int
    kills: Mapping[str, int]
    fsyncs: Mapping[int, int]
    continued: int
    from_checkpoint: int
    terminated: int
    equal: Mapping[str, int]
    seconds: float
    differences: tuple[str, ...] = field(default=())

    @property
    def total(self) -> int:
        """How many processes were killed."""
        return sum(self.kills.values())

    def __str__(self) -> str:
        total, width = self.total, max(map(len, KINDS)) + len("SIGKILL ")
        trainings = f"{self.trainings} training{'s' * (self.trainings != 1)} of {self.steps} steps"
        lines = [f"{self.name}: {total} kills in {trainings}, {self.seconds:.0f} s"]
        for kind in KINDS:
            places = ", ".join(f"{_ORDINALS.get(n, f'{n}th')} {count}" for n, count in sorted(self.fsyncs.items()))
            detail = f"   ({places})" if kind == AT_FSYNC and places else ""
            lines.append(f"  {'SIGKILL ' + kind:{width}}  {self.kills.get(kind, 0):4}{detail}")
        lines.append(f"  {'SIGTERM: saved, exit 143':{width}}  {self.terminated:4}")
        lines.append(f"  {'continued':{width}}  {self.continued:4} of {total} ({self.from_checkpoint} from a checkpoint)")
        for thing in THINGS:
            lines.append(f"  {'equal to the bit: ' + thing:{width}}  {self.equal.get(thing, 0):4} of {total}")
        return "\n".join([*lines, *(f"  differs: {difference}" for difference in self.differences)])
