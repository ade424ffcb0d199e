"""Several fan charts in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scidiff_timeseries.panel import Panel
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.plot import fan_chart

MOST = 4
_WIDTH, _HEIGHT = 9.0, 3.2


def fan_charts(paths: SamplePaths, history: Panel | pd.DataFrame | None = None, most: int = MOST, *, columns: int = 1) -> Figure:
    """Up to ``most`` series and channels of the paths, spread evenly over all of them, in so many columns."""
    shown = spread([(name, channel) for name in paths.ids for channel in paths.channels], most)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(_WIDTH if columns == 1 else 5.2 * columns, _HEIGHT * max(rows, 1)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for k, (name, channel) in enumerate(shown):
        axes = fan_chart(paths, history, id=name, channel=channel, ax=figure.add_subplot(rows, columns, k + 1))
        if len(paths.channels) > 1:  # what the title of the series says is the same for all, or not enough
            axes.set_title(channel if len(paths.ids) == 1 else f"{axes.get_title(loc='left')}, {channel}", loc="left", fontsize=11)
            axes.set_ylabel("")
        legend = axes.get_legend()
        if columns > 1 and legend is not None:
            legend.remove()
            if k == 0:
                axes.legend(loc="upper left", fontsize=7, frameon=False)
    return figure


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, the first and the last among them, evenly spread."""
    return [items[k] for k in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)).tolist()]
