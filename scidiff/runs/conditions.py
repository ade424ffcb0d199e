"""Under what conditions a run was made, and under what it would be repeated: commit, versions, machine, threads, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scidiff.config import flatten
from scidiff.config.model import Config
from scidiff.runs.record import RunRecord
from scidiff.tracking.environment import run_tags
from scidiff.tracking.names import param_values

__all__ = ["Condition", "check_config", "check_environment"]

COMMIT, DIRTY = "mlflow.source.git.commit", "scidiff.git.dirty"
UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Condition:
    """One condition: ``same``, ``differs`` (which may change results), or ``unknown`` where the run does not say."""

    name: str
    state: Literal["same", "differs", "unknown"]
    text: str


def check_environment(record: RunRecord) -> list[Condition]:
    """Commit, uncommitted changes, versions and machine of the run beside those of this process."""
    then, now = record.tags, run_tags()
    return [_commit(then, now), _versions(then, now), _machine(then, now)]


def check_config(record: RunRecord, recipe: Config) -> Condition:
    """The run's parameters, as they were logged, beside its recipe.yaml: they differ when one of the two was altered."""
    said = param_values(flatten(recipe))
    known = record.config
    shared = [name for name in said if name in known]
    wrong = [name for name in shared if known[name] != said[name]]
    if wrong:
        listed = ", ".join(f"{name} is {known[name]} among its parameters and {said[name]} in its recipe" for name in wrong)
        return Condition("recipe", "differs", f"{listed}: the record contradicts itself; its recipe is what is repeated")
    return Condition("recipe", "same", f"recipe.yaml; the run's parameters say the same of {len(shared)} settings")


def _commit(then: Mapping[str, str], now: Mapping[str, str]) -> Condition:
    if COMMIT not in then or COMMIT not in now:
        return Condition("commit", "unknown", f"{then.get(COMMIT, UNKNOWN)} then, {now.get(COMMIT, 'unknown')} now")
    changed = [f"{when} with changes that no commit holds" for when, tags in (("then", then), ("now", now)) if tags.get(DIRTY) == "true"]
    dirty = f" ({', '.join(changed)})" if changed else ""
    if then[COMMIT] != now[COMMIT]:
        return Condition("commit", "differs", f"{then[COMMIT][:12]} then, {now[COMMIT][:12]} now{dirty}")
    return Condition("commit", "unknown" if dirty else "same", f"{now[COMMIT][:12]}{dirty}")


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> Condition:
    names = sorted({name for tags in (then, now) for name in tags if name.startswith("version.")})
    known = [name for name in names if name in then]
    wrong = [name for name in known if then[name] != now.get(name)]
    if wrong:
        listed = ", ".join(f"{name.removeprefix('version.')} {then[name]} then, {now.get(name, 'absent')} now" for name in wrong)
        return Condition("versions", "differs", listed)
    return Condition("versions", "same" if known else "unknown", f"{len(known)} packages" if known else UNKNOWN)


def _machine(then: Mapping[str, str], now: Mapping[str, str]) -> Condition:
    """The host's name is told and does not count: equal machines of a cluster give equal bits."""
    names = [name for name in ("machine.platform", "machine.processor", "machine.cpus", "machine.gpus") if name in then]
    wrong = [name for name in names if then[name] != now.get(name)]
    host = f"{then.get('machine.host', 'an unknown host')} then, {now.get('machine.host')} now"
    if wrong:
        listed = "; ".join(f"{name.removeprefix('machine.')}: {then[name]} then, {now.get(name)} now" for name in wrong)
        return Condition("machine", "differs", f"{host}; {listed}")
    same = then.get("machine.host") == now.get("machine.host")
    return Condition("machine", "same" if names else "unknown", str(now.get("machine.host")) if same else f"{host}, alike")
