"""One self-contained HTML file: molecules that turn in 3D, figures, curves and facts. It loads nothing, from anywhere.

3Dmol.js (BSD-3, ``3Dmol-min.js`` and its licence in this folder) is inlined. A content security policy names the two scripts
and the style sheet by their SHA-256 and forbids everything else, so neither a molecule's name nor the library itself can load
or run anything. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff_molecules.report import curves as _curves
from scidiff_molecules.report.curves import Curve
from scidiff_molecules.report.tables import Table
from scidiff_molecules.report.views import MoleculeView

MAX_MOLECULES = 500  # a page of so many stays under 5 MB; more belong in an SDF file
_FOLDER = Path(__file__).parent


def write_page(
    path: str | Path,
    *,
    title: str,
    molecules: Sequence[MoleculeView],
    tables: Sequence[Table] = (),
    curves: Sequence[Curve] = (),
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the page; returns its path. Every text may hold anything: it is escaped.

    Args:
        path: the HTML file; replaced if it exists, atomically.
        title: the heading.
        molecules: what is shown, in this order, failed ones too; the first valid one is shown large.
        tables: figures with intervals and definitions; rows marked ``headline`` stand in large type at the top as well.
        curves: diagrams, such as the loss in nats against the step.
        facts: what is needed to repeat the run: model, seed, steps, versions, network calls, time.
        notes: sentences under the facts.

    Raises:
        UserError: more than 500 molecules; the folder does not exist; ``path`` is a folder.
        OSError: the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    if len(molecules) > MAX_MOLECULES:
        raise UserError(f"{path}: {len(molecules):,} molecules; a page shows at most {MAX_MOLECULES}: pass a selection of them")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a file name is needed")
    page = render_page(title=title, molecules=molecules, tables=tables, curves=curves, facts=facts or {}, notes=notes)
    atomic_write(path, page.encode("utf-8", errors="replace"))  # a lone surrogate in a name must not lose the page
    return path


def render_page(
    *,
    title: str,
    molecules: Sequence[MoleculeView],
    tables: Sequence[Table],
    curves: Sequence[Curve],
    facts: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """The page's text; arguments as in :func:`write_page`."""
    valid = sum(view.valid for view in molecules)
    library, script, style = _asset("3Dmol-min.js"), _asset("view.js"), _asset("style.css")
    template = _environment().get_template("template.html")
    return template.render(
        title=title,
        policy=_policy([library, script], [style]),
        library=Markup(library),
        script=Markup(script),
        style=Markup(style),
        licence=_asset("3Dmol-LICENSE.txt"),
        molecules=molecules,
        counts={"all": len(molecules), "valid": valid, "failed": len(molecules) - valid},
        data=island(molecules),
        headline=[row for table in tables for row in table.rows if row.headline],
        tables=tables,
        plots=[(curve, _curves.layout(curve)) for curve in curves],
        frame=_curves,
        facts=facts,
        notes=notes,
    )


def island(molecules: Sequence[MoleculeView]) -> Markup:
    """The molecules as JSON that is safe inside ``<script>``: ``<``, ``>``, ``&`` and ``'`` are written as ``\\uXXXX``."""
    plain = [{key: value for key, value in asdict(view).items() if key != "drawing"} for view in molecules]
    return htmlsafe_json_dumps({"molecules": plain}, separators=(",", ":"))


def formula_markup(formula: str) -> Markup:
    """A Hill formula with its numbers lowered and its charge raised: ``C2H6N+`` -> ``C<sub>2</sub>H<sub>6</sub>N<sup>+</sup>``."""
    found = re.fullmatch(r"([^+-]*)([+-]\d*)?", formula)
    body, charge = (found[1], found[2] or "") if found else (formula, "")
    lowered = re.sub(r"(\d+)", r"<sub>\1</sub>", str(escape(body)))
    sign = charge[1:] + charge[:1].replace("-", "−")
    return Markup(lowered + (f"<sup>{sign}</sup>" if sign else ""))


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    def sources(texts: Sequence[str]) -> str:
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)

    return f"default-src 'none'; script-src {sources(scripts)}; style-src {sources(styles)}; base-uri 'none'; form-action 'none'"


@cache
def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _drawing(view: MoleculeView) -> Markup:
    """Safe: shapes only, see :mod:`scidiff_molecules.report.depict`."""
    return Markup(view.drawing)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["formula"] = formula_markup
    environment.filters["drawing"] = _drawing
    return environment
