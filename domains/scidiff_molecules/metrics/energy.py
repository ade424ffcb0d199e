"""How far a generated geometry lies from the minimum below it: energy released and distance moved by a relaxation.

    energy = E(as generated) - E(relaxed)            in kcal/mol, at least 0
    rmsd   = min over rotations and translations of (1/N sum_i |x_i - R y_i - t|^2)^(1/2)    in Angstrom

E is GFN2-xTB (Bannwarth, Ehlert and Grimme, JCTC 15, 1652, 2019) by tblite, or MMFF94 by RDKit. GFN2's charge is the sum of the formal
charges, its number of unpaired electrons that of the radical electrons RDKit counts on the sanitised molecule (all spins up), or 0 or 1,
whichever fits, where the molecule does not sanitise or the counts disagree. The atoms keep their order: equal atoms are not swapped.

The minimiser is scipy's L-BFGS-B on coordinates in Bohr that a model Hessian makes comparable: with H = V diag(w) V^T, x = x0 + V (w +
c)^(-1/2) y. H is a network of springs between all pairs, as stiff as Lindh et al. (Chem. Phys. Lett. 241, 423, 1995) say for bonds of
their length, each a little stiff sideways too, which stands for bends and torsions. It halves the number of energy calls, and keeps the
steps of a bad start small: atoms too close to each other are joined by stiff springs. A step that moves an atom further than 1 Bohr, or
to where the self-consistent field fails, is refused and the line search tries a shorter one. Converged is xtb's level "normal": the
energy changed by less than 5e-6 Eh in the last step and the gradient's norm is below 1e-3 Eh/Bohr.

tblite's wheel works in one thread; builds with OpenMP take ``OMP_NUM_THREADS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from scipy.optimize import OptimizeResult, minimize

from scidiff_molecules.sdf.reading import sanitize_fault
from scidiff_molecules.sdf.structure import coordinate_fault, extent_fault

Method = Literal["gfn2", "mmff"]
Vector = NDArray[np.float64]

MAX_ATOMS = 200
MAX_ELEMENT = 86  # radon: GFN2 is not parametrised beyond
MAX_STEPS = 500
ENERGY_CHANGE = 5e-6  # Eh
GRADIENT_NORM = 1e-3  # Eh/Bohr
BOHR = 0.529177210903  # Angstrom
HARTREE = 627.5094740631  # kcal/mol

_FAR = 1.0  # Bohr; a step that moves an atom further is not computed
_REFUSED = 1.0  # Eh above the present energy: what a refused step is said to cost, so that the line search comes back
_ALPHA = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])  # 1/Bohr^2
_LENGTH = np.array([[1.35, 2.1, 2.53], [2.1, 2.87, 3.4], [2.53, 3.4, 3.4]])  # Bohr
_SIDEWAYS = 0.2
_FLOOR = 0.01  # Eh/Bohr^2, the stiffness of what the springs leave free: rotations, and fragments against each other


@dataclass(frozen=True)
class Relaxation:
    """What a relaxation found; NaN where it could not be made.

    Attributes:
        energy: E(as generated) - E(relaxed), kcal/mol.
        rmsd: all atoms, after optimal superposition, Angstrom.
        converged: whether the minimiser got to its criterion.
        reason: why it did not; empty when it did.
        calls: how often energy and gradient were computed (0: not counted).
        positions: where it ended, Angstrom, shape (N, 3); None where it could not be made.
    """

    energy: float
    rmsd: float
    converged: bool
    reason: str
    calls: int = 0
    positions: NDArray[np.float64] | None = None


def relax(mol: Chem.Mol, method: Method = "gfn2", *, max_steps: int = MAX_STEPS) -> Relaxation:
    """Relax a molecule with explicit hydrogens and a conformer, sanitised or not; it is not changed.

    What cannot be computed (no parameters, a self-consistent field that does not converge, too many atoms) is reported as
    not converged with its reason, never raised. A minimisation that stops early keeps the figures of where it stopped.
    """
    copy = Chem.Mol(mol)
    unsanitary = sanitize_fault(copy) if mol.GetNumAtoms() else None
    fault = _fault(copy) or (unsanitary if method == "mmff" else None)
    if fault:
        return _impossible(fault)
    numbers = np.array([atom.GetAtomicNum() for atom in copy.GetAtoms()], dtype=np.int64)
    start = np.array(copy.GetConformer().GetPositions(), dtype=np.float64)
    if method == "mmff":
        return _mmff(copy, start, max_steps)
    charge = sum(atom.GetFormalCharge() for atom in copy.GetAtoms())
    radicals = 0 if unsanitary else sum(atom.GetNumRadicalElectrons() for atom in copy.GetAtoms())
    return _gfn2(numbers, start, charge, unpaired(int(numbers.sum()) - charge, radicals), max_steps)


def unpaired(electrons: int, radicals: int) -> int:
    """Unpaired electrons: ``radicals`` where an even number remains for the pairs, otherwise as few as possible."""
    return radicals if radicals <= electrons and (electrons - radicals) % 2 == 0 else electrons % 2


def rmsd(a: Vector, b: Vector) -> float:
    """Root mean square distance of points (N, 3) after optimal superposition (Kabsch; no reflection); NaN for none."""
    if len(a) == 0:
        return nan
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    turn = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return float(np.sqrt(((a - b @ turn) ** 2).sum(axis=1).mean()))


def _fault(mol: Chem.Mol) -> str | None:
    if fault := extent_fault(mol, MAX_ATOMS):
        return fault
    for atom in mol.GetAtoms():
        if not 1 <= atom.GetAtomicNum() <= MAX_ELEMENT:
            return f"no parameters for {atom.GetSymbol()}"
        if not atom.NeedsUpdatePropertyCache() and atom.GetTotalNumHs():
            return "hydrogens are implicit"
    return coordinate_fault(mol.GetConformer().GetPositions())


def _impossible(reason: str, calls: int = 0) -> Relaxation:
    return Relaxation(nan, nan, False, reason, calls)


def _found(drop: float, start: Vector, end: Vector, reason: str, calls: int) -> Relaxation:
    return Relaxation(drop, rmsd(start, end), not reason, reason, calls, end)


def _mmff(mol: Chem.Mol, start: Vector, max_steps: int) -> Relaxation:
    with rdBase.BlockLogs():
        field = None
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94")
        if properties is not None:
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, ignoreInterfragInteractions=False)
        if field is None:
            return _impossible("MMFF94 has no parameters for this molecule")
        before = field.CalcEnergy()
        unfinished = field.Minimize(maxIts=max_steps)
        drop = before - field.CalcEnergy()
    if not np.isfinite(drop):
        return _impossible("MMFF94's energy is not finite")
    end = np.array(mol.GetConformer().GetPositions(), dtype=np.float64)
    return _found(drop, start, end, f"not converged in {max_steps} steps" if unfinished else "", 0)


def _gfn2(numbers: NDArray[np.int64], start: Vector, charge: int, uhf: int, max_steps: int) -> Relaxation:
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError

    surface: _Surface | None = None
    try:
        surface = _Surface(numbers, start / BOHR, charge, uhf)
        first, last, end, reason = _minimise(surface, start.ravel() / BOHR, numbers, max_steps)
    except (TBLiteRuntimeError, TBLiteValueError, np.linalg.LinAlgError) as error:
        return _impossible(f"GFN2-xTB failed: {error}".strip().splitlines()[0], surface.calls if surface else 0)
    return _found((first - last) * HARTREE, start, end.reshape(-1, 3) * BOHR, reason, surface.calls)


class _Surface:
    """GFN2's energy in Eh and gradient in Eh/Bohr of flat coordinates in Bohr; each call starts from the last one's density."""

    def __init__(self, numbers: NDArray[np.int64], positions: Vector, charge: int, uhf: int) -> None:
        from tblite.interface import Calculator

        self._calculator = Calculator("GFN2-xTB", numbers, positions, float(charge), uhf, logger=_mute)
        self._calculator.set("verbosity", 0)
        self._result = None
        self.calls = 0

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        self.calls += 1
        self._calculator.update(x.reshape(-1, 3))
        self._result = self._calculator.singlepoint(self._result)
        energy, gradient = (np.asarray(self._result.get(key), dtype=np.float64) for key in ("energy", "gradient"))
        return float(energy), gradient.ravel().copy()


class _Descent:
    """One minimisation: the function scipy minimises, in the coordinates y, and the criterion it stops by."""

    def __init__(self, surface: _Surface, start: Vector, numbers: NDArray[np.int64]) -> None:
        stiffness, modes = np.linalg.eigh(model_hessian(numbers, start.reshape(-1, 3)))
        self.scale = modes / np.sqrt(stiffness.clip(min=0.0) + _FLOOR)
        self.surface, self.start = surface, start
        self.at, self.energy, self.norm = start, nan, nan  # the point the line search starts from, its energy, its gradient's norm
        self.tried: tuple[float, float] = (nan, nan)
        self.converged = False

    def __call__(self, y: Vector) -> tuple[float, Vector]:
        from tblite.exceptions import TBLiteRuntimeError

        x = self.start + self.scale @ y
        moved = float(np.linalg.norm((x - self.at).reshape(-1, 3), axis=1).max())
        beginning = np.isnan(self.energy)
        try:
            if moved > _FAR:
                return self.energy + _REFUSED * moved / _FAR, np.zeros_like(y)
            energy, gradient = self.surface(x)
        except TBLiteRuntimeError:
            if beginning:
                raise
            return self.energy + _REFUSED, np.zeros_like(y)
        self.tried = energy, float(np.linalg.norm(gradient))
        if beginning:
            self.energy, self.norm = self.tried
        return energy, self.scale.T @ gradient

    def step(self, intermediate_result: OptimizeResult) -> None:
        """Called by scipy when a step is taken; the point taken is the last one computed."""
        change = self.energy - self.tried[0]
        self.at = self.start + self.scale @ intermediate_result.x
        self.energy, self.norm = self.tried
        self.converged = abs(change) < ENERGY_CHANGE and self.norm < GRADIENT_NORM
        if self.converged:
            raise StopIteration


def _minimise(surface: _Surface, start: Vector, numbers: NDArray[np.int64], max_steps: int) -> tuple[float, float, Vector, str]:
    """Energy at the start and where it ended, the coordinates there, and why it did not converge ('' if it did)."""
    descent = _Descent(surface, start, numbers)
    first, gradient = descent(np.zeros_like(start))
    if np.linalg.norm(gradient) == 0.0:  # a lone atom
        return first, first, start, ""
    options = {"maxcor": 20, "maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": 0.0, "gtol": 0.0}
    found = minimize(descent, np.zeros_like(start), jac=True, method="L-BFGS-B", callback=descent.step, options=options)
    reason = ""
    if not descent.converged and not (found.status == 2 and descent.norm < GRADIENT_NORM):
        reason = f"not converged in {found.nit} steps: gradient norm {descent.norm:.1e} Eh/Bohr"
    return first, descent.energy, descent.at, reason


def model_hessian(numbers: NDArray[np.int64], positions: Vector) -> Vector:
    """Springs between all pairs of atoms, Eh/Bohr^2: positions (N, 3) in Bohr give (3N, 3N), symmetric, no negative eigenvalue.

    Between atoms at distance r, with Lindh's alpha and r0 by the rows of the periodic table they stand in::

        k = 0.45 exp(alpha (r0^2 - r^2)) (at most e^3 times .45),   k ((1 - s) u u^T + s I),   u = (x_i - x_j) / r,   s = 0.2
    """
    row = np.where(numbers <= 2, 0, np.where(numbers <= 10, 1, 2))
    delta = positions[:, None] - positions[None]
    square = (delta**2).sum(axis=2)
    k = 0.45 * np.exp(np.minimum(_ALPHA[row[:, None], row] * (_LENGTH[row[:, None], row] ** 2 - square), 3.0))
    np.fill_diagonal(k, 0.0)
    along = delta[..., :, None] * delta[..., None, :] / np.maximum(square, 1e-6)[..., None, None]
    blocks = k[..., None, None] * ((1.0 - _SIDEWAYS) * along + _SIDEWAYS * np.eye(3))
    hessian = -blocks
    diagonal = np.arange(len(numbers))
    hessian[diagonal, diagonal] = blocks.sum(axis=1)
    return hessian.transpose(0, 2, 1, 3).reshape(3 * len(numbers), 3 * len(numbers))


def _mute(message: str) -> None:
    """tblite prints what it is given to print."""
