"""One self-contained HTML file: figures, tables, curves, pictures, facts, and viewers. It loads nothing, from anywhere.

A content security policy names the scripts and the style sheets by their SHA-256, allows images that are inlined, and forbids
everything else, so neither a name nor a library can load or run anything. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.report import curves as _curves
from scidiff.report.curves import Curve
from scidiff.report.parts import Grid, Part, Picture, Prose, Section, Table, Widget
from scidiff.report.pictures import data_address

_FOLDER = Path(__file__).parent
_PANELS = {Widget: "widget", Table: "tables", Grid: "tables", Curve: "plots", Picture: "pictures", Prose: "prose"}


def write_page(path: str | Path, *, title: str, sections: Sequence[Section]) -> Path:
    """Write the page; returns its path. Every text may hold anything: it is escaped.

    Args:
        path: the HTML file; replaced if it exists, atomically.
        title: the heading of the page. A lone section of the same title is the page; otherwise each section has its own heading.
        sections: shown in this order.

    Raises:
        UserError: the folder does not exist; ``path`` is a folder; two widgets of one name.
        OSError: the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a file name is needed")
    page = render_page(title=title, sections=sections)
    atomic_write(path, page.encode("utf-8", errors="replace"))  # a lone surrogate in a name must not lose the page
    return path


def render_page(*, title: str, sections: Sequence[Section]) -> str:
    """The page's text; arguments as in :func:`write_page`."""
    widgets = [part for section in sections for part in section.parts if isinstance(part, Widget)]
    names = [widget.name for widget in widgets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"the page {title!r} holds more than one widget named {min(twice)!r}; a page can show one: write another page")
    styles = _distinct([(_FOLDER / "style.css").read_text(encoding="utf-8"), *(w.style for w in widgets if w.style)])
    scripts = _distinct(script for widget in widgets for script in widget.scripts)
    return _environment().get_template("template.html").render(
        title=title,
        sections=sections,
        frame=_curves,
        lone=len(sections) == 1 and sections[0].title == title,
        policy=_policy(scripts, styles),
        styles=[Markup(style) for style in styles],
        scripts=[Markup(script) for script in scripts],
        credits={name: text for widget in widgets for name, text in widget.credits.items()},
    )  # fmt: skip


def island(identifier: str, data: Any) -> Markup:
    """Data for a widget's script: an element ``<script type="application/json" id=...>`` that no content can end.

    ``<``, ``>``, ``&`` and ``'`` are written as ``\\uXXXX``; a script reads it with ``JSON.parse(element.textContent)``.
    """
    return Markup('<script type="application/json" id="{}">{}</script>').format(
        identifier, htmlsafe_json_dumps(data, separators=(",", ":"))
    )


def environment(folder: Path, filters: Mapping[str, Callable[..., Any]] | None = None) -> Environment:
    """A jinja2 environment for the templates of a folder: autoescaping, and an unknown name is an error."""
    made = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(filters or {})
    return made


def panels(parts: Sequence[Part]) -> list[tuple[str, list[Part]]]:
    """Neighbours of a kind stand in one panel, and prose in that of what follows it: (kind, parts) of each.

    The kinds are ``widget``, ``tables`` (figures and plain ones), ``plots``, ``pictures``, and ``prose`` that nothing follows.
    """
    found: list[tuple[str, list[Part]]] = []
    prose: list[Part] = []
    for part in parts:
        kind = _PANELS[type(part)]
        if kind == "prose":
            prose.append(part)
        elif kind == "widget":
            found += [("prose", prose)] if prose else []
            found.append((kind, [part]))
            prose = []
        elif prose or not found or found[-1][0] != kind:
            found.append((kind, [*prose, part]))
            prose = []
        else:
            found[-1][1].append(part)
    return [*found, ("prose", prose)] if prose else found


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    def sources(texts: Sequence[str]) -> str:
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts) or "'none'"

    return (
        f"default-src 'none'; script-src {sources(scripts)}; style-src {sources(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _address(picture: Picture) -> str:
    return data_address(picture.figure)


def _kind(part: Part) -> str:
    return type(part).__name__


@cache
def _environment() -> Environment:
    return environment(_FOLDER, {"panels": panels, "kind": _kind, "address": _address, "layout": _curves.layout})
