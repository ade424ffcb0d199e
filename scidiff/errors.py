"""Errors a user can mend: they name the input, the place and the remedy.

The command line prints the message of a :class:`UserError` without a traceback and exits with status 2; every other
exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "did_you_mean"]


class UserError(ValueError):
    """A wrong input: the message says what is wrong, where, and what to do about it."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint such as ``"; did you mean 'steps'?"``, or an empty string when nothing known is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
