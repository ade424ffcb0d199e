"""What was asked of molecules against what a judge says they got, one panel a property."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scidiff.errors import UserError
from scidiff_molecules.properties import PROPERTIES

_POINT, _LINE, _SOFT, _INK = "#2f6fb0", "#b4232f", "#d8dde6", "#1b2330"
_COLUMNS = 3


def asked_against_got(pairs: Mapping[str, Sequence[tuple[tuple[float, float], float]]]) -> Figure:
    """By property ((low, high) asked, got) of every molecule, in users' units; outside of pyplot's state.

    Where molecules were asked for different values: got over asked, with the diagonal. Where all were asked the same: a histogram of what
    they got, with the range marked. Raises UserError where there is nothing to draw.
    """
    shown = {name: some for name, some in pairs.items() if some}
    if not shown:
        raise UserError("asked against got: no molecule could be judged; there is nothing to draw")
    columns, rows = min(_COLUMNS, len(shown)), math.ceil(len(shown) / _COLUMNS)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax, (name, some) in zip(axes, shown.items(), strict=False):
        about = PROPERTIES[name]
        low, high, got = (np.array(v, dtype=np.float64) for v in zip(*((*ends, value) for ends, value in some), strict=True))
        label = f"{name}, {about.unit}"
        if np.ptp(low) == 0 and np.ptp(high) == 0:
            ax.hist(got, bins=40, color=_POINT)
            ax.axvspan(low[0], high[0], color=_LINE, alpha=0.25 if low[0] < high[0] else 1.0, label="asked")
            ax.set(xlabel=f"{label}, got", ylabel="molecules")
        else:
            middle = (low + high) / 2
            ends = [min(middle.min(), got.min()), max(middle.max(), got.max())]
            ax.plot(ends, ends, color=_LINE, linewidth=1)
            ax.scatter(middle, got, s=5, color=_POINT, alpha=0.4, linewidths=0)
            ax.set(xlabel=f"{label}, asked", ylabel="got")
        missed = np.maximum(np.maximum(low - got, got - high), 0).mean()
        ax.set_title(f"{about.meaning}\nmean miss {missed:.3g} {about.unit}, {len(got):,} molecules", fontsize=9, color=_INK)
        ax.grid(color=_SOFT, linewidth=0.5)
        ax.set_axisbelow(True)
    for ax in list(axes)[len(shown) :]:
        ax.set_axis_off()
    return figure
