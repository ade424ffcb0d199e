"""The molecule viewer: molecules that turn in 3D, as a widget of the core's page.

3Dmol.js (BSD-3, ``3Dmol-min.js`` and its licence in this folder) is inlined; without WebGL, or without scripts, the molecules
are shown in 2D.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape

from scidiff.errors import UserError
from scidiff.report import Curve, Prose, Section, Table, Widget, environment, island
from scidiff_molecules.report.views import MoleculeView

MAX_MOLECULES = 500  # a page of so many stays under 5 MB; more belong in an SDF file
_FOLDER = Path(__file__).parent


def molecule_section(
    *,
    title: str,
    molecules: Sequence[MoleculeView],
    tables: Sequence[Table] = (),
    curves: Sequence[Curve] = (),
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Section:
    """The section of a run: what was generated, turning in 3D; its figures; its curves; how it was made.

    Args:
        title: the heading.
        molecules: what is shown, in this order, failed ones too; the first valid one is shown large.
        tables: figures with intervals and definitions; rows marked ``headline`` stand in large type at the top as well.
        curves: diagrams, such as the loss in nats against the step.
        facts: what is needed to repeat the run: model, seed, steps, versions, network calls, time.
        notes: sentences under the facts.

    Raises:
        UserError: more than 500 molecules.
    """
    shown = viewer(molecules) if molecules else Prose("There are no molecules in this report.")
    return Section(title, [shown, *tables, *curves], facts or {}, notes, lead=_lead(molecules))


def viewer(molecules: Sequence[MoleculeView]) -> Widget:
    """The widget. Raises :class:`~scidiff.errors.UserError` for more than 500 molecules."""
    if len(molecules) > MAX_MOLECULES:
        raise UserError(f"{len(molecules):,} molecules; a page shows at most {MAX_MOLECULES}: pass a selection of them")
    valid = sum(view.valid for view in molecules)
    html = _environment().get_template("viewer.html").render(
        molecules=molecules,
        counts={"all": len(molecules), "valid": valid, "failed": len(molecules) - valid},
        data=molecule_island(molecules),
    )  # fmt: skip
    return Widget(
        "molecules",
        Markup(html),  # the template's own: autoescaped
        style=_asset("style.css"),
        scripts=[_asset("3Dmol-min.js"), _asset("view.js")],
        credits={"3Dmol.js": _asset("3Dmol-LICENSE.txt")},
    )


def molecule_island(molecules: Sequence[MoleculeView]) -> Markup:
    """The molecules as JSON for ``view.js``."""
    plain = [{key: value for key, value in asdict(view).items() if key != "drawing"} for view in molecules]
    return island("data", {"molecules": plain})


def formula_markup(formula: str) -> Markup:
    """A Hill formula with its numbers lowered and its charge raised: ``C2H6N+`` -> ``C<sub>2</sub>H<sub>6</sub>N<sup>+</sup>``."""
    found = re.fullmatch(r"([^+-]*)([+-]\d*)?", formula)
    body, charge = (found[1], found[2] or "") if found else (formula, "")
    lowered = re.sub(r"(\d+)", r"<sub>\1</sub>", str(escape(body)))
    sign = charge[1:] + charge[:1].replace("-", "−")
    return Markup(lowered + (f"<sup>{sign}</sup>" if sign else ""))


def _lead(molecules: Sequence[MoleculeView]) -> Markup:
    valid, many = sum(view.valid for view in molecules), len(molecules)
    noun = "molecule" if many == 1 else "molecules"
    failed = Markup(', <span class="wrong">{} failing</span>').format(many - valid) if many > valid else ""
    return Markup('{} {} shown, as generated: <span class="good">{} valid and connected</span>{}.').format(many, noun, valid, failed)


@cache
def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _drawing(view: MoleculeView) -> Markup:
    """Safe: shapes only, see :mod:`scidiff_molecules.report.depict`."""
    return Markup(view.drawing)


@cache
def _environment() -> Environment:
    return environment(_FOLDER, {"formula": formula_markup, "drawing": _drawing})
