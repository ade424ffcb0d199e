"""Bonds and formal charges of a molecule given as atoms in space.

Connectivity comes from distances: with r_i the covalent radius (Cordero et al., Dalton Trans. 2008, 2832), two heavy
atoms closer than 1.12 (r_i + r_j) are bonded and farther than 1.30 (r_i + r_j) are not; in between strained cages have
both (C-C bonds up to 1.79 A, and unbonded bridgeheads from 1.74 A), and a SMILES decides. A hydrogen
belongs to its nearest heavy atom. Bond orders (Kekule: 1, 2, 3) and formal charges are taken, in this order, from

1. ``smiles``: the given SMILES, its heavy atoms in the file's order;
2. ``isomorphism``: the same SMILES matched as a graph onto the 3D connectivity;
3. ``geometry``: RDKit's bond orders for the 3D connectivity at total charge 0 (its search is bounded, so it ends).

A path counts only where the molecule sanitises, is one fragment, has total charge 0, and every heavy atom carries exactly as
many hydrogens as it has in space. What no path explains is *unassigned*, with a reason; it has no bonds and no charges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

IntArray = NDArray[np.int64]

COVALENT_RADIUS = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}
"""Angstrom; Cordero et al. 2008 (carbon: sp3)."""
BONDED, UNBONDED = 1.12, 1.30
"""Below the first multiple of r_i + r_j always a bond, above the second never."""
MAX_XH = 1.30
"""Angstrom: a hydrogen farther than this from every heavy atom is loose (in QM9 the longest bond to hydrogen is 1.13)."""
MAX_ITERATIONS = 20_000
"""Valence combinations tried by RDKit before the geometric path gives up: the time guard."""
MAX_MATCHES = 256

PATHS = ("smiles", "isomorphism", "geometry")

_SANITIZE = Chem.SANITIZE_ALL ^ Chem.SANITIZE_SETAROMATICITY  # keeps the SMILES' own Kekule orders
_RADII = np.zeros(120)
_RADII[list(COVALENT_RADIUS)] = list(COVALENT_RADIUS.values())
_GENERIC = Chem.AdjustQueryParameters.NoAdjustments()
_GENERIC.makeBondsGeneric = True


@dataclass(frozen=True)
class Bonds:
    """Bonds ``pairs`` [k, 2] (i < j, sorted) with ``orders`` [k] in 1, 2, 3 and formal ``charges`` [n], in elementary charges.

    ``path`` names where they come from (one of `PATHS`) or, where ``assigned`` is false, why there are none.
    """

    pairs: IntArray
    orders: IntArray
    charges: IntArray
    path: str

    @property
    def assigned(self) -> bool:
        return self.path in PATHS


def assign_bonds(z: IntArray, pos: NDArray[np.floating], smiles: Iterable[str] = ()) -> Bonds:
    """Bonds and formal charges of atoms ``z`` [n] (atomic numbers) at ``pos`` [n, 3] (Angstrom); see the module.

    ``smiles`` are candidate descriptions, best first. Never raises for odd chemistry: the result says ``assigned``.

    Raises
    ------
    ValueError
        for shapes that do not fit each other, or coordinates that are not finite.
    """
    z, pos = np.asarray(z, dtype=np.int64), np.asarray(pos, dtype=np.float64)
    if z.ndim != 1 or pos.shape != (z.size, 3) or not np.isfinite(pos).all():
        raise ValueError(f"assign_bonds: need z [n] and finite pos [n, 3]; got z {z.shape}, pos {pos.shape}")
    frame = _Frame.build(z, pos)
    if isinstance(frame, str):
        return _unassigned(z.size, frame)
    with rdBase.BlockLogs():
        templates = [m for m in map(_parse, smiles) if m is not None]
        for template in templates:
            if _fits(template, frame, range(frame.n)):
                return _result(template, frame, range(frame.n), "smiles")
        for template in templates:
            order = _isomorphism(template, frame)
            if order is not None:
                return _result(template, frame, order, "isomorphism")
        mol = _from_geometry(frame)
        if isinstance(mol, str):
            return _unassigned(z.size, mol)
        return _result(mol, frame, range(frame.n), "geometry")


@dataclass(frozen=True)
class _Frame:
    """What distances say: heavy atoms, the hydrogens on each, scaled distances between them."""

    atoms: int
    heavy: IntArray  # file indices of the heavy atoms
    z: IntArray  # their elements
    hydrogens: IntArray  # file indices of the hydrogens
    parent: IntArray  # position in `heavy` each hydrogen sits on
    num_h: IntArray
    ratio: NDArray[np.float64]  # [m, m], distance over sum of radii; infinite on the diagonal

    @property
    def n(self) -> int:
        return self.heavy.size

    @staticmethod
    def build(z: IntArray, pos: NDArray[np.float64]) -> _Frame | str:
        heavy, light = np.flatnonzero(z > 1), np.flatnonzero(z == 1)
        if heavy.size == 0:
            return "no heavy atom"
        x = pos[heavy]
        ratio = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
        radii = _RADII[z[heavy]]
        ratio /= radii[:, None] + radii[None]
        np.fill_diagonal(ratio, np.inf)
        parent = np.zeros(0, dtype=np.int64)
        if light.size:
            squared = ((pos[light][:, None] - x[None]) ** 2).sum(-1)
            parent = squared.argmin(1)
            if squared.min(1).max() > MAX_XH**2:
                return "a hydrogen is on no heavy atom"
        return _Frame(z.size, heavy, z[heavy], light, parent, np.bincount(parent, minlength=heavy.size), ratio)

    def fits(self, bonded: NDArray[np.bool_]) -> bool:
        """Whether a connectivity [m, m] agrees with the distances."""
        return bool((self.ratio[bonded] < UNBONDED).all() and (self.ratio[~bonded] > BONDED).all())


def _unassigned(n: int, reason: str) -> Bonds:
    empty = np.zeros(0, dtype=np.int64)
    return Bonds(empty.reshape(0, 2), empty, np.zeros(n, dtype=np.int64), reason)


def _parse(smiles: str) -> Chem.Mol | None:
    """A template with Kekule orders, or nothing where the SMILES is broken, charged or in several pieces."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None or Chem.SanitizeMol(mol, sanitizeOps=_SANITIZE, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    if any(b.GetIsAromatic() for b in mol.GetBonds()):
        Chem.Kekulize(mol, clearAromaticFlags=True)
    return mol if _neutral_and_whole(mol) else None


