"""What a run looks like to a person: a section of an offline page, with molecules that turn in 3D, and pictures for the tracker."""

from __future__ import annotations

from scidiff_molecules.report.pictures import molecule_grid
from scidiff_molecules.report.tables import metric_tables
from scidiff_molecules.report.viewer import molecule_section, viewer
from scidiff_molecules.report.views import MoleculeView

__all__ = ["MoleculeView", "metric_tables", "molecule_grid", "molecule_section", "viewer"]
