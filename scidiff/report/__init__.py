"""One offline HTML page out of sections: figures with intervals, plain tables, curves, pictures, prose, and a domain's own viewer.

A task's page is a function that returns a :class:`Section`, so that pages can be put together: ``write_page(path, title=...,
sections=[a, b])``. Every text is escaped, nothing is loaded from anywhere, and the same input gives the same bytes.
"""

from __future__ import annotations

from scidiff.report.curves import Curve, Series
from scidiff.report.page import environment, island, render_page, write_page
from scidiff.report.parts import Grid, Part, Picture, Prose, Row, Section, Table, Widget
from scidiff.report.pictures import curve_png, figure_png

__all__ = [
    "Curve",
    "Grid",
    "Part",
    "Picture",
    "Prose",
    "Row",
    "Section",
    "Series",
    "Table",
    "Widget",
    "curve_png",
    "environment",
    "figure_png",
    "island",
    "render_page",
    "write_page",
]
