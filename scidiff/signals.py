"""SIGTERM as an exit that unwinds the stack: files are closed, runs are marked, the status is 143."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TERMINATED", "sigterm_exits"]

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def sigterm_exits() -> Generator[None]:
    """Inside, SIGTERM raises ``SystemExit(143)`` in the main thread; a handler that someone else has set is left alone."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
