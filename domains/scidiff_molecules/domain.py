"""The molecule domain, as the core finds it. Heavy imports wait inside the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scidiff.config import Config
from scidiff.domain import ModelInfo

if TYPE_CHECKING:
    from scidiff.card import CardSection
    from scidiff.report import Section
    from scidiff.tracking import Tracker
    from scidiff_molecules.service import MoleculeService
    from scidiff_molecules.task import MoleculeTask


class MoleculeDomain:
    """Implements :class:`scidiff.domain.Domain`."""

    name = "molecules"
    description = "Equivariant generation of 3D molecules."

    def commands(self) -> typer.Typer:
        from scidiff_molecules.cli import app

        return app

    def recipe(self) -> type[Config]:
        from scidiff_molecules.recipe import Recipe

        return Recipe

    def task(self, recipe: Any) -> MoleculeTask:
        from scidiff_molecules.task import MoleculeTask

        return MoleculeTask(recipe)

    def demo(self, folder: Path, tracker: Tracker) -> Sequence[Section]:
        from scidiff_molecules.demo import demo

        return demo(folder, tracker)

    def models(self) -> list[ModelInfo]:
        from scidiff_molecules.registry import shipped_models

        return [ModelInfo(name, _describe(path), path) for name, path in shipped_models().items()]

    def card(self, metadata: Mapping[str, Any], weights_sha256: str) -> Sequence[CardSection]:
        from scidiff_molecules.card import sections

        return sections(metadata, weights_sha256)

    def service(self) -> type[MoleculeService]:
        from scidiff_molecules.service import MoleculeService

        return MoleculeService


def _describe(path: Path) -> str:
    """One line from the header of a weights file."""
    from scidiff.train.weights import load_weights

    about = load_weights(path)[1]
    data, known = about["data"], about["known"]
    names = " ".join(data["properties"])
    does = f"predicts {names}" if known["molecule"] else f"generates, for {names}" if names else "generates"
    return f"{does}; {data['source']}, {about['molecules']:,} molecules, {data['hydrogens']} hydrogens, {about['step']:,} steps"


DOMAIN = MoleculeDomain()
