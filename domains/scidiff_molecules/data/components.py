"""The Chemical Component Dictionary as the package ``biotite`` carries it: every ligand of the Protein Data Bank with atoms, bonds and
charges.

``biotite`` reads its own copy (BinaryCIF) whole, in some seconds; here its columns become one `Structure` a component. Bond orders are
Kekule orders. Coordinates are the dictionary's *ideal* ones (computed, by Corina for most); ``biotite`` is under the 3-clause BSD
licence, the dictionary under CC0 1.0 (Westbrook et al., Bioinformatics 31, 1274 (2015)).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from scidiff.errors import UserError
from scidiff_molecules.sdf import Structure

INSTALL = "install it with `pip install 'biotite>=1.6'` (or the extra `scidiffusion[ligands]`)"
_ORDERS = {"SING": 1.0, "DOUB": 2.0, "TRIP": 3.0}
_NUMBERS = {Chem.GetPeriodicTable().GetElementSymbol(number): number for number in range(1, 119)} | {"D": 1}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Component:
    """One entry: its identifier, whether it is ``obsolete`` or ``ambiguous``, its element symbols, and its atoms, bonds, charges and ideal
    positions (NaN where the dictionary has none); without a structure, ``fault`` says why."""

    name: str
    obsolete: bool
    ambiguous: bool
    elements: frozenset[str]
    heavy: int
    structure: Structure | None
    fault: str = ""


def number_of(name: str) -> int:
    """A component's identifier (1 to 5 digits and capital letters) as a number, the same in every version of the dictionary."""
    value = 0
    for letter in name:
        value = value * 36 + _DIGITS.index(letter) + 1  # bijective: 00A and A differ
    return value


def name_of(number: int) -> str:
    """The identifier with this number."""
    letters = ""
    while number > 0:
        number, digit = divmod(number - 1, 36)
        letters = _DIGITS[digit] + letters
    return letters


class Dictionary:
    """All components, in the order of their numbers; with ``ideal`` coordinates, or those of a ``model`` as some structure has it."""

    def __init__(self, coordinates: Literal["ideal", "model"] = "ideal") -> None:
        self._axes = [f"pdbx_model_Cartn_{axis}_ideal" if coordinates == "ideal" else f"model_Cartn_{axis}" for axis in "xyz"]
        if importlib.util.find_spec("biotite") is None:
            raise UserError(f"the ligands come from the Python package biotite, which is not installed; {INSTALL}")
        from biotite.structure.info import get_ccd

        try:
            block: Any = get_ccd()
        except RuntimeError as error:
            raise UserError(f"biotite has no component dictionary ({error}); {INSTALL}") from None
        self._about, self._atoms, self._bonds = (_Columns(block[f"chem_comp{part}"]) for part in ("", "_atom", "_bond"))
        names = [str(name) for name in self._about.text("id")]
        if any(letter not in _DIGITS for name in names for letter in name) or max(map(len, names)) > 5:
            raise UserError("biotite's component dictionary has identifiers of another kind; take another version of it: " + INSTALL)
        self._rows = {name: row for row, name in sorted(enumerate(names), key=lambda item: number_of(item[1]))}
        self._atom_rows, self._bond_rows = (_runs(columns.text("comp_id")) for columns in (self._atoms, self._bonds))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def __getitem__(self, name: str) -> Component:
        return self._component(name, self._rows[name])

    def components(self, block: int, shard: int = 0, of: int = 1) -> Iterator[Component]:
        """Every ``of``-th block of ``block`` components, from block ``shard`` on."""
        return (self._component(*item) for at, item in enumerate(self._rows.items()) if at // block % of == shard)

    def _component(self, name: str, row: int) -> Component:
        atoms, bonds = (rows.get(name, slice(0, 0)) for rows in (self._atom_rows, self._bond_rows))
        symbols = [str(symbol).capitalize() for symbol in self._atoms.text("type_symbol")[atoms]]
        flags = [str(self._about.text(key)[row]) for key in ("pdbx_release_status", "pdbx_ambiguous_flag")]
        heavy = sum(symbol not in ("H", "D") for symbol in symbols)
        structure = self._structure(np.array([_NUMBERS.get(symbol, 0) for symbol in symbols], dtype=np.int64), atoms, bonds)
        fault, structure = (structure, None) if isinstance(structure, str) else ("", structure)
        return Component(name, flags[0] == "OBS", flags[1] == "Y", frozenset(symbols), heavy, structure, fault)

    def _structure(self, numbers: NDArray[np.int64], atoms: slice, bonds: slice) -> Structure | str:
        at = {str(name): position for position, name in enumerate(self._atoms.text("atom_id")[atoms])}
        ends = [[at.get(str(name), -1) for name in self._bonds.text(f"atom_id_{end}")[bonds]] for end in (1, 2)]
        orders = [_ORDERS.get(str(kind), nan) for kind in self._bonds.text("value_order")[bonds]]
        if numbers.size == 0 or len(at) < numbers.size or -1 in ends[0] + ends[1] or any(i == j for i, j in zip(*ends, strict=True)):
            return "its atoms and bonds do not fit each other"
        positions = np.stack([self._atoms.real(axis)[atoms] for axis in self._axes], axis=1)
        charges = self._atoms.real("charge")[atoms].astype(np.int64)
        return Structure(numbers, charges, positions, tuple(zip(*ends, orders, strict=True)))


class _Columns:
    """A category's columns, each decoded once."""

    def __init__(self, category: Any) -> None:
        self._category = category
        self._read: dict[str, NDArray[Any]] = {}

    def text(self, key: str) -> NDArray[Any]:
        if key not in self._read:
            self._read[key] = self._category[key].as_array(str)
        return self._read[key]

    def real(self, key: str) -> NDArray[np.float64]:
        if key not in self._read:
            self._read[key] = self._category[key].as_array(float, masked_value=nan)
        return self._read[key]


def _runs(names: NDArray[Any]) -> dict[str, slice]:
    """Where each component's rows lie; they lie together."""
    cut = np.flatnonzero(names[1:] != names[:-1]) + 1
    starts, ends = [0, *cut.tolist()], [*cut.tolist(), len(names)]
    return {str(names[start]): slice(start, end) for start, end in zip(starts, ends, strict=True)}


def source() -> str:
    """The version of what is read."""
    return f"biotite {version('biotite')}"