def _neutral_and_whole(mol: Chem.Mol) -> bool:
    whole = len(Chem.GetMolFrags(mol)) == 1
    atoms = list(mol.GetAtoms())
    return whole and sum(a.GetFormalCharge() for a in atoms) == 0 and not any(a.GetNumRadicalElectrons() for a in atoms)


def _counts(mol: Chem.Mol) -> tuple[IntArray, IntArray]:
    """Elements and hydrogen counts of the atoms of a heavy-atom graph."""
    atoms = list(mol.GetAtoms())
    return np.array([a.GetAtomicNum() for a in atoms]), np.array([a.GetTotalNumHs() for a in atoms])


def _fits(mol: Chem.Mol, frame: _Frame, order: Sequence[int]) -> bool:
    """Whether atom k of the template may sit on heavy atom ``order[k]``: element, hydrogens, distances."""
    if mol.GetNumAtoms() != frame.n:
        return False
    to = np.asarray(order)
    z, num_h = _counts(mol)
    if (z != frame.z[to]).any() or (num_h != frame.num_h[to]).any():
        return False
    bonded = np.zeros((frame.n, frame.n), dtype=bool)
    bonded[np.ix_(to, to)] = Chem.GetAdjacencyMatrix(mol) > 0
    return frame.fits(bonded)


def _isomorphism(mol: Chem.Mol, frame: _Frame) -> Sequence[int] | None:
    """Where each template atom sits, over graph matches at several readings of the ambiguous distances."""
    if sorted(_counts(mol)[0]) != sorted(frame.z):
        return None
    query = Chem.AdjustQueryProperties(mol, _GENERIC)
    for q in query.GetAtoms():  # a charge or valence written in the SMILES must not restrict the match
        q.SetFormalCharge(0)
        q.SetNoImplicit(False)
        q.SetNumExplicitHs(0)
    for skeleton in _skeletons(frame):
        for match in skeleton.GetSubstructMatches(query, uniquify=False, maxMatches=MAX_MATCHES):
            if _fits(mol, frame, match):
                return match
    return None


def _skeletons(frame: _Frame) -> list[Chem.RWMol]:
    """Single-bond graphs of the heavy atoms for the distinct thresholds between `BONDED` and `UNBONDED`."""
    edges = np.argwhere(np.triu(frame.ratio < UNBONDED))
    ratios = frame.ratio[tuple(edges.T)]
    found: dict[int, Chem.RWMol] = {}
    for threshold in (1.25, 1.2, 1.15, UNBONDED, BONDED):
        keep = edges[ratios < threshold]
        if len(keep) not in found:  # thresholds are nested, so the number of edges names the graph
            mol = Chem.RWMol()
            for z in frame.z:
                mol.AddAtom(Chem.Atom(int(z)))
            for i, j in keep:
                mol.AddBond(int(i), int(j), Chem.BondType.SINGLE)
            found[len(keep)] = mol
    return list(found.values())


def _from_geometry(frame: _Frame) -> Chem.Mol | str:
    """RDKit's bond orders for the connectivity in space; the heavy-atom molecule, or why there is none."""
    reason = "no neutral bond orders fit the geometry"
    for skeleton in _skeletons(frame):
        if len(Chem.GetMolFrags(skeleton)) > 1:
            reason = "several fragments in space"
            continue
        mol = Chem.RWMol(skeleton)
        for heavy in frame.parent:
            mol.AddBond(int(heavy), mol.AddAtom(Chem.Atom(1)), Chem.BondType.SINGLE)
        try:
            rdDetermineBonds.DetermineBondOrders(mol, charge=0, embedChiral=False, maxIterations=MAX_ITERATIONS)
            mol = Chem.RemoveHs(mol, sanitize=True)
            Chem.Kekulize(mol, clearAromaticFlags=True)
        except (ValueError, RuntimeError):
            reason = "no neutral bond orders fit the geometry"
            continue
        if _neutral_and_whole(mol) and _fits(mol, frame, range(frame.n)):
            return mol
    return reason


def _result(mol: Chem.Mol, frame: _Frame, order: Sequence[int], path: str) -> Bonds:
    to = frame.heavy[np.asarray(order)]
    bonds = [(to[b.GetBeginAtomIdx()], to[b.GetEndAtomIdx()], int(b.GetBondTypeAsDouble())) for b in mol.GetBonds()]
    bonds += [(h, frame.heavy[p], 1) for h, p in zip(frame.hydrogens, frame.parent, strict=True)]
    table = np.array(sorted((min(i, j), max(i, j), o) for i, j, o in bonds), dtype=np.int64).reshape(-1, 3)
    charges = np.zeros(frame.atoms, dtype=np.int64)
    charges[to] = [a.GetFormalCharge() for a in mol.GetAtoms()]
    return Bonds(table[:, :2], table[:, 2], charges, path)
