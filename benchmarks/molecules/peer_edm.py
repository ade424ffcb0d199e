"""EDM (Hoogeboom et al., Equivariant Diffusion for Molecule Generation in 3D, 2022), run from its own published code.

Its network at the settings its README gives for QM9 (``--nf 256 --n_layers 9 --diffusion_steps 1000 --normalize_factors [1,4,10]``) and
the defaults of its ``main_qm9.py`` for the rest, built by its own ``qm9.models.get_model``: 5.3 million parameters, as published. The
weights are random: the published ones are pickles, which this project does not read, and a call takes as long whatever their values.
"""

from __future__ import annotations

import contextlib
import io
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from contestant import Contestant, Piece, commit, load
from interleaved import Work
from torch import Tensor

REPOSITORY, COMMIT = "github.com/ehoogeboom/e3_diffusion_for_molecules", "fce07d701a2d"
QUALITY = "A molecule 82.0 (published, trained weights, 1,000 calls)"
SETTINGS = {
    "model": "egnn_dynamics",
    "probabilistic_model": "diffusion",
    "diffusion_steps": 1000,
    "diffusion_noise_schedule": "polynomial_2",
    "diffusion_noise_precision": 1e-5,
    "diffusion_loss_type": "l2",
    "nf": 256,
    "n_layers": 9,
    "inv_sublayers": 1,
    "attention": True,
    "tanh": True,
    "norm_constant": 1,
    "sin_embedding": False,
    "normalization_factor": 1,
    "aggregation_method": "sum",
    "normalize_factors": [1, 4, 10],
    "include_charges": True,
    "condition_time": True,
    "conditioning": [],
    "context_node_nf": 0,
}


def masks(batch: int, atoms: int, width: int) -> tuple[Tensor, Tensor]:
    """EDM's masks of atoms [batch, width, 1] and of pairs [batch width width, 1] for molecules of ``atoms`` padded to ``width``."""
    nodes = (torch.arange(width) < atoms).float().expand(batch, width)
    edges = nodes[:, :, None] * nodes[:, None, :] * (1 - torch.eye(width))
    return nodes[:, :, None].contiguous(), edges.reshape(-1, 1)


def edm(folder: Path, *, atoms: int, steps: int) -> tuple[Contestant, Contestant]:
    """EDM with batches as wide as their molecules, which is the best it can do, and as its own sampler pads them, to the largest molecule
    of QM9. End to end it is timed over ``steps`` of its own sampler's steps. Raises UserError if the folder is not a clone of it."""
    models, configs = load(folder, "--edm", ("qm9.models", "configs.datasets_config"))
    info = configs.get_dataset_info("qm9", remove_h=False)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its schedule
        flow = models.get_model(Namespace(**SETTINGS), torch.device("cpu"), info, None)[0].eval()
    calls = flow.T + 1  # its sampler asks once more at t = 0

    def state(batch: int, atoms: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        nodes, edges = masks(batch, atoms, width)
        return flow.sample_combined_position_feature_noise(batch, width, nodes), nodes, edges

    def call(batch: int, atoms: int) -> Work:
        z, nodes, edges = state(batch, atoms, atoms)
        t = torch.full((batch, 1), 0.5)
        return lambda _: flow.phi(z, t, nodes, edges, None)

    def walk(batch: int, width: int) -> Work:
        z, nodes, edges = state(batch, atoms, width)

        def work(_: int) -> Tensor:
            x, middle = z, flow.T // 2
            for s in range(middle, middle - steps, -1):
                before, after = (torch.full((batch, 1), time / flow.T) for time in (s, s - 1))
                x = flow.sample_p_zs_given_zt(after, before, x, nodes, edges, None)
            return x

        return work

    def contestant(name: str, width: int, call: Callable[[int, int], Work] | None, shown: str) -> Contestant:
        def piece(batch: int) -> Piece:
            return Piece(walk(batch, width), calls / steps, shown)

        return Contestant(name, flow.dynamics, "random", commit(folder), calls, QUALITY, call, piece)

    largest = info["max_n_nodes"]
    padded = contestant("EDM as it pads", largest, None, f"{atoms}, padded to {largest}")
    return contestant("EDM", atoms, call, str(atoms)), padded
