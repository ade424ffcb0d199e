"""SemlaFlow (Irwin et al., SemlaFlow - Efficient 3D Molecular Generation with Latent Attention and Equivariant Flow Matching, 2025), run
from its own published code.

Its network at the defaults of its ``train.py``, which its README changes for QM9 in how it is trained only: 23.3 million parameters. Its
own sampling loop at the defaults of its ``evaluate.py``: labels sampled from uniform noise, logarithmic times, 100 steps. The weights are
random: the published ones are pickles outside its repository, and a call takes as long whatever their values.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from contestant import Contestant, Piece, commit, load
from interleaved import Work
from torch import Tensor, nn

REPOSITORY, COMMIT = "github.com/rssrwn/semla-flow", "2f41e571b38c"
QUALITY = "not measured here; its paper reports B lenient"
STEPS, LABELS, BONDS = 100, 18, 5
"""Labels: two special tokens and sixteen elements; bonds: none, single, double, triple, aromatic."""
SIZES = {"d_model": 384, "d_message": 128, "n_coord_sets": 64, "n_layers": 12, "n_attn_heads": 32, "d_message_hidden": 128, "d_edge": 128}


class _Module(nn.Module):
    """What its flow-matching class uses of lightning when it only generates."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save_hyperparameters(self, *_: Any) -> None: ...


class _Metric:
    """Its metrics of quality are made with the model and never asked here."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def add_state(self, *_: Any, **__: Any) -> None: ...


def stand_ins() -> dict[str, ModuleType]:
    """For what its sampling loop imports and does not use: lightning (training), torchmetrics (its metrics), openbabel (bonds from
    distances). Its files stay as they are."""
    lightning, torchmetrics, openbabel, pybel = (ModuleType(name) for name in ("lightning", "torchmetrics", "openbabel", "openbabel.pybel"))
    lightning.__dict__.update(LightningModule=_Module)
    torchmetrics.__dict__.update(Metric=_Metric, MetricCollection=_Metric)
    openbabel.__dict__.update(pybel=pybel)
    return {"lightning": lightning, "torchmetrics": torchmetrics, "openbabel": openbabel}


def prior(batch: int, atoms: int) -> dict[str, Tensor]:
    """A state of its prior: normal positions with zero centre, uniform labels as one-hot rows, symmetric bonds, nothing padded."""
    positions = torch.randn(batch, atoms, 3)
    bonds = torch.randint(BONDS, (batch, atoms, atoms)).triu(1)
    return {
        "coords": positions - positions.mean(1, keepdim=True),
        "atomics": nn.functional.one_hot(torch.randint(LABELS, (batch, atoms)), LABELS),
        "bonds": nn.functional.one_hot(bonds + bonds.transpose(1, 2), BONDS),
        "mask": torch.ones(batch, atoms, dtype=torch.long),
    }


def semla(folder: Path, *, atoms: int, steps: int) -> Contestant:
    """SemlaFlow; end to end it is timed over ``steps`` of its own sampling loop. Raises UserError if the folder is not a clone of it."""
    models, flows = load(folder, "--semla", ("semlaflow.models.semla", "semlaflow.models.fm"), stand_ins())
    dynamics = models.EquiInvDynamics(**SIZES, bond_refine=True, self_cond=True, coord_norm="length")
    d_model, d_edge = SIZES["d_model"], SIZES["d_edge"]
    network = models.SemlaGenerator(d_model, dynamics, LABELS, LABELS + 1, d_edge=d_edge, n_edge_types=BONDS, self_cond=True)
    integrator = flows.Integrator(STEPS, type_strategy="uniform-sample", bond_strategy="uniform-sample", cat_noise_level=1)
    options = {"use_ema": False, "compile_model": False, "self_condition": True, "pairwise_metrics": False}
    flow = flows.MolecularCFM(network, None, 0.0, integrator, **options).eval()

    def call(batch: int, atoms: int) -> Work:
        state, t = prior(batch, atoms), torch.full((batch,), 0.5)
        before = {name: state[name].float() for name in ("coords", "atomics", "bonds")}
        return lambda _: flow(state, t, cond_batch=before)

    def piece(batch: int) -> Piece:
        state = prior(batch, atoms)
        return Piece(lambda _: flow._generate(state, steps, "log"), STEPS / steps, f"{atoms}")

    return Contestant("SemlaFlow", network, "random", commit(folder), STEPS, QUALITY, call, piece)
