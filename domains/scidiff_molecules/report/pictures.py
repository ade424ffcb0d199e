"""A picture for the tracker: a grid of 2D drawings with failed molecules marked. The same input gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff_molecules.metrics.valence import as_generated
from scidiff_molecules.report.depict import draw, drawable
from scidiff_molecules.report.views import MoleculeView, faulty_atoms
from scidiff_molecules.sdf import Failed, structure_of

MAX_GRID = 400  # molecules of one picture
_CELL = (240, 190)
_TEXT = 40  # pixels under a drawing
_GAP = 10
_INK, _SOFT, _WRONG, _LINE = "#1b2330", "#5c6778", "#b4232f", "#dfe4ec"


def molecule_grid(
    mols: Sequence[Chem.Mol | Failed | None],
    path: str | Path | None = None,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 5,
) -> bytes:
    """PNG with one cell a molecule, in the order given; a failed one has a red frame, its reason, and its faulty atoms marked.

    Args:
        mols: RDKit molecules, failed ones (objects with ``mol`` and ``reason``), or None where nothing is left.
        path: where to write it as well, or None.
        captions: one line for each; default its SMILES.
        columns: cells in a row.

    Raises:
        UserError: no molecule, more than 400, or as many captions as molecules are not given.
    """
    if not 0 < len(mols) <= MAX_GRID:
        raise UserError(f"a grid of {len(mols):,} molecules: pass 1 to {MAX_GRID} of them")
    if captions is not None and len(captions) != len(mols):
        raise UserError(f"{len(captions)} captions for {len(mols)} molecules; give one for each, or none")
    columns = max(1, min(columns, len(mols)))
    rows = math.ceil(len(mols) / columns)
    width, height = _CELL[0] + _GAP, _CELL[1] + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    for i, mol in enumerate(mols):
        at = (_GAP + i % columns * width, _GAP + i // columns * height)
        sheet.paste(_cell(mol, None if captions is None else captions[i]), at)
    return _png(sheet, path)


def _cell(item: Chem.Mol | Failed | None, caption: str | None) -> Image.Image:
    view = MoleculeView.of(item)
    cell = Image.new("RGB", (_CELL[0], _CELL[1] + _TEXT), "white")
    pen = ImageDraw.Draw(cell)
    mol = item if isinstance(item, Chem.Mol) else None if item is None else item.mol
    picture = _drawing(mol) if view.drawing and mol is not None else None
    if picture is not None:
        cell.paste(picture, (0, 0), picture)
    else:
        pen.text((_CELL[0] / 2, _CELL[1] / 2), "nothing to draw", fill=_SOFT, font=ImageFont.load_default(14), anchor="mm")
    pen.rectangle((0, 0, cell.width - 1, cell.height - 1), outline=_LINE if view.valid else _WRONG, width=1 if view.valid else 2)
    lines = [(view.smiles or view.formula) if caption is None else caption, view.reason or ""]
    for k, (text, colour) in enumerate(zip(lines, (_INK, _WRONG), strict=True)):
        font = ImageFont.load_default(13)
        pen.text((8, _CELL[1] + 3 + 17 * k), _fitted(text, font, _CELL[0] - 16), fill=colour, font=font)
    return cell


def _drawing(mol: Chem.Mol) -> Image.Image | None:
    structure = structure_of(mol)
    sanitised = as_generated(structure).fault is None
    drawer = rdMolDraw2D.MolDraw2DCairo(*_CELL)
    try:
        draw(drawer, drawable(structure, sanitised=sanitised), [] if sanitised else faulty_atoms(structure))
    except (ValueError, RuntimeError):
        return None
    return Image.open(io.BytesIO(drawer.GetDrawingText())).convert("RGBA")


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """One line of at most ``width`` pixels, cut with an ellipsis."""
    line = "".join(c if c.isprintable() else " " for c in text[:200])
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def _png(image: Image.Image, path: str | Path | None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return _stored(stream.getvalue(), path)


def _stored(content: bytes, path: str | Path | None) -> bytes:
    if path is not None:
        atomic_write(path, content)
    return content
