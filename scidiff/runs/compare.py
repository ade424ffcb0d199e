"""Runs side by side: configuration, data, versions, git, machine, and metrics with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from scidiff.runs.intervals import Difference, Estimate, difference, estimate, is_end
from scidiff.runs.record import RunRecord

__all__ = ["Comparison", "Fact", "MetricRow", "compare"]

GROUPS = ("run", "configuration", "data", "versions", "code", "machine", "tags")
CODE = {"mlflow.source.git.commit": "commit", "scidiff.git.dirty": "changes not in the commit"}
RUN = {"scidiff.command": "command", "scidiff.weights.sha256": "weights", "scidiff.reproduces": "repeats"}
HIDDEN = ("mlflow.", "scidiff.local_id", "changed.", "scidiff.checkpoint")


@dataclass(frozen=True)
class Fact:
    """One thing that is known of runs: its value in each, None where a run does not have it."""

    group: str
    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class MetricRow:
    """One metric: what it came to in each run, and by how much each later run differs from the first."""

    name: str
    estimates: tuple[Estimate | None, ...]
    differences: tuple[Difference | None, ...]

    @property
    def differs(self) -> bool:
        return any(one is None or one.verdict != "equal" for one in self.differences)


@dataclass(frozen=True)
class Comparison:
    """Runs, the first of which is what the others are compared with."""

    runs: tuple[RunRecord, ...]
    facts: tuple[Fact, ...]
    metrics: tuple[MetricRow, ...]

    @property
    def labels(self) -> list[str]:
        """What the runs are called: their names, with the beginning of their ids where names are alike."""
        names = [run.name for run in self.runs]
        return names if len(set(names)) == len(names) else [run.label for run in self.runs]

    def only_what_differs(self) -> Comparison:
        """The same without what is equal in all runs, and without how busy the machine was, which never is."""
        facts = tuple(fact for fact in self.facts if fact.differs)
        return Comparison(self.runs, facts, tuple(row for row in self.metrics if row.differs and not row.name.startswith("system/")))

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it: numbers that are not finite as words."""
        runs = [{"name": run.name, "id": run.run_id, "source": run.source, "status": run.status} for run in self.runs]
        facts = [{"group": fact.group, "name": fact.name, "values": list(fact.values), "differs": fact.differs} for fact in self.facts]
        rows = [
            {
                "name": row.name,
                "differs": row.differs,
                "runs": [None if one is None else _plain({k: v for k, v in asdict(one).items() if k != "tail"}) for one in row.estimates],
                "differences": [None if one is None else _plain(asdict(one)) for one in row.differences],
            }
            for row in self.metrics
        ]
        return {"runs": runs, "facts": facts, "metrics": rows}


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Lay runs side by side. Raises ValueError for fewer than two."""
    if len(runs) < 2:
        raise ValueError("two runs or more are compared")
    tables = [_facts(run) for run in runs]
    facts = [
        Fact(group, name, tuple(table.get((group, name)) for table in tables))
        for group in GROUPS
        for name in dict.fromkeys(name for table in tables for found, name in table if found == group)
    ]
    names = sorted({name for run in runs for name in run.metrics if not is_end(run.metrics, name)}, key=_by_weight)
    return Comparison(tuple(runs), tuple(facts), tuple(_metric(runs, name) for name in names))


def _metric(runs: Sequence[RunRecord], name: str) -> MetricRow:
    estimates = tuple(estimate(run.metrics, name) for run in runs)
    first = estimates[0]
    pairs = tuple(None if first is None or other is None else difference(first, other) for other in estimates[1:])
    return MetricRow(name, estimates, pairs)


def _by_weight(name: str) -> tuple[int, str]:
    """What judges a model comes before how it was trained, the machine last."""
    last = {"gap/": 1, "train/": 2, "system/": 3}
    first = {"final/": -3, "valid/": -2, "sample/": -1}
    return next((place for start, place in (first | last).items() if name.startswith(start)), 0), name


def _facts(run: RunRecord) -> dict[tuple[str, str], str]:
    facts = {
        ("run", "id"): run.run_id,
        ("run", "status"): run.status,
        ("run", "started"): _when(run.started),
        ("run", "took"): _took(run.started, run.ended),
        ("run", "steps"): run.tags.get("scidiff.steps", str(run.last_step)),
    }
    facts |= {("configuration", name): value for name, value in run.config.items()}
    for number, data in enumerate(run.datasets):
        at = f"{number + 1}. " if len(run.datasets) > 1 else ""
        said = {"name": data.name, "SHA-256": data.digest, "source": data.source, "examples": f"{data.examples:,}", "licence": data.licence}
        facts |= {("data", f"{at}{name}"): value for name, value in said.items() if value}
    for name, value in run.tags.items():
        if name in CODE:
            facts["code", CODE[name]] = value
        elif name in RUN:
            facts["run", RUN[name]] = value
        elif name.startswith("version."):
            facts["versions", name.removeprefix("version.")] = value
        elif name.startswith("machine.") or name == "scidiff.device":
            facts["machine", name.partition(".")[2]] = value
        elif not name.startswith(HIDDEN):
            facts["tags", name] = value
    return facts


def _when(time: int | None) -> str:
    return "–" if time is None else datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _took(started: int | None, ended: int | None) -> str:
    return "–" if started is None or ended is None else f"{(ended - started) / 1000:,.1f} s"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
