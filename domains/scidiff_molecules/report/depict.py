"""2D drawings as SVG reduced to shapes: no script, no style, no reference, no text of the molecule's.

RDKit draws; what it wrote is then read back and only the geometry of known shapes is kept, each number checked. Colours
become class names (``s-`` stroke, ``f-`` fill), so the page's style sheet decides them, light or dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from scidiff_molecules.sdf import AS_STATED, Structure, build_mol

WIDTH, HEIGHT = 240, 190
HIGHLIGHT = "#FF7F7F"
_COLOURS = {  # RDKit's own palette -> the name of a class
    "#0000FF": "n", "#FF0000": "o", "#33CCCC": "f", "#FF7F00": "p", "#CCCC00": "s", "#00CC00": "cl", "#7F4C19": "br", "#A01EEF": "i",
    HIGHLIGHT: "bad",
}  # fmt: skip
_PATH = re.compile(r"[MLHVCSQTAZmlhvcsqtaz0-9eE ,.+\-]+")
_NUMBERS = re.compile(r"[0-9eE ,.+\-]+")
_SHAPES = {"path": ("d",), "ellipse": ("cx", "cy", "rx", "ry"), "polygon": ("points",)}


def drawable(structure: Structure, *, sanitised: bool) -> Chem.Mol:
    """The molecule to draw, with 2D coordinates: hydrogens implicit if it holds, all of them and nothing mended if not."""
    mol = build_mol(structure)
    with rdBase.BlockLogs():
        if sanitised:
            Chem.SanitizeMol(mol, AS_STATED)
            mol = Chem.RWMol(Chem.RemoveHs(mol))
        else:
            mol.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(mol)
        rdDepictor.Compute2DCoords(mol)
    return mol


def draw(drawer: rdMolDraw2D.MolDraw2D, mol: Chem.Mol, faulty: Sequence[int]) -> None:
    """Draw with the report's options; ``faulty`` atoms get a red disc."""
    options = drawer.drawOptions()
    options.clearBackground = False
    options.prepareMolsBeforeDrawing = False  # a molecule that fails is drawn as it is
    options.fixedBondLength = 38
    options.minFontSize = 12
    options.padding = 0.08
    options.setHighlightColour((1.0, 127 / 255, 127 / 255))
    try:
        if not mol.NeedsUpdatePropertyCache() and not faulty:
            mol = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=True, addChiralHs=False, wavyBonds=False)
    except ValueError:
        pass
    drawer.DrawMolecule(mol, highlightAtoms=list(faulty), highlightBonds=[])
    drawer.FinishDrawing()


def drawing_svg(structure: Structure, faulty: Sequence[int], *, sanitised: bool) -> str:
    """An ``<svg>`` of shapes alone, or an empty string where RDKit cannot draw the molecule.

    Args:
        structure: the molecule.
        faulty: indices from 0 of atoms to mark; ignored for a sanitised molecule, whose hydrogens are left out.
        sanitised: whether RDKit sanitises it.
    """
    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    try:
        draw(drawer, drawable(structure, sanitised=sanitised), [] if sanitised else faulty)
    except (ValueError, RuntimeError):
        return ""
    return shapes_only(drawer.GetDrawingText())


def shapes_only(svg: str) -> str:
    """Keep the paths, ellipses and polygons of an SVG, their numbers and colour classes; drop everything else."""
    body = "".join(_merged(_shapes(ElementTree.fromstring(svg))))
    return f'<svg class="flat2d" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">{body}</svg>'


def _shapes(root: ElementTree.Element) -> Iterator[tuple[str, str, str]]:
    """(tag, its presentation attributes, its geometry) of every shape kept."""
    for node in root.iter():
        tag = node.tag.rpartition("}")[2]
        if tag not in _SHAPES:
            continue
        geometry = {name: node.get(name, "") for name in _SHAPES[tag]}
        if not all((_PATH if name == "d" else _NUMBERS).fullmatch(value) for name, value in geometry.items()):
            continue
        text = geometry["d"].strip() if tag == "path" else " ".join(f'{name}="{value.strip()}"' for name, value in geometry.items())
        yield tag, _look(node), text


def _look(node: ElementTree.Element) -> str:
    style = dict(part.split(":", 1) for part in node.get("style", "").replace(" ", "").split(";") if ":" in part)
    fill, stroke = (style.get(name, node.get(name, "none")) for name in ("fill", "stroke"))
    names = [f"{prefix}-{_COLOURS.get(colour.upper(), 'c')}" for prefix, colour in (("f", fill), ("s", stroke)) if colour != "none"]
    look = f'class="{" ".join(names)}"'
    width = style.get("stroke-width", "").removesuffix("px")
    if stroke != "none" and _NUMBERS.fullmatch(width):
        look += f' stroke-width="{width}"'
    dashes = style.get("stroke-dasharray", "")
    return look + (f' stroke-dasharray="{dashes}"' if _NUMBERS.fullmatch(dashes) else "")


def _merged(shapes: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    """Neighbouring paths of one look become one path: a page of a hundred molecules stays small."""
    pending: tuple[str, list[str]] | None = None
    for tag, look, geometry in shapes:
        if pending and (tag != "path" or pending[0] != look):
            yield f'<path {pending[0]} d="{" ".join(pending[1])}"/>'
            pending = None
        if tag != "path":
            yield f"<{tag} {look} {geometry}/>"
        elif pending:
            pending[1].append(geometry)
        else:
            pending = (look, [geometry])
    if pending:
        yield f'<path {pending[0]} d="{" ".join(pending[1])}"/>'
