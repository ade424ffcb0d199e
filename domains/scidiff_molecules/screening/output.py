"""Screening as molecules are generated: one that is withheld keeps its number and its place, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rdkit import Chem

from scidiff_molecules.decode import Generated
from scidiff_molecules.screening.screen import Screen
from scidiff_molecules.sdf import SCREEN, UNSANITISED, WITHHELD


def screened(molecules: Iterable[Generated], screen: Screen | bool = True) -> Iterator[Generated]:
    """The same molecules, those that the rules withhold replaced by placeholders without atoms. All are marked in their property
    ``scidiff_screen``. ``screen`` True: by the package's rules; False: by none. Raises UserError, at the call, for rules that cannot be
    read."""
    chosen = Screen(alerts=False) if screen is True else screen
    return (_off(one) if chosen is False else _pass(one, chosen) for one in molecules)


def _off(one: Generated) -> Generated:
    one.mol.SetProp(SCREEN, "off")
    return one


def _pass(one: Generated, screen: Screen) -> Generated:
    verdict = screen.check(one.mol)  # also of one that failed: whoever reads it may mend it, as RDKit does a neutral nitro group
    seen = verdict.screened or verdict.withheld
    if verdict.withheld or not (seen or one.reason):
        rule, name = (verdict.rule, verdict.name) if verdict.withheld else ("unscreenable", "does not sanitise")
        by = {"rule": rule, "rules": verdict.version, "sha256": screen.rules.sha256}
        one, seen = Generated(one.id, Chem.Mol(), f"{WITHHELD}{name}", by), True
    one.mol.SetProp(SCREEN, f"rules {verdict.version}" if seen else UNSANITISED)
    return one
