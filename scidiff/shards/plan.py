"""A plan: which samples are made, how they are cut into shards, and everything that their values depend on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from scidiff.config import Config, Scalar, flatten
from scidiff.errors import UserError

__all__ = ["MAX_SHARDS", "Plan"]

MAX_SHARDS = 100_000
_NAMED = 20


class Plan(Config):
    """Samples ``first``, ..., ``first`` + ``n`` - 1 in ``shards`` files; two plans are one if all but their ``command`` agree.

    Raises UserError where there are more shards than blocks.
    """

    what: str = Field(max_length=40, description="the samples' name in messages: molecules, paths")
    n: int = Field(ge=1, le=2**40)
    first: int = Field(default=0, ge=0, le=2**62)
    block: int = Field(ge=1, le=2**24, description="consecutive ids that are computed together, and always together")
    shards: int = Field(ge=1, le=MAX_SHARDS)
    suffix: str = Field(pattern=r"^\.[a-z]{1,10}$")
    about: dict[str, Any] = Field(description="seed, SHA-256 of the model, sampler: what the samples depend on")
    command: tuple[str, ...] = Field(default=(), description="makes the shards, one of them with --shard K")

    @model_validator(mode="after")
    def _enough(self) -> Plan:
        if self.shards > len(self.blocks):
            raise ValueError(
                f"{self.shards:,} shards of {self.n:,} {self.what}: these are {len(self.blocks):,} blocks of {self.block}, and a shard is "
                f"one or more; give at most {len(self.blocks):,} shards"
            )
        return self

    @classmethod
    def of(cls, **values: Any) -> Plan:
        """A plan of these values; what is wrong with them as a UserError in one sentence."""
        try:
            return cls(**values)
        except ValueError as error:
            faults: Any = getattr(error, "errors", list)()
            said = "; ".join(": ".join((*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, "))) for fault in faults)
            raise UserError(said or str(error)) from error

    @property
    def blocks(self) -> range:
        """Numbers of the blocks that hold any of the ids."""
        return range(self.first // self.block, -(-(self.first + self.n) // self.block))

    def ids(self, shard: int) -> range:
        """The samples of a shard: those of whole blocks, but for what the plan's ends cut off."""
        low, high = (self.blocks.start + len(self.blocks) * cut // self.shards for cut in (shard, shard + 1))
        return range(max(self.first, low * self.block), min(self.first + self.n, high * self.block))

    def name(self, shard: int) -> str:
        """Of the shard's file."""
        return f"part-{shard:05d}-of-{self.shards:05d}{self.suffix}"

    def remedy(self, shards: Sequence[int]) -> str:
        """The command that makes these shards (finished ones are skipped)."""
        one = ["--shard", str(shards[0])] if len(shards) == 1 else []
        return shlex.join([*self.command, *one])

    def differences(self, other: Plan) -> list[str]:
        """Where two plans disagree: ``seed (0 there, 1 here)``, with ``self`` there."""
        there, here = self._identity(), other._identity()
        shown = {key: (there.get(key), here.get(key)) for key in sorted(there.keys() | here.keys())}
        return [f"{key} ({_short(old)} there, {_short(new)} here)" for key, (old, new) in shown.items() if old != new]

    def _identity(self) -> dict[str, Scalar]:
        return {key.removeprefix("about."): value for key, value in flatten(self.model_dump(mode="json", exclude={"command"})).items()}


def named(shards: Sequence[int]) -> str:
    """``3, 4 and 7``; of many the first ones."""
    words = [f"{shard}" for shard in shards[:_NAMED]]
    if len(shards) > _NAMED:
        return f"{', '.join(words)}, ... ({len(shards):,} of them)"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


def _short(value: Scalar) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
