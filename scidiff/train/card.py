"""From a file of weights to its card."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scidiff.card import DescribesModels, RunFacts, WeightsFile, card_path, card_text, run_facts
from scidiff.device import choose_device
from scidiff.domain import Domain
from scidiff.errors import UserError
from scidiff.files import atomic_write, file_sha256
from scidiff.tracking import Tracker
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.place import place
from scidiff.train.weights import load_weights, weights_sha256

__all__ = ["how_computed", "log_weights", "make_card", "write_card"]

LOG = logging.getLogger("scidiff.card")


def make_card(weights: str | Path, domain: Any, run: RunFacts | None = None) -> str:
    """The card of a file of weights, as Markdown. ``domain`` is the one that the weights belong to.

    ``run``: what the run says that made them; without it, the run recorded in the same folder, if there is one. Raises CheckpointError
    for a file that cannot be read or trusted.
    """
    path = Path(weights)
    tensors, metadata = load_weights(path)
    digest, numbers = weights_sha256(tensors), sum(tensor.numel() for tensor in tensors.values())
    file = WeightsFile(path.name, path.stat().st_size, file_sha256(path), digest, numbers, metadata)
    sections = domain.card(metadata, digest) if isinstance(domain, DescribesModels) else ()
    return card_text(file, recipe_of(metadata, domain), sections, _run_beside(path, digest) if run is None else run)


def _run_beside(path: Path, digest: str) -> RunFacts | None:
    """The run recorded in the same folder, if it says that it made these weights."""
    found = run_facts(path.parent)
    return found if found is not None and found.tags.get("scidiff.weights.sha256") == digest else None


def write_card(weights: str | Path, domain: Domain, run: RunFacts | None = None) -> Path | None:
    """Write the card beside the weights, atomically; its path. A card that cannot be made costs a warning in the log, and no training."""
    path = card_path(weights)
    try:
        atomic_write(path, make_card(weights, domain, run).encode())
    except (UserError, OSError) as error:
        LOG.warning("%s: no model card was written: %s", path, error)
        return None
    return path


def how_computed(device: str) -> dict[str, str]:
    """As tags of a run: the kind of device, and how many processes train together."""
    return {"scidiff.device": choose_device(device).type, "scidiff.processes": str(place()[1])}


def log_weights(tracker: Tracker, weights: Path, domain: Domain, run: Path | None = None) -> None:
    """What a run says of its weights in the end: their SHA-256 and the step it reached as tags, the file and its card as artifacts.

    ``run``: the run's folder, if the weights lie elsewhere.
    """
    folder = weights.parent if run is None else run
    try:
        tensors, metadata = load_weights(weights)
    except UserError as error:
        LOG.warning("the weights cannot be read back: %s", error)
    else:
        steps = CheckpointStore(folder / "checkpoints").steps()  # with the best weights, their own step is an earlier one
        reached = {"scidiff.steps": str(steps[-1] if steps else metadata["step"])} if steps or "step" in metadata else {}
        tracker.set_tags({"scidiff.weights.sha256": weights_sha256(tensors), **reached})
    tracker.log_artifact(weights)
    card = write_card(weights, domain, run_facts(folder))
    if card is not None:
        tracker.log_artifact(card)


def recipe_of(metadata: Mapping[str, Any], domain: Any) -> dict[str, Any]:
    """The training's configuration, as far as the metadata hold it: ``recipe``, or else what bears the name of a recipe's field."""
    whole = metadata.get("recipe")
    if isinstance(whole, Mapping):
        return {str(key): value for key, value in whole.items()}
    return {name: metadata[name] for name in domain.recipe().model_fields if name in metadata}
