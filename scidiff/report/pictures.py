"""Pictures: curves for the tracker, and any figure as PNG or as a data: address. The same input gives the same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.report.curves import Curve, Series

_LINE = "#dfe4ec"
_COLOURS = ("#3557c9", "#d9731a", "#0f8f7c", "#b4388f", "#7a6a00", "#5c6778")
_DPI = 144


def figure_png(figure: Figure, path: str | Path | None = None, *, dpi: float | int | None = None) -> bytes:
    """PNG of a matplotlib figure, written to ``path`` as well where one is given (atomically).

    Args:
        figure: left as it is.
        path: where to write it, or None.
        dpi: dots per inch; default the figure's own.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi="figure" if dpi is None else dpi, metadata={"Software": None})
    content = stream.getvalue()
    if path is not None:
        atomic_write(path, content)
    return content


def data_address(picture: Figure | bytes) -> str:
    """``data:image/png;base64,...`` of a figure or of a PNG file's bytes; ``data:image/svg+xml;...`` of an SVG file's."""
    content = figure_png(picture, dpi=max(_DPI, picture.dpi)) if isinstance(picture, Figure) else picture
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def curve_png(curves: Curve | Sequence[Curve], path: str | Path | None = None) -> bytes:
    """PNG of one diagram, or of several side by side; a long series is drawn faint under its running mean.

    Raises:
        UserError: no curve is given.
    """
    panels = [curves] if isinstance(curves, Curve) else list(curves)
    if not panels:
        raise UserError("no curve to draw: pass at least one")
    figure = Figure(figsize=(6.4 * len(panels), 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for k, curve in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), k + 1)
        for colour, series in zip(_COLOURS * len(curve.series), curve.series, strict=False):
            _draw(axes, series, colour)
        axes.set(title=_plain(curve.title), xlabel=_plain(curve.x_label), ylabel=_plain(curve.y_label))
        axes.grid(color=_LINE)
        axes.spines[["top", "right"]].set_visible(False)
        if curve.series:
            axes.legend(frameon=False)
    return figure_png(figure, path)


def _draw(axes: Axes, series: Series, colour: str) -> None:
    name, long = series.name, series.window > 1
    axes.plot(series.x, series.y, color=colour, lw=0.8 if long else 1.8, alpha=0.3 if long else 1.0, label=None if long else _plain(name))
    if long:
        axes.plot(series.x, series.smoothed(), color=colour, lw=1.8, label=_plain(f"{name} (mean of {series.window})"))


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics, and does not hide as a label."""
    return text.replace("$", r"\$").lstrip("_")
