"""What an evaluation does besides metrics A and B, on how many molecules, in how many processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scidiff.errors import UserError

Method = Literal["gfn2", "mmff"]
MAX_SUBSET = 100_000
"""Molecules of a random subset: their SMILES, and those that go on to a calculation, are held in memory."""


@dataclass(frozen=True)
class Plan:
    """Parts and sizes of an evaluation. A subset is drawn at random, by ``seed``, from the valid and connected molecules.

    Attributes:
        distributions: druglike figures, and distances of distributions to the reference's.
        poses: size of the subset that PoseBusters checks; 0: none.
        energies: size of the subset whose geometry is relaxed; 0: none.
        method: what relaxes it: ``gfn2`` (GFN2-xTB, the extra xtb; without it MMFF94 takes its place, and that is said) or ``mmff``.
        fcd: size of the subset that the Frechet ChemNet distance is computed on; 0: none.
        neighbours: size of the subset whose nearest neighbours in the reference are looked for; 0: none.
        seed: of all subsets and of all bootstrap resamples.
        workers: processes that judge: None: as many as cores, or none for few molecules and cheap figures; 0: none, in this process.
        patience: seconds after which a process that answers nothing is ended, and its molecule counted as failed.

    Raises:
        UserError: a size that is negative or over 100,000, fewer than 0 workers, or no patience.
    """

    distributions: bool = True
    poses: int = 1000
    energies: int = 200
    method: Method = "gfn2"
    fcd: int = 10_000
    neighbours: int = 1000
    seed: int = 0
    workers: int | None = None
    patience: float | int = 300.0

    def __post_init__(self) -> None:
        for name in ("poses", "energies", "fcd", "neighbours"):
            if not 0 <= (size := getattr(self, name)) <= MAX_SUBSET:
                raise UserError(f"{name}: a subset of {size:,} molecules; give 0 (none) to {MAX_SUBSET:,}")
        if self.method not in ("gfn2", "mmff"):
            raise UserError(f"method {self.method!r}: unknown; there are gfn2 and mmff")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed {self.seed}: give a number from 0 to 2^63 - 1")
        if self.workers is not None and not 0 <= self.workers <= 1024:
            raise UserError(f"workers {self.workers}: give 0 (none) to 1024")
        if not self.patience > 0:
            raise UserError(f"patience {self.patience}: give a number of seconds above 0")

    @property
    def calculates(self) -> bool:
        """Whether molecules go on to a calculation of their own."""
        return self.poses > 0 or self.energies > 0


QUICK = Plan(distributions=False, poses=0, energies=0, fcd=0, neighbours=0)
"""Metrics A and B alone: what a training's preview asks for."""
