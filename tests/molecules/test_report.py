"""The report page loads nothing, escapes everything, loses no molecule, and is the same bytes for the same input."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rdkit import Chem
from support.pages import HOSTILE, PLANTED, Page, directives, hashes, references

import scidiff_molecules.report as package
from scidiff.errors import UserError
from scidiff.report import Curve, Row, Series, Table, write_page
from scidiff_molecules.metrics import evaluate
from scidiff_molecules.report import MoleculeView, metric_tables, molecule_grid, molecule_section
from scidiff_molecules.report.depict import shapes_only
from scidiff_molecules.report.viewer import formula_markup, molecule_island

PUBLISHED = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"  # npm 3dmol 2.5.5, build/3Dmol-min.js
FOLDER = Path(package.__file__).parent
LIBRARY = (FOLDER / "3Dmol-min.js").read_text(encoding="utf-8")  # compared with its published hash instead of searched


@dataclass
class Broken:
    mol: Chem.Mol | None
    reason: str


def molecule(smiles: str, seed: int = 0) -> Chem.Mol:
    """A molecule with explicit hydrogens and made-up finite coordinates, as a sampler hands it over."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.Set3D(True)
    conformer.SetPositions(np.random.default_rng(seed).normal(scale=3.0, size=(mol.GetNumAtoms(), 3)))
    mol.AddConformer(conformer)
    return mol


def five_valent() -> Chem.Mol:
    """Methane whose carbon has a double bond to one hydrogen: carbon 5, hydrogen 2."""
    mol = Chem.RWMol(molecule("C"))
    mol.GetBondBetweenAtoms(0, 1).SetBondType(Chem.BondType.DOUBLE)
    return mol.GetMol()


def views_of(items: Sequence[Any]) -> list[MoleculeView]:
    return [MoleculeView.of(item, f"no. {i}") for i, item in enumerate(items)]


def write(path: Path, **changes: object) -> str:
    content: dict[str, Any] = {
        "title": "molecules",
        "molecules": views_of([molecule("CCO"), molecule("C[NH2+]CC(=O)[O-]", 1), five_valent(), molecule("C.O", 2), None]),
        "tables": [Table("shares", [Row("valid", 0.6, 0.23, 0.88, 3, 5, "share that is valid", headline=True)])],
        "curves": [Curve("training", "step", "loss (nats)", [Series("train", [0, 1, 2], [3.0, 2.0, 1.5])])],
        "facts": {"seed": "0"},
        "notes": ["made by hand"],
    }
    section = molecule_section(**(content | changes))
    return write_page(path, title=section.title, sections=[section]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("report") / "page.html")


# ---- nothing is loaded ----


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert references(page.replace(LIBRARY, "")) == []


@pytest.mark.parametrize("fault", PLANTED)
def test_the_check_sees_a_planted_reference(page: str, fault: str) -> None:
    assert references(page.replace(LIBRARY, "").replace("</body>", fault + "</body>"))


