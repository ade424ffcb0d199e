"""Where processes are to be killed: drawn at random, from what the uninterrupted training did."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scidiff.testing.kill_process import Event, Plan
from scidiff.testing.kill_report import AT_FSYNC, AT_RANDOM, BEFORE_MANIFEST, BEFORE_RENAME

__all__ = ["KILLS_A_TRAINING", "Planned", "Planner"]

KILLS_A_TRAINING = 5
CYCLE = (AT_RANDOM, AT_FSYNC, BEFORE_RENAME, AT_RANDOM, BEFORE_MANIFEST, AT_FSYNC, AT_RANDOM, AT_FSYNC, AT_RANDOM, BEFORE_MANIFEST)
MANIFEST = ".json"


@dataclass(frozen=True)
class Planned:
    """A plan, its kind, and of an fsync its number among those of its save."""

    plan: Plan
    kind: str
    fsync: int | None = None


class Planner:
    """Draws plans. ``events``: those of the uninterrupted training; ``seconds``: what one of its ``steps`` took."""

    def __init__(self, seed: int, events: Sequence[Event], batch_size: int, calls: int, steps: int, seconds: float) -> None:
        self._rng = random.Random(seed)
        self._events, self._batch_size = events, batch_size
        self._calls, self.steps, self._seconds = calls, steps, seconds

    def kill(self, kind: str, start: int, left: int) -> Planned:
        """A kill of a process that begins at step ``start``, with ``left`` kills to come (this one too) before the training may end."""
        horizon = start + -(-(self.steps - start) // left)
        places = [] if kind == AT_RANDOM else self._places(kind, start)
        early = [place for place in places if self._step(place) <= horizon]
        if not places:
            batch = self._rng.randint(0, (horizon - start) * self._calls)
            return Planned(Plan(batch=batch, delay=self._rng.uniform(0, 1.5 * self._seconds)), AT_RANDOM)
        place = self._rng.choice(early or places)
        first = next(i for i, event in enumerate(self._events) if self._after(event, start))
        fsync = self._number(place) if kind == AT_FSYNC else None
        return Planned(Plan(event=place - first + 1, after=kind == BEFORE_MANIFEST), kind, fsync)

    def term(self, start: int, left: int) -> Plan | None:
        """SIGTERM in one of the steps from ``start`` to the next kill; None where none is left but the last."""
        room = min(-(-(self.steps - start) // left), self.steps - start - 1)
        return None if room < 1 else Plan(batch=1 + self._calls * self._rng.randrange(room), term=True)

    def _places(self, kind: str, start: int) -> list[int]:
        """The events of this kind that a process from ``start`` on comes to."""
        want = {AT_FSYNC: "fsync", BEFORE_RENAME: "rename"}.get(kind)
        chosen = range(len(self._events)) if want is None else [i for i, event in enumerate(self._events) if event.call == want]
        return [i for i in chosen if self._after(self._events[i], start) and (want is not None or self._precedes_manifest(i))]

    def _precedes_manifest(self, place: int) -> bool:
        """Has the data's file its name, durably, and is the manifest the next to be written?"""
        if not 0 < place < len(self._events) - 2:
            return False
        before, here, then, last = self._events[place - 1 : place + 3]
        calls = (before.call, here.call, then.call, last.call)
        return calls == ("rename", "fsync", "fsync", "rename") and last.target.endswith(MANIFEST) and not before.target.endswith(MANIFEST)

    def _number(self, place: int) -> int:
        """Of an fsync, among those after the same step."""
        same = [i for i, event in enumerate(self._events) if event.call == "fsync" and event.drawn == self._events[place].drawn]
        return same.index(place) + 1

    def _after(self, event: Event, start: int) -> bool:
        return event.drawn > start * self._batch_size

    def _step(self, place: int) -> int:
        return self._events[place].drawn // self._batch_size
