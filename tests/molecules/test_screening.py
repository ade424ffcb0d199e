"""Screening: every rule by its examples, however they are written; near misses; closed when in doubt."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from support.pages import HOSTILE

from scidiff.errors import UserError
from scidiff_molecules.data import load_sample
from scidiff_molecules.decode import Generated
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.screening import Screen, load_rules, screened
from scidiff_molecules.sdf import SCREEN, STATUS, build_mol

RULES = load_rules()
SCREENING = Screen(alerts=False)
WITHHELD = [(rule, name, smiles) for rule in RULES.rules for name, smiles in rule.withheld.items()]
PASSES = [(rule, name, smiles) for rule in RULES.rules for name, smiles in rule.passes.items()]
SALTS = ["Cl", "[Na+]", "Br", "OS(=O)(=O)O", "CC(=O)[O-]", "OC(=O)C=CC(=O)O", "[Zn+2]", "O"]
DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O", "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "metformin": "CN(C)C(=N)NC(N)=N", "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc12",
    "morphine": "CN1CCC23C4C1CC5=C2C(=C(C=C5)O)OC3C(C=C4)O", "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "procaine": "CCN(CC)CCOC(=O)c1ccc(N)cc1", "atropine": "CN1C2CCC1CC(C2)OC(=O)C(CO)c1ccccc1",
    "fluoxetine": "CNCCC(Oc1ccc(cc1)C(F)(F)F)c1ccccc1", "warfarin": "CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O",
    "penicillin G": "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O", "omeprazole": "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C",
    "amlodipine": "CCOC(=O)C1=C(COCCN)NC(C)=C(C(=O)OC)C1c1ccccc1Cl", "nifedipine": "COC(=O)C1=C(C)NC(C)=C(C(=O)OC)C1c1ccccc1[N+](=O)[O-]",
    "sildenafil": "CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1",
    "zidovudine": "Cc1cn(C2CC(N=[N+]=[N-])C(CO)O2)c(=O)[nH]c1=O", "pyridostigmine": "CN(C)C(=O)Oc1ccc[n+](C)c1",
    "nicotine": "CN1CCCC1c1cccnc1", "tiludronic acid": "OP(=O)(O)C(Sc1ccc(Cl)cc1)P(=O)(O)O",
    "brigatinib's phosphine oxide": "CP(C)(=O)c1ccccc1N", "risperidone": "Cc1nc2n(CCCC2)c(=O)c1CCN1CCC(CC1)c1noc2cc(F)ccc12",
    "donepezil": "COc1cc2CC(CC3CCN(Cc4ccccc4)CC3)C(=O)c2cc1OC", "levofloxacin": "CC1COc2c3n1cc(C(=O)O)c(=O)c3cc(F)c2N1CCN(C)CC1",
    "flutamide": "CC(C)C(=O)Nc1ccc(c(c1)C(F)(F)F)[N+](=O)[O-]", "ifosfamide": "ClCCNP1(=O)OCCCN1CCCl",
    "estradiol": "CC12CCC3c4ccc(O)cc4CCC3C1CCC2O",
}  # fmt: skip


def read(smiles: str) -> Chem.Mol:
    mol = Chem.MolFromSmiles(smiles)
    assert mol is not None, smiles
    return mol


# ---- ways to write the same molecule ----


def salt(mol: Chem.Mol) -> Chem.Mol:
    return Chem.CombineMols(Chem.CombineMols(read("CC(=O)[O-]"), mol), read("[Na+].OC(=O)C=CC(=O)O"))


def heavy_isotopes(mol: Chem.Mol) -> Chem.Mol:
    return isotopes(mol, random.Random(0))


def deuterated(mol: Chem.Mol) -> Chem.Mol:
    full = Chem.AddHs(mol)
    for atom in full.GetAtoms():
        atom.SetIsotope(2 if atom.GetAtomicNum() == 1 else 0)
    return full


def isotopes(mol: Chem.Mol, chance: random.Random) -> Chem.Mol:
    marked = Chem.Mol(mol)
    for atom in marked.GetAtoms():
        atom.SetIsotope(chance.choice([0, 2 * atom.GetAtomicNum() + chance.randrange(4)]))
    return marked


def charged(mol: Chem.Mol) -> Chem.Mol:
    """Amines with a proton more, acids with one less: a zwitterion where there are both."""
    ions = Chem.RWMol(mol)
    amine = Chem.MolFromSmarts("[NX3;!$(N*=[!#6]);!$(N*#*);!$(N~[!#6]);!$(Na)]")
    for pattern, charge in ((amine, 1), (Chem.MolFromSmarts("[OX2H1]-[#6,#15]=O"), -1)):
        for match in mol.GetSubstructMatches(pattern):
            atom = ions.GetAtomWithIdx(match[0])
            atom.SetFormalCharge(charge)
            atom.SetNumExplicitHs(atom.GetTotalNumHs() + charge)
    Chem.SanitizeMol(ions)
    return ions


def stereo(mol: Chem.Mol) -> Chem.Mol:
    chiral = Chem.Mol(mol)
    for number, (index, _) in enumerate(Chem.FindMolChiralCenters(mol, includeUnassigned=True, useLegacyImplementation=False)):
        tags = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
        chiral.GetAtomWithIdx(index).SetChiralTag(tags[number % 2])
    return read(Chem.MolToSmiles(chiral))


WRITTEN = [Chem.Mol, salt, heavy_isotopes, deuterated, charged, stereo, Chem.AddHs, lambda mol: salt(deuterated(charged(mol)))]
WAYS = ["plain", "salt", "isotopes", "deuterated", "charged", "stereo", "hydrogens", "all"]


@pytest.mark.parametrize("way", WRITTEN, ids=WAYS)
def test_every_rule_withholds_its_examples_and_passes_its_near_misses(way: Any) -> None:
    for rule, name, smiles in WITHHELD:
        verdict = SCREENING.check(way(read(smiles)))
        assert (verdict.withheld, verdict.rule, verdict.name, verdict.version) == (True, rule.id, rule.name, "2026.11"), name
    for rule, name, smiles in [*PASSES, *((None, *drug) for drug in DRUGS.items())]:
        verdict = SCREENING.check(way(read(smiles)))
        assert (verdict.withheld, verdict.rule, verdict.screened) == (False, "", True), (name, verdict, rule)


@given(data=st.data())
def test_how_a_molecule_is_written_does_not_change_the_verdict(data: st.DataObject) -> None:
    _, _, smiles = data.draw(st.sampled_from([*WITHHELD, *PASSES]))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    mol = read(smiles)
    order = chance.sample(range(mol.GetNumAtoms()), mol.GetNumAtoms())
    other = Chem.RenumberAtoms(mol, order)
    for ion in data.draw(st.lists(st.sampled_from(SALTS), max_size=3)):
        other = Chem.CombineMols(*chance.sample([other, read(ion)], 2))
    other = isotopes(Chem.AddHs(other) if data.draw(st.booleans()) else other, chance)
    before = other.ToBinary()
    assert SCREENING.check(other) == SCREENING.check(mol)
    assert other.ToBinary() == before


def test_forms_that_no_proton_explains() -> None:
    """A dative double bond, a covalently written salt, the aci form of a nitro group: the rules know them."""
    for smiles, rule in {
        "CC(C)O[P+](C)([O-])F": "cwc-phosphorus-fluoride",
        "[Na]Oc1c(cc(cc1[N+](=O)[O-])[N+](=O)[O-])[N+](=O)[O-]": "explosive-nitroarenes",
        "CC(=[N+](O)[O-])[N+](=O)[O-]": "explosive-geminal-nitro",
        "CCOP(C)(=O)SCC[N+](C)(C(C)C)C(C)C.[I-]": "cwc-aminoethyl-phosphorothiolate",
    }.items():
        assert SCREENING.check(read(smiles)).rule == rule


def test_every_fragment_is_checked() -> None:
    assert SCREENING.check(read(f"{DRUGS['morphine']}.C#N")).rule == "cwc-named-small"


def test_none_of_two_thousand_training_molecules_of_qm9_is_withheld() -> None:
    found = Counter(SCREENING.check(build_mol(one)) for one in structures(load_sample("train")[:2000]))
    assert [(verdict.withheld, verdict.screened, count) for verdict, count in found.items()] == [(False, True, 2000)]


def test_alerts_are_labels_fentanyl_has_none_and_aspirin_has_one() -> None:
    full = Screen()
    fentanyl, aspirin = (full.check(read(smiles)) for smiles in (RULES.rules[9].withheld["fentanyl"], DRUGS["aspirin"]))
    assert (fentanyl.withheld, fentanyl.alerts) == (True, ())
    assert (aspirin.withheld, aspirin.alerts) == (False, ("BRENK: phenol_ester",))


# ---- closed when in doubt ----


def test_what_fails_on_the_way_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(mol: Chem.Mol) -> list[Chem.Mol]:
        raise RuntimeError("Pre-condition Violation")

    big = read("C" * 400)
    assert not SCREENING.check(big).withheld
    verdict = SCREENING.check(Chem.AddHs(big))
    assert (verdict.withheld, verdict.screened, verdict.rule, verdict.name) == (True, False, "unscreenable", "more than 1,000 atoms")
    monkeypatch.setattr("scidiff_molecules.screening.screen.fragments", breaks)
    verdict = SCREENING.check(read("CCO"))
    assert (verdict.withheld, verdict.screened, verdict.rule) == (True, False, "unscreenable")
    (one,) = screened([Generated(3, read("CCO"))], SCREENING)
    assert (one.id, one.mol.GetNumAtoms(), one.reason, one.smiles) == (3, 0, "withheld: screening failed", "")


def test_what_does_not_sanitise_is_never_ok() -> None:
    broken = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    verdict = SCREENING.check(broken)
    assert (verdict.withheld, verdict.screened) == (False, False)
    failed, unmarked = screened([Generated(0, Chem.Mol(broken), "Explicit valence"), Generated(1, Chem.Mol(broken))], SCREENING)
    assert (failed.mol.GetProp(STATUS), failed.mol.GetProp(SCREEN)) == ("failed: Explicit valence", "not screened: does not sanitise")
    assert (unmarked.mol.GetProp(STATUS), unmarked.mol.GetNumAtoms()) == ("withheld: does not sanitise", 0)


@pytest.mark.parametrize("smiles", ["Cc1c(N(=O)=O)cc(N(=O)=O)cc1N(=O)=O", "O=N(=O)N1CN(N(=O)=O)CN(N(=O)=O)C1"])
def test_what_a_reader_would_mend_is_screened_as_mended(smiles: str) -> None:
    """Nitro groups without charges do not sanitise as generated; RDKit's readers give them the charges that the rules know."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    one = Generated(5, mol, "Explicit valence for atom # 8 N, 5, is greater than permitted")
    (withheld,) = screened([one], SCREENING)
    assert withheld.mol.GetNumAtoms() == 0
    assert withheld.mol.GetProp(STATUS).startswith("withheld: ")


