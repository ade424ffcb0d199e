"""What a run looks like to a person: one offline HTML page with molecules that turn in 3D, and pictures for the tracker."""

from __future__ import annotations

from scidiff_molecules.report.curves import Curve, Series
from scidiff_molecules.report.page import write_page
from scidiff_molecules.report.pictures import curve_png, molecule_grid
from scidiff_molecules.report.tables import Row, Table, metric_tables
from scidiff_molecules.report.views import MoleculeView

__all__ = ["Curve", "MoleculeView", "Row", "Series", "Table", "curve_png", "metric_tables", "molecule_grid", "write_page"]
