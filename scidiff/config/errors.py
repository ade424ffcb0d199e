"""The errors of a configuration: all of them at once, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scidiff.errors import UserError

__all__ = ["ConfigError", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One fault: ``where`` it was written (``line 3``, or an override), the dotted ``key``, and what is wrong with it."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class ConfigError(UserError):
    """A configuration that cannot be used; ``problems`` lists every fault that was found, in the order of the file."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(problems)} errors" if len(problems) > 1 else "1 error"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)]))
