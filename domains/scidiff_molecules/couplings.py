r"""Alignment of noise with data: the rotation, and the order of the atoms, in which the noise lies nearest to the molecule.

Noise is invariant under rotation, reflection and relabelling, and so is the model; of all equivalent noises the nearest gives the
straightest path (Klein et al. 2023, Song et al. 2023). It voids the ELBO: the noise is no longer independent of the data.

Only noise of atoms that are alike may change places. Atoms of which something is known (an element, its bonds) are told apart by it: were
their noise assigned to them, training would see known neighbours begin near each other, and sampling, whose noise is independent, would
not. Where positions are known the frame is theirs: such a molecule's noise is not rotated.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.objective import JointCoupling
from scidiff.process import Layouts
from scidiff_molecules.tokens import ELEMENTS, POSITIONS

Coordinates = Float[Tensor, "batch atom 3"]


def rotate(x_0: Coordinates, noise: Coordinates, layouts: Layouts) -> Coordinates:
    """The noise under the orthogonal map R that minimises |x_0 - R noise|^2 (Kabsch), in float64; reflections too: the model is E(3)."""
    covariance = torch.einsum("bni,bnj->bij", noise.double(), x_0.double())
    u, _, vh = torch.linalg.svd(covariance.nan_to_num())  # what is not finite is for the loss to find, not for the solver
    return torch.where(layouts[POSITIONS].anchored[:, None, None], noise, (noise.double() @ (u @ vh)).to(noise))


def permute(x_0: Coordinates, noise: Coordinates, layouts: Layouts) -> Coordinates:
    """The assignment of noise points to atoms of which nothing is known that minimises the squared distance (Hungarian algorithm)."""
    from scipy.optimize import linear_sum_assignment  # half a second, for this coupling alone

    gain = (x_0.double() @ noise.double().transpose(1, 2)).nan_to_num().cpu().numpy()  # float64: autocast would make it bfloat16
    free = (layouts[POSITIONS].free & layouts[ELEMENTS].free).cpu().numpy()
    index = np.tile(np.arange(noise.shape[1]), (len(free), 1))
    for row, here in enumerate(free):
        atoms = here.nonzero()[0]
        index[row, atoms] = atoms[linear_sum_assignment(gain[row][np.ix_(atoms, atoms)], maximize=True)[1]]
    return noise.gather(1, torch.from_numpy(index).to(noise.device)[..., None].expand_as(noise))


def permute_and_rotate(x_0: Coordinates, noise: Coordinates, layouts: Layouts) -> Coordinates:
    """Rotate, permute, rotate again: a descent on the joint problem."""
    return rotate(x_0, permute(x_0, rotate(x_0, noise, layouts), layouts), layouts)


COUPLINGS: dict[str, JointCoupling] = {"rotation": rotate, "permutation": permute, "permutation_rotation": permute_and_rotate}
