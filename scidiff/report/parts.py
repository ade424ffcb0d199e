"""What a page is made of. Every ``str`` may hold anything: the page escapes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.figure import Figure

from scidiff.errors import UserError
from scidiff.report.curves import Curve

_SVG = (b"<svg", b"<?xml")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what it is called.
        value: the figure; a share lies in [0, 1] and is printed in per cent; None where there is none (its denominator is 0).
        low, high: its 95 % interval, or None.
        numerator, denominator: what was counted, over what; a figure that is no ratio may have the latter: how many it was measured on.
        definition: what it is, exactly.
        unit: ``"%"`` for a share, otherwise the unit printed behind the value (may be empty).
        headline: whether it stands in large type beside the section's title as well.
    """

    name: str
    value: float | int | None
    low: float | int | None = None
    high: float | int | None = None
    numerator: int | None = None
    denominator: int | None = None
    definition: str = ""
    unit: str = "%"
    headline: bool = False

    @property
    def value_text(self) -> str:
        """The value with its unit; an en dash where there is none."""
        if self.value is None:
            return "–"
        return f"{100 * self.value:.1f} %" if self.unit == "%" else f"{self.value:,.4g} {self.unit}".strip()

    @property
    def interval_text(self) -> str:
        """``81.3 to 90.2``, in the value's unit; an en dash where there is none."""
        if self.low is None or self.high is None:
            return "–"
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}" if self.unit == "%" else f"{self.low:,.4g} to {self.high:,.4g}"

    @property
    def count_text(self) -> str:
        """``87 / 100``; the denominator alone for a figure that is no ratio, and an en dash where there is none."""
        if self.denominator is None:
            return "–"
        return f"{self.denominator:,}" if self.numerator is None else f"{self.numerator:,} / {self.denominator:,}"

    @property
    def bar(self) -> tuple[float, float, float] | None:
        """Value, low and width of the interval in per cent, for a share that has an interval."""
        if self.unit != "%" or self.value is None or self.low is None or self.high is None:
            return None
        return round(100 * self.value, 2), round(100 * self.low, 2), round(100 * (self.high - self.low), 2)


@dataclass(frozen=True)
class Table:
    """Figures under one title, each with its interval, its denominator and its definition; a column that all of them lack is left out."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Grid:
    """A plain table of texts, such as methods x scores; the first column names the rows.

    Attributes:
        title: stands above it.
        columns: their headings.
        rows: as many texts each as there are columns. A column in which every text begins like a number is set to the right.
        note: a sentence under it: what the columns are.
        strong: numbers (from 0) of rows in strong type.

    Raises:
        UserError: a row has more or fewer texts than there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    strong: Sequence[int] = ()

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise UserError(f"table {self.title!r}: row {i} has {len(row)} texts for {len(self.columns)} columns; give one for each")

    def numeric(self, column: int) -> bool:
        """Whether every text of a column, empty ones aside, begins like a number (or is a dash)."""
        texts = [row[column].strip() for row in self.rows if row[column].strip()]
        return bool(texts) and all(text.lstrip("+-−–±<>≤≥~ ").lstrip(".")[:1].isdigit() or text in ("–", "-", "—") for text in texts)


@dataclass(frozen=True)
class Prose:
    """A paragraph; it stands above what follows it."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure (drawn as PNG), or the bytes of a PNG or SVG file, inlined as a data: image.

    Attributes:
        figure: what to show; a figure is not closed and not changed.
        caption: stands under it.
        alt: says in words what is to be seen, for who cannot see it.

    Raises:
        UserError: bytes that are neither PNG nor SVG.
    """

    figure: Figure | bytes
    caption: str
    alt: str

    def __post_init__(self) -> None:
        if isinstance(self.figure, bytes) and not self.figure.startswith((_PNG, *_SVG)):
            raise UserError(f"picture {self.caption!r}: neither PNG nor SVG; give a matplotlib figure, or the bytes of such a file")


@dataclass(frozen=True)
class Widget:
    """A domain's own viewer. What it holds is code and is not escaped: no text of a user's may reach it unescaped.

    Attributes:
        name: what it is; a page holds one widget of a name, for its elements have ids.
        html: its elements, made by an autoescaping template (:func:`scidiff.report.page.environment`); no inline handlers, no
            ``style`` attributes: the page's policy forbids both.
        style: its style sheet; the page's own custom properties (``--ink``, ``--line``, ...) may be used.
        scripts: run in this order at the end of the page; the policy names each by its SHA-256.
        credits: name of each library within, and its licence, for the foot of the page.

    Raises:
        ValueError: a script or the style sheet would end its own element.
    """

    name: str
    html: Markup
    style: str = ""
    scripts: Sequence[str] = ()
    credits: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if "</style" in self.style.lower() or any("</script" in script.lower() or "<!--" in script for script in self.scripts):
            raise ValueError(f"widget {self.name!r}: a script or style sheet holds '</script', '</style' or '<!--', which ends its element")


Part = Table | Grid | Prose | Picture | Curve | Widget


@dataclass(frozen=True)
class Section:
    """A part of a page that stands for itself.

    Attributes:
        title: its heading.
        parts: what it shows, in this order.
        facts: what is needed to repeat it: model, seed, steps, versions, network calls, time.
        notes: sentences under the facts.
        lead: a sentence under the heading. Markup is taken as it is.
        tiles: figures in large type beside the heading, besides the rows of its tables that are marked ``headline``.
    """

    title: str
    parts: Sequence[Part]
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()
    lead: str = ""
    tiles: Sequence[Row] = ()

    @property
    def headline(self) -> list[Row]:
        """The rows that stand in large type beside the title."""
        return [*self.tiles] + [row for part in self.parts if isinstance(part, Table) for row in part.rows if row.headline]
