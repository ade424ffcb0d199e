"""scidiff's molecule domain: equivariant generation of 3D molecules.

>>> from scidiff_molecules import MoleculeGenerator
>>> molecules = MoleculeGenerator.load("qm9").generate(100, seed=0)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scidiff_molecules.generator import MoleculeGenerator

__all__ = ["MoleculeGenerator"]


def __getattr__(name: str) -> Any:
    # Lazy: ``scidiff --help`` finds the domain without importing torch and RDKit.
    if name == "MoleculeGenerator":
        from scidiff_molecules.generator import MoleculeGenerator

        return MoleculeGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
