"""Model cards: one page of Markdown beside every file of weights, NAME.card.md beside NAME.safetensors.

A card is made from what the weights' file says of itself, from what its domain knows of such models (:class:`DescribesModels`) and, where
the weights were made by a tracked run, from that run's record. Nothing in it is typed by hand. The sections follow Mitchell et al. 2019
(https://doi.org/10.1145/3287560.3287596).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml

from scidiff.tracking.spool import folder_of, read_identity, read_lines

__all__ = ["CardSection", "DescribesModels", "RunFacts", "WeightsFile", "card_path", "card_text", "code", "measured", "run_facts", "table"]

DOES, DATA, RECIPE, MEASURED, RUN, LIMITS, USE, MISUSE, ORIGIN = (
    "What it does", "Data", "Recipe", "Measured", "Measured by its run", "Limits", "Intended use", "Not for", "How it was made",
)  # fmt: skip
ORDER = (DOES, DATA, RECIPE, MEASURED, RUN, LIMITS, USE, MISUSE, ORIGIN)
JUDGED = ("valid/", "sample/", "final/", "gap/")
_MAX_CODE = 300


@dataclass(frozen=True)
class CardSection:
    """A section of a card: its title (those of :data:`ORDER` have their place, others follow) and its Markdown.

    Text that users gave (names of files, series, columns) goes through :func:`code`.
    """

    title: str
    text: str


@runtime_checkable
class DescribesModels(Protocol):
    """A domain that knows what to say of its models. A domain without this gets a card all the same, with less on it."""

    def card(self, metadata: Mapping[str, Any], weights_sha256: str) -> Sequence[CardSection]:
        """What it does, data, limits, intended use, what it is not for; and what was measured of these very weights, if they are known.

        ``metadata`` is what the file of the weights holds, ``weights_sha256`` the hash of its tensors.
        """
        ...


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights is: its name, size in bytes and SHA-256; the SHA-256 of its tensors, and how many numbers they hold."""

    name: str
    bytes: int
    sha256: str
    weights_sha256: str
    numbers: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class RunFacts:
    """What a run's record says: its name, its tags, and the last value of each metric with its step."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])


def card_path(weights: str | Path) -> Path:
    """Where the card of a file of weights lies: ``NAME.card.md`` beside ``NAME.safetensors``."""
    weights = Path(weights)
    return weights.with_name(f"{weights.stem}.card.md")


def run_facts(folder: str | Path) -> RunFacts | None:
    """What is recorded in a run's folder; ``None`` where no run is."""
    identity = read_identity(folder_of(folder))
    if identity is None:
        return None
    tags, metrics = dict(identity.tags), dict[str, tuple[float, int]]()
    for line in read_lines(folder_of(folder)):
        values = line.content.get("values", {})
        if line.kind == "tags":
            tags.update(values)
        elif line.kind == "metrics":
            metrics.update({name: (float(value), int(line.content["step"])) for name, value in values.items()})
    return RunFacts(identity.run_name, tags, metrics)


def card_text(file: WeightsFile, recipe: Mapping[str, Any], sections: Sequence[CardSection] = (), run: RunFacts | None = None) -> str:
    """The card. ``recipe``: the training's configuration as far as the file holds it; ``sections``: what the domain says."""
    mine = [CardSection(RECIPE, _recipe(recipe, run)), CardSection(RUN, _measured(run)), CardSection(ORIGIN, _origin(file, run))]
    texts: dict[str, list[str]] = {}
    for section in (one for one in [*sections, *mine] if one.text.strip()):
        texts.setdefault(section.title, []).append(section.text.strip())
    titles = sorted(texts, key=lambda title: ORDER.index(title) if title in ORDER else ORDER.index(MISUSE))
    head = [f"# Model card: {_name(file)}", _summary(file)]
    return "\n\n".join([*head, *("\n\n".join([f"## {title}", *texts[title]]) for title in titles)]) + "\n"