def test_the_sound_fragments_of_what_does_not_sanitise_are_screened() -> None:
    both = Chem.CombineMols(Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), read("C#N"))
    verdict = SCREENING.check(both)
    assert (verdict.withheld, verdict.screened, verdict.rule) == (True, False, "cwc-named-small")


def test_no_memory_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(mol: Chem.Mol) -> list[Chem.Mol]:
        raise MemoryError

    monkeypatch.setattr("scidiff_molecules.screening.screen.fragments", full)
    with pytest.raises(MemoryError):
        SCREENING.check(read("CCO"))


EXAMPLES = {"withheld": {"a": "C=C", "b": "CC=C"}, "passes": {"a": "C", "b": "CC"}}
ONE = {"id": "a", "name": "a class", "reference": "a list", "smarts": ["C=C"], **EXAMPLES}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "these are no screening rules"),
        ("[" * 100_000, "these are no screening rules"),
        (" " * 2**21, "more than 1,048,576 bytes"),
        ({"version": "2026.11", "rules": []}, "rules: "),
        ({"version": "new", "rules": [ONE]}, "version: "),
        ({"version": "2026.11", "rules": [ONE, ONE]}, "two rules have the same id"),
        ({"version": "2026.11", "rules": [{**ONE, "smarts": ["[N"]}]}, r"no SMARTS pattern: '\[N'"),
        ({"version": "2026.11", "rules": [{**ONE, "withheld": {"a": "N"}}]}, "withheld"),
        ({"version": "2026.11", "rules": [{**ONE, "run": "os.system"}]}, "run"),
        *(({"version": "2026.11", "rules": [{**ONE, "name": text}]}, "name") for text in (*HOSTILE, "a\nb", "a\x00b", "+1", "@x")),
        *(({"version": "2026.11", "rules": [{**ONE, "id": text}]}, "id") for text in ("a b", "a\n", "../a")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_rules_that_cannot_be_read_stop_it(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "rules.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=rf"rules\.json: .*{message}"):
        load_rules(tmp_path / "rules.json")
    with pytest.raises(UserError, match=r"none\.json: the screening rules cannot be read"):
        load_rules(tmp_path / "none.json")
