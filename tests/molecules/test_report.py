"""The report page loads nothing, escapes everything, loses no molecule, and is the same bytes for the same input."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rdkit import Chem

import scidiff_molecules.report as package
from scidiff.errors import UserError
from scidiff_molecules.metrics import evaluate
from scidiff_molecules.report import Curve, MoleculeView, Row, Series, Table, curve_png, metric_tables, molecule_grid, write_page
from scidiff_molecules.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, layout
from scidiff_molecules.report.depict import shapes_only
from scidiff_molecules.report.page import formula_markup, island
from scidiff_molecules.report.views import views_of

PUBLISHED = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"  # npm 3dmol 2.5.5, build/3Dmol-min.js
FOLDER = Path(package.__file__).parent
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    '=HYPERLINK("http://evil.example","x")',
    "<!--",
    "'\" onload=alert(3) &amp;",
]


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


class Page(HTMLParser):
    """What a browser's parser sees: elements with their attributes, the text outside scripts, the content of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.raw.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            tag, attributes, content = self.raw[-1]
            self.raw[-1] = (tag, attributes, content + data)
        else:
            self.text.append(data)

    def scripts(self) -> list[str]:
        return [content for tag, attributes, content in self.raw if tag == "script" and "type" not in attributes]

    def data(self) -> list[dict[str, object]]:
        (content,) = [content for tag, attributes, content in self.raw if attributes.get("type") == "application/json"]
        return json.loads(content)["molecules"]


def references(page: str) -> list[str]:
    """Everything in a page that could load something; the inlined 3Dmol.js aside, which is compared with its file instead."""
    rest = page.replace((FOLDER / "3Dmol-min.js").read_text(encoding="utf-8"), "")
    parsed = Page(rest)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "formaction", "poster", "background", "manifest", "ping", "style"}
    found = [f"<{tag} {name}>" for tag, attributes in parsed.elements for name in attributes if name in loading or name.startswith("on")]
    found += [
        f"<{tag}>"
        for tag, _ in parsed.elements
        if tag in {"link", "iframe", "object", "embed", "base", "img", "image", "use", "foreignobject"}
    ]
    code = "\n".join(content for _, attributes, content in parsed.raw if attributes.get("type") != "application/json")
    return found + re.findall(
        r"url\s*\(|@import|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon|\beval\b|https?:(?!//www\.w3\.org/2000/svg)", code
    )


def write(path: Path, **changes: object) -> str:
    content: dict[str, object] = {
        "title": "molecules",
        "molecules": views_of([molecule("CCO"), molecule("C[NH2+]CC(=O)[O-]", 1), five_valent(), molecule("C.O", 2), None]),
        "tables": [Table("shares", [Row("valid", 0.6, 0.23, 0.88, 3, 5, "share that is valid", headline=True)])],
        "curves": [Curve("training", "step", "loss (nats)", [Series("train", [0, 1, 2], [3.0, 2.0, 1.5])])],
        "facts": {"seed": "0"},
        "notes": ["made by hand"],
    }
    return write_page(path, **(content | changes)).read_text(encoding="utf-8")  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("report") / "page.html")


# ---- nothing is loaded ----


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert references(page) == []


@pytest.mark.parametrize(
    "fault",
    [
        '<script src="//cdn.example/x.js"></script>', '<link rel="stylesheet" href="a.css">', "<style>a{background:url(x.png)}</style>",
        "<script>fetch('x')</script>", "<script>import('x')</script>", '<style>@import "x";</style>', "<img>", '<b onclick="x()">',
        "<script>location = 'https://evil.example'</script>",
    ],
)  # fmt: skip
def test_the_check_sees_a_planted_reference(page: str, fault: str) -> None:
    assert references(page.replace("</body>", fault + "</body>"))