def code(text: object) -> str:
    """Anything as a Markdown code span on one line: nothing in it is markup, and a table's cell holds it."""
    line = re.sub(r"\s+", " ", "".join(character if character.isprintable() else " " for character in str(text))).strip()
    line = line if len(line) <= _MAX_CODE else f"{line[:_MAX_CODE]}…"
    fence = "`" * (max((len(ticks) for ticks in re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing where there is no row."""
    if not rows:
        return ""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]  # a bar would end the cell, in code as well
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *escaped])


def _summary(file: WeightsFile) -> str:
    said = file.metadata
    rows = [("domain", code(said.get("domain", "unknown"))), ("file", f"{code(file.name)}, {file.bytes / 1e6:.1f} MB")]
    rows.append(("parameters", f"{file.numbers:,}"))
    if isinstance(said.get("step"), int):
        seconds = said.get("seconds")
        took = f", {_duration(seconds)} of wall time" if isinstance(seconds, int | float) and not isinstance(seconds, bool) else ""
        rows.append(("trained", f"{said['step']:,} steps{took}"))
    start = said.get("init")
    if isinstance(start, Mapping):
        known = f"{code(start.get('model'))}, weights {code(start.get('sha256'))}"
        rows.append(("started from", f"{known}: what its card says holds for this model as well"))
    rows += [("SHA-256 of the weights", f"`{file.weights_sha256}`"), ("SHA-256 of the file", f"`{file.sha256}`")]
    return table(("", ""), rows)


def _recipe(recipe: Mapping[str, Any], run: RunFacts | None) -> str:
    command = run.tags.get("scidiff.command") if run is not None else None
    parts = [f"Made by {code(command)}."] if command else []
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=140, default_flow_style=None) if recipe else ""
    return "\n\n".join([*parts, *([_fenced(text, "yaml")] if text else [])])


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, max((len(ticks) for ticks in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _measured(run: RunFacts | None) -> str:
    """The last of every figure that judges the model, with its interval where the run logged one (NAME_low, NAME_high)."""
    if run is None:
        return ""
    rows: list[tuple[str, str, str, str]] = []
    for name, (value, step) in sorted(run.metrics.items()):
        if not name.startswith(JUDGED) or any(name.endswith(end) and name.removesuffix(end) in run.metrics for end in ("_low", "_high")):
            continue
        low, high = (run.metrics.get(f"{name}{end}") for end in ("_low", "_high"))
        interval = f"{low[0]:.4g} to {high[0]:.4g}" if low is not None and high is not None else "–"
        rows.append((code(name), f"{value:.5g}", interval, f"{step:,}"))
    if not rows:
        return ""
    note = "The last value of each. `valid/`: data not trained on; `sample/`: generated; `final/`: fitted afterwards, to validation data."
    return f"{note}\n\n{table(('figure', 'value', '95 % interval', 'step'), rows)}"


def _origin(file: WeightsFile, run: RunFacts | None) -> str:
    if run is None:
        return "Versions and commit are not recorded in this file; the run that made it had them."
    tags = run.tags
    rows = [("run", code(run.name))]
    commit, dirty = tags.get("mlflow.source.git.commit"), tags.get("scidiff.git.dirty")
    if commit:
        rows.append(("commit", f"{code(commit)}{', with changes that no commit holds' if dirty == 'true' else ''}"))
    versions = {name.removeprefix("version."): value for name, value in sorted(tags.items()) if name.startswith("version.")}
    rows += [("versions", ", ".join(code(f"{name} {value}") for name, value in versions.items()))] if versions else []
    machine = [tags[name] for name in ("machine.platform", "scidiff.device") if name in tags]
    machine += [f"threads: {tags['machine.threads']}"] if "machine.threads" in tags else []
    rows += [("machine", ", ".join(code(part) for part in machine))] if machine else []
    data = [code(tags[name]) for name in ("data.name", "data.sha256") if name in tags]
    rows += [("training data, SHA-256", ", ".join(data))] if data else []
    same = tags.get("scidiff.weights.sha256")
    if same is not None and same != file.weights_sha256:
        rows.append(("warning", "the run recorded other weights than these: the file was changed since"))
    return table(("", ""), rows)


def _duration(seconds: float | int) -> str:
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _name(file: WeightsFile) -> str:
    """For the heading: letters, digits and a few signs; anything else would be markup."""
    name, domain = str(file.metadata.get("name", "")), str(file.metadata.get("domain", ""))
    return re.sub(r"[^\w .,:+-]", "_", name if name not in ("", domain) else Path(file.name).stem).strip()[:100] or "unnamed"


def measured(folder: Path, weights_sha256: str) -> list[CardSection]:
    """What is published of a shipped model: from that ``*.measured.json`` of a folder that names these very weights; nothing otherwise.

    The file holds ``weights_sha256``, ``training`` (how it was trained), ``command`` (that measured), ``note``, ``columns`` and ``rows``.
    """
    for path in sorted(folder.glob("*.measured.json")):
        found = json.loads(path.read_bytes())
        if found["weights_sha256"] == weights_sha256:
            text = f"{found['note']}\n\n{table(found['columns'], found['rows'])}\n\nMeasured by `{found['command']}`."
            return [CardSection(RECIPE, found["training"]), CardSection(MEASURED, text)]
    return []
