"""This project's generator in the comparison: a shipped model as it is, compiled, or with its matrix products in bfloat16."""

from __future__ import annotations

import json
from typing import Literal, get_args

import torch
from contestant import Contestant, Piece
from interleaved import Work
from rdkit import Chem

from scidiff.posterior import Posteriors
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.metrics import evaluate
from scidiff_molecules.model import SamplerConfig
from scidiff_molecules.registry import WEIGHTS
from scidiff_molecules.wish import Wish

Variant = Literal["float32", "compiled", "bf16"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
JUDGED = {
    "A/molecule_stability": "A molecule",
    "B/lenient_molecule_stability": "B lenient molecule",
    "B/valid_and_connected": "B valid and connected",
}


def ours(model: str, variant: Variant, *, threads: int, judged: int = 0) -> Contestant:
    """A shipped model or a file of weights, read anew so that compiling it leaves the other variants as they are. ``judged``: measure the
    quality of this many molecules; 0 takes what the file beside a shipped model says. Raises UserError for a model that is not known."""
    generator = MoleculeGenerator.load(model)
    if variant == "compiled":  # generated code has its number of threads written into it
        generator.denoiser.backbone.compile(dynamic=False, options={"cpp.threads": threads})

    def half() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=variant == "bf16")

    def call(batch: int, atoms: int) -> Work:
        drawn, layout = generator.sample(torch.arange(batch), 0, SamplerConfig(steps=1), Wish.of({"atoms": atoms}))
        t = torch.full((batch,), 0.5, dtype=torch.float64)
        before = generator.denoiser(drawn.state, t, layout)  # what self-conditioning looks back at

        def work(_: int) -> Posteriors:
            with half():
                return generator.denoiser(drawn.state, t, layout, None, before)

        return work

    def make(count: int, batch: int, first: int = 0) -> list[Chem.Mol]:
        with half():
            return generator.generate(count, first=first, batch_size=batch)

    def piece(batch: int) -> Piece:
        return Piece(lambda number: make(batch, batch, number * batch), 1, "drawn")

    quality = judge(make(judged, 50)) if judged else stated(model, generator)
    source = f"model {model}, step {generator.metadata['step']:,}"
    return Contestant(f"ours, {variant}", generator.denoiser, "trained", source, generator.calls(), quality, call, piece)


def stated(model: str, generator: MoleculeGenerator) -> str:
    """What the file beside a shipped model says of its stability at its default setting."""
    file = WEIGHTS / f"{model}.measured.json"
    if not file.is_file():
        return "not measured"
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    setting = (generator.sampler.rule, str(generator.calls()))
    found = [row["A molecule"] for row in rows if (row["rule"], row["calls"]) == setting]
    return f"A molecule {found[0]} (float32, measured)" if found else "not measured"


def judge(molecules: list[Chem.Mol]) -> str:
    """Stability of molecules, per cent with 95 % intervals: EDM's metric A, and B by the lenient table that SemlaFlow reports."""
    result = evaluate(molecules, None)
    shown: list[str] = []
    for key, name in JUDGED.items():
        one = result[key]
        assert one.value is not None  # nothing was left out of the denominator
        assert one.low is not None
        assert one.high is not None
        shown.append(f"{name} {100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]")
    return f"{', '.join(shown)} ({len(molecules)} molecules)"