def test_the_policy_allows_the_two_scripts_and_the_style_by_hash_and_nothing_else(page: str) -> None:
    parsed = Page(page)
    (policy,) = [a["content"] for tag, a in parsed.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    directives = {name: sources.split() for name, _, sources in (part.strip().partition(" ") for part in policy.split(";"))}

    def hashes(contents: list[str]) -> list[str]:
        return [f"'sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}'" for c in contents]

    assert directives == {
        "default-src": ["'none'"],
        "script-src": hashes(parsed.scripts()),
        "style-src": hashes([content for tag, _, content in parsed.raw if tag == "style"]),
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
    assert hostile.data()[0]["caption"] == evil
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
    text = str(island([view]))
    assert not set("<>&'") & set(text)
    assert text.isascii()
    (found,) = json.loads(text)["molecules"]
    assert (found["caption"], found["smiles"], found["reason"]) == (caption, smiles, reason)


# ---- nothing is lost ----


def test_the_island_holds_exactly_the_molecules_given(tmp_path: Path) -> None:
    mols = [molecule(s, k) for k, s in enumerate(["CCO", "C[NH2+]CC(=O)[O-]", "c1cc[nH]c1", "C#N", "[C-]#[O+]", "OC1CC2CC12"])] + [
        five_valent()
    ]
    found = Page(write(tmp_path / "p.html", molecules=views_of(mols))).data()
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


def test_figures_are_written_with_interval_and_denominator() -> None:
    share = Row("x", 0.61111, 0.4486, 0.7522, 22, 36)
    assert (share.value_text, share.interval_text, share.count_text) == ("61.1 %", "44.9 to 75.2", "22 / 36")
    assert share.bar == (61.11, 44.86, 30.36)
    plain = replace(share, unit="molecules/s", numerator=None, value=1234.56, low=1200.0, high=1300.0)
    assert (plain.value_text, plain.interval_text, plain.count_text, plain.bar) == ("1,235 molecules/s", "1,200 to 1,300", "–", None)
    assert (Row("x", None).value_text, Row("x", None).interval_text) == ("–", "–")


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


# ---- curves ----


def test_a_curve_is_placed_between_its_axes() -> None:
    plot = layout(Curve("t", "x", "y", [Series("a", [0, 5, 10], [0.0, 10.0, 4.0])]))
    assert plot is not None
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    assert plot.lines[0].raw == f"M{left} {bottom}L{(left + right) / 2:g} {top}L{right} {bottom - 0.4 * (bottom - top):g}"
    assert plot.lines[0].mean == ""
    assert [(t.at, t.text) for t in plot.y_ticks][:: len(plot.y_ticks) - 1] == [(bottom, "0"), (top, "10")]
    assert [t.text for t in plot.x_ticks] == ["0", "2", "4", "6", "8", "10"]


def test_values_that_are_not_finite_leave_a_gap() -> None:
    plot = layout(Curve("t", "x", "y", [Series("a", [0, 1, 2, 3, 4], [1.0, 2.0, math.nan, 3.0, math.inf])]))
    assert plot is not None
    assert re.sub(r"[\d. ]+", "", plot.lines[0].raw) == "MLM"
    assert layout(Curve("t", "x", "y", [Series("a", [0], [math.nan])])) is None
    assert layout(Curve("t", "x", "y", [])) is None
    assert layout(Curve("t", "x", "y", [Series("a", [7], [3.0])])) is not None


def test_the_running_mean_is_the_mean_of_the_neighbours() -> None:
    series = Series("a", range(80), [float(k * k) for k in range(80)])
    mean = series.smoothed()
    assert series.window == 5
    assert mean[40] == np.mean([k * k for k in range(38, 43)]) == 1602.0
    assert mean[0] == np.mean([0, 1, 4])
    assert mean[79] == np.mean([77**2, 78**2, 79**2])
    assert Series("a", range(59), [1.0] * 59).window == 1
    gap = Series("a", range(80), [math.nan if k == 40 else float(k) for k in range(80)]).smoothed()
    assert math.isnan(gap[40])
    assert gap[41] == np.mean([39, 41, 42, 43])


def test_a_spike_survives_thinning() -> None:
    values = [1.0] * 50_000
    values[31_415] = 10.0
    plot = layout(Curve("t", "x", "y", [Series("a", range(50_000), values)]))
    assert plot is not None
    heights = [float(point.split(" ")[1]) for point in re.split("[ML]", plot.lines[0].raw)[1:]]
    assert len(heights) <= 2400
    assert min(heights) == TOP
    assert heights.count(TOP) == 1


def test_series_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(UserError, match="'loss': 2 positions but 1 values"):
        Series("loss", [0, 1], [1.0])
    with pytest.raises(UserError, match="ascending"):
        Series("loss", [1, 0], [1.0, 2.0])
    with pytest.raises(UserError, match="finite"):
        Series("loss", [0, math.nan], [1.0, 2.0])


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
    with pytest.raises(UserError, match="no curve"):
        curve_png([])


def test_a_curve_picture_is_reproducible_and_shows_its_data(tmp_path: Path) -> None:
    curve = Curve("cost $x$", "step", "nats", [Series("_train $", range(100), [1 / (k + 1) for k in range(100)])])
    content = curve_png(curve, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes() == content == curve_png([curve])
    ink = [np.asarray(Image.open(io.BytesIO(c)).convert("RGB")) for c in (content, curve_png(replace(curve, series=[])))]
    blue = [(np.abs(a.astype(int) - (0x35, 0x57, 0xC9)).sum(axis=-1) < 30).sum() for a in ink]
    assert blue[1] == 0 < blue[0]