def test_the_policy_allows_the_two_scripts_and_the_styles_by_hash_and_nothing_else(page: str) -> None:
    parsed = Page(page)
    assert directives(parsed) == {
        "default-src": ["'none'"],
        "script-src": hashes(parsed.scripts()),
        "style-src": hashes(parsed.styles()),
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert len(parsed.scripts()) == 2


def test_3dmol_is_the_published_build_whole_and_with_its_licence(page: str) -> None:
    library = (FOLDER / "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == PUBLISHED
    assert Page(page).scripts()[0].encode() == library
    assert "Copyright (c) 2014, University of Pittsburgh and contributors" in "".join(Page(page).text)


# ---- nothing is executed ----


def test_hostile_text_anywhere_is_text(tmp_path: Path, page: str) -> None:
    evil = "".join(HOSTILE)
    view = MoleculeView.of(molecule("CCO"), evil, smiles=evil, reason=evil)
    hostile = Page(
        write(
            tmp_path / "p.html",
            title=evil,
            molecules=[view],
            tables=[
                Table(evil, [Row(evil, 0.5, 0.4, 0.6, 1, 2, evil, headline=True), Row(evil, 2.0, 1.0, 3.0, definition=evil, unit=evil)])
            ],
            curves=[Curve(evil, evil, evil, [Series(evil, [0, 1], [1.0, 2.0])])],
            facts={evil: evil},
            notes=[evil],
        )
    )
    plain = Page(page)
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in plain.elements}
    assert {name for _, a in hostile.elements for name in a} <= {name for _, a in plain.elements for name in a}
    assert hostile.scripts() == plain.scripts()
    assert hostile.data()["molecules"][0]["caption"] == evil
    # heading and <title> 2, tile 1, card 3, table 1 + 2 + 3, curve 4, facts 2, note 1: each shown once, word for word
    assert "".join(hostile.text).count(evil) == 19


def test_a_molecules_own_name_and_properties_stay_out(tmp_path: Path) -> None:
    mol = molecule("CCO")
    for key in ("_Name", "molFileAlias", "comment"):
        mol.SetProp(key, HOSTILE[0])
    for atom in mol.GetAtoms():
        for key in ("_displayLabel", "atomLabel", "atomNote"):
            atom.SetProp(key, "<b>evil</b>")
    assert MoleculeView.of(mol, "x") == MoleculeView.of(molecule("CCO"), "x")
    assert MoleculeView.of(mol).block.startswith("\n")  # pyright: ignore[reportOptionalMemberAccess]


def test_only_shapes_survive_in_a_drawing() -> None:
    svg = shapes_only(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script><style>*{}</style><image href='http://x'/><text>t</text>"
        "<path d='M 0,0 L 1,1' style='stroke:#FF0000;fill:none;stroke-width:2.0px' onload='x()'/>"
        "<path d='M 1,1 L 2,2' style='stroke:#FF0000;fill:none;stroke-width:2.0px'/>"
        "<path d='M 0,0 url(x)' style='stroke:#000000'/><ellipse cx='1' cy='1' rx='expression(1)' ry='1'/></svg>"
    )
    assert svg == (
        '<svg class="flat2d" viewBox="0 0 240 190" aria-hidden="true" focusable="false">'
        '<path class="s-o" stroke-width="2.0" d="M 0,0 L 1,1 M 1,1 L 2,2"/></svg>'
    )


@given(st.text(), st.text(), st.text())
def test_any_text_comes_back_from_the_island(caption: str, smiles: str, reason: str) -> None:
    view = MoleculeView(caption, smiles, "", 0, None, reason, (), "")
    (found,) = Page(str(molecule_island([view]))).data()["molecules"]
    assert (found["caption"], found["smiles"], found["reason"]) == (caption, smiles, reason)


# ---- nothing is lost ----


def test_the_island_holds_exactly_the_molecules_given(tmp_path: Path) -> None:
    mols = [molecule(s, k) for k, s in enumerate(["CCO", "C[NH2+]CC(=O)[O-]", "c1cc[nH]c1", "C#N", "[C-]#[O+]", "OC1CC2CC12"])] + [
        five_valent()
    ]
    found = Page(write(tmp_path / "p.html", molecules=views_of(mols))).data()["molecules"]
    assert len(found) == len(mols)
    for mol, record in zip(mols, found, strict=True):
        Chem.Kekulize(mol, clearAromaticFlags=True)
        back = Chem.MolFromMolBlock(str(record["block"]), sanitize=False, removeHs=False)
        np.testing.assert_allclose(back.GetConformer().GetPositions(), mol.GetConformer().GetPositions(), rtol=0, atol=5.0001e-5)
        assert [(a.GetSymbol(), a.GetFormalCharge()) for a in back.GetAtoms()] == [
            (a.GetSymbol(), a.GetFormalCharge()) for a in mol.GetAtoms()
        ]
        assert [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondType()) for b in back.GetBonds()] == [
            (b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondType()) for b in mol.GetBonds()
        ]


