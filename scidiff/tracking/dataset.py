"""What a run was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DataInfo"]


@dataclass(frozen=True)
class DataInfo:
    """A data set, as a run records it.

    Attributes:
        name: what it is called.
        digest: SHA-256, in hexadecimal, over all that is trained on; two runs with one digest saw the same data.
        source: where it comes from: an address, a file, or words.
        examples: how many examples are trained on.
        licence: the terms of the data; empty where they are not known.
        profile: what else is worth knowing (sizes, splits), as JSON takes it.
    """

    name: str
    digest: str
    source: str
    examples: int
    licence: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict[str, Any])
