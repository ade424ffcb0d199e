"""The verdict on one molecule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from rdkit import Chem
from rdkit.Chem.rdfiltercatalog import FilterCatalog, FilterCatalogEntry, FilterCatalogParams, SmartsMatcher

from scidiff_molecules.screening.canonical import fragments
from scidiff_molecules.screening.rules import Rule, Rules, load_rules
from scidiff_molecules.sdf import sanitize_fault, without_hydrogens

MAX_ATOMS = 1000
CATALOGUES = ("PAINS", "BRENK", "NIH")


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a molecule.

    Attributes:
        withheld: it must not be handed out: a rule matches it, or screening it failed.
        rule, name: id and class of that rule; of a failure ``unscreenable`` and why.
        version: of the rules.
        screened: the rules saw it. False for a molecule that RDKit does not sanitise, of which they see those fragments alone that it
            does: it may never count as ok.
        alerts: medicinal-chemistry alerts, ``BRENK: phenol_ester``. For information, no part of the verdict: they flag what disturbs
            assays or development, not what is dangerous. Fentanyl has none, aspirin has one.
    """

    withheld: bool
    rule: str
    name: str
    version: str
    screened: bool = True
    alerts: tuple[str, ...] = ()


class Screen:
    """Deny rules, compiled. ``alerts``: look for medicinal-chemistry alerts too, which takes ten times as long as the rules.

    >>> Screen().check(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")).alerts
    ('BRENK: phenol_ester',)
    """

    def __init__(self, rules: Rules | None = None, *, alerts: bool = True) -> None:
        self.rules = load_rules() if rules is None else rules
        self.alerts = alerts
        self._by_id = {rule.id: rule for rule in self.rules.rules}
        self._catalogue = FilterCatalog()
        for rule in self.rules.rules:
            for pattern in rule.smarts:
                # One by one: GetFirstMatch answers in this order, whatever the molecule.
                self._catalogue.AddEntry(FilterCatalogEntry(rule.id, SmartsMatcher(rule.id, pattern, rule.count)))

    def check(self, mol: Chem.Mol) -> Verdict:
        """The verdict on a molecule, which is not changed. Closed when in doubt: what fails on the way is withheld.

        Work is bounded by a molecule's size (:data:`MAX_ATOMS`, hydrogens included) and not by a clock, whose answer would change from one
        machine to the next.
        """
        if mol.GetNumAtoms() > MAX_ATOMS:
            return self._unscreenable(f"more than {MAX_ATOMS:,} atoms")
        screened = _sanitises(mol)
        try:
            parts = [mol] if screened else filter(_sanitises, Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False))
            found = next(filter(None, map(self._match, parts)), None)
            alerts = _alerts(mol) if self.alerts and screened else ()
        except MemoryError:  # says nothing of the molecule; nothing is handed out either
            raise
        except Exception:
            return self._unscreenable("screening failed")
        rule, name = ("", "") if found is None else (found.id, found.name)
        return Verdict(found is not None, rule, name, self.rules.version, screened, alerts)

    def _match(self, mol: Chem.Mol) -> Rule | None:
        for part in fragments(mol):
            entry = self._catalogue.GetFirstMatch(part)
            if entry is not None:
                return self._by_id[entry.GetDescription()]
        return None

    def _unscreenable(self, why: str) -> Verdict:
        return Verdict(withheld=True, rule="unscreenable", name=why, version=self.rules.version, screened=False)


def _sanitises(mol: Chem.Mol) -> bool:
    """With RDKit's clean-up, as whoever reads the molecule will see it."""
    return sanitize_fault(Chem.Mol(mol)) is None


@cache
def _alert_catalogues() -> dict[str, FilterCatalog]:
    known = FilterCatalogParams.FilterCatalogs
    return {name: FilterCatalog(FilterCatalogParams(getattr(known, name))) for name in CATALOGUES}


def _alerts(mol: Chem.Mol) -> tuple[str, ...]:
    plain = without_hydrogens(mol)
    return tuple(f"{name}: {entry.GetDescription()}" for name, found in _alert_catalogues().items() for entry in found.GetMatches(plain))