def test_the_verdicts_are_those_of_metric_b() -> None:
    items = [
        molecule("CCO"),
        five_valent(),
        molecule("C.O"),
        molecule("C#N"),
        None,
        Broken(None, "lost"),
        Broken(molecule("O"), "too slow"),
    ]
    views = views_of(items)
    metric = evaluate([i for i in items if not isinstance(i, Broken)], None)["B/valid_and_connected"]
    assert sum(v.valid for v in views) == metric.numerator == 2
    assert [v.reason for v in views] == [
        None, "Explicit valence for atom # 0 C, 5, is greater than permitted", "not connected: 2 fragments", None,
        "no molecule", "lost", "too slow",
    ]  # fmt: skip
    assert views[1].faulty == (0, 1)
    assert [v.smiles for v in views] == ["CCO", "", "C.O", "C#N", "", "", "O"]
    assert [v.formula for v in views] == ["C2H6O", "CH4", "CH6O", "CHN", "", "", "H2O"]


@st.composite
def anything_a_sampler_may_say(draw: st.DrawFn) -> Chem.Mol:
    """Any elements, charges, bonds and finite positions, sensible or not."""
    n = draw(st.integers(1, 7))
    mol = Chem.RWMol()
    for _ in range(n):
        atom = Chem.Atom(draw(st.sampled_from([0, 1, 6, 7, 8, 9, 16, 92])))
        atom.SetFormalCharge(draw(st.integers(-3, 3)))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    kinds = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC, Chem.BondType.DATIVE]
    for i in range(n):
        for j in range(i):
            if kind := draw(st.sampled_from([None, None, *kinds])):
                mol.AddBond(i, j, kind)
    conformer = Chem.Conformer(n)
    conformer.SetPositions(np.array(draw(st.lists(st.floats(-999, 999), min_size=3 * n, max_size=3 * n))).reshape(n, 3))
    mol.AddConformer(conformer)
    return mol.GetMol()


@settings(max_examples=50)
@given(anything_a_sampler_may_say())
def test_no_molecule_breaks_the_report(mol: Chem.Mol) -> None:
    view = MoleculeView.of(mol)
    assert view.valid == (evaluate([mol], None)["B/valid_and_connected"].numerator == 1)
    assert view.atoms == mol.GetNumAtoms()
    assert set(view.faulty) <= set(range(view.atoms))
    assert molecule_grid([mol]).startswith(b"\x89PNG")
    if view.block is None:  # an element with more charge than electrons
        assert any(a.GetAtomicNum() < a.GetFormalCharge() for a in mol.GetAtoms())
        return
    back = Chem.MolFromMolBlock(view.block, sanitize=False, removeHs=False)
    np.testing.assert_allclose(back.GetConformer().GetPositions(), mol.GetConformer().GetPositions(), rtol=0, atol=5.0001e-5)
    assert [a.GetFormalCharge() for a in back.GetAtoms()] == [a.GetFormalCharge() for a in mol.GetAtoms()]
    assert back.GetNumBonds() == mol.GetNumBonds()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_coordinates_that_cannot_be_shown_leave_the_drawing_and_the_reason(value: float) -> None:
    mol = molecule("CCO")
    mol.GetConformer().SetAtomPosition(2, [0.0, value, 0.0])
    view = MoleculeView.of(mol)
    assert view.block is None
    assert not view.valid
    assert "atom 3" in str(view.reason)
    assert view.drawing == MoleculeView.of(molecule("CCO")).drawing != ""


def test_more_atoms_than_a_v2000_block_holds_are_drawn_flat_only() -> None:
    assert MoleculeView.of(molecule("C" * 332)).block is not None  # 998 atoms
    view = MoleculeView.of(molecule("C" * 333))
    assert (view.atoms, view.block, view.valid) == (1001, None, True)


