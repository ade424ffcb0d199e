"""Planted faults: the law that should catch one."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def caught(law: Callable[[], None], message: str) -> None:
    """``law`` raises AssertionError, saying ``message``."""
    with pytest.raises(AssertionError, match=message):
        law()