def test_failed_molecules_are_shown_as_such(page: str) -> None:
    parsed = Page(page)
    cards = [a["class"] for tag, a in parsed.elements if tag == "li" and "data-i" in a]
    assert cards == ["card ok", "card ok", "card bad", "card bad", "card bad"]
    text = " ".join("".join(parsed.text).split())
    for reason in ("Explicit valence for atom # 0 C, 5, is greater than permitted", "not connected: 2 fragments", "no molecule"):
        assert reason in text
    assert "5 molecules shown, as generated: 2 valid and connected, 3 failing." in text
    assert page.count("f-bad") == 2 + (FOLDER / "style.css").read_text().count("f-bad")  # both atoms of the faulty bond are marked


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, page: str) -> None:
    again = write(tmp_path / "other-name.html")
    assert again == page
    assert list(tmp_path.iterdir()) == [tmp_path / "other-name.html"]


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    text = write(tmp_path / "p.html", molecules=[], tables=[], curves=[], facts={}, notes=[])
    assert "There are no molecules in this report." in text
    assert Page(text).scripts() == []


def test_refusals_name_the_place_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"501 molecules; a page shows at most 500"):
        write(tmp_path / "p.html", molecules=[MoleculeView.of(None)] * 501)
    with pytest.raises(UserError, match="absent does not exist; make it first"):
        write(tmp_path / "absent" / "p.html")
    with pytest.raises(UserError, match="is a folder"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lone_surrogate_does_not_lose_the_page(tmp_path: Path) -> None:
    assert "a?b" in write(tmp_path / "p.html", title="a\ud800b")


# ---- figures ----


def test_metrics_a_and_b_never_share_a_table_and_none_is_left_out() -> None:
    evaluation = evaluate([molecule("CCO"), five_valent()], None)
    tables = metric_tables(evaluation)
    names = [[row.name for row in table.rows] for table in tables]
    assert [{name.split()[0] for name in group} for group in names] == [{"A"}, {"B"}, {"readable"}]
    rows = {row.name: row for table in tables for row in table.rows}
    assert len(rows) == len(evaluation.metrics)
    for metric in evaluation.metrics:
        row = rows[metric.name]
        assert (row.value, row.low, row.high, row.numerator, row.denominator, row.definition) == (
            metric.value, metric.low, metric.high, metric.numerator, metric.denominator, metric.definition,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("formula", "markup"),
    [
        ("C2H6N+", "C<sub>2</sub>H<sub>6</sub>N<sup>+</sup>"),
        ("C10H8O4-2", "C<sub>10</sub>H<sub>8</sub>O<sub>4</sub><sup>2−</sup>"),
        ("CH4", "CH<sub>4</sub>"),
        ("", ""),
        ("<b>2", "&lt;b&gt;<sub>2</sub>"),
    ],
)
def test_formulas_are_set_as_chemists_write_them(formula: str, markup: str) -> None:
    assert str(formula_markup(formula)) == markup


# ---- pictures ----


def test_a_grid_marks_the_failed_and_only_them(tmp_path: Path) -> None:
    items = [molecule("CCO"), five_valent(), None, molecule("C#N"), molecule("C.O")]
    content = molecule_grid(items, tmp_path / "grid.png", columns=2)
    assert (tmp_path / "grid.png").read_bytes() == content == molecule_grid(items, columns=2)
    image = Image.open(io.BytesIO(content))
    width, height = (image.width - 10) // 2, (image.height - 10) // 3
    frames = [image.getpixel((10 + k % 2 * width, 10 + k // 2 * height)) for k in range(5)]
    failed = (0xB4, 0x23, 0x2F)
    assert [frame == failed for frame in frames] == [False, True, True, False, True]
    disc = image.crop((10 + width + 4, 14, 10 + 2 * width - 14, 10 + 180)).getcolors(1 << 16)
    assert disc is not None
    assert (255, 127, 127) in {colour for _, colour in disc}  # behind the faulty atoms


def test_pictures_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(UserError, match="1 to 400"):
        molecule_grid([])
    with pytest.raises(UserError, match="1 captions for 2 molecules"):
        molecule_grid([None, None], captions=["a"])
