"""What a server lets anyone ask of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; times in seconds. What one answer may cost is the domain's to say (:class:`scidiff.domain.Answer`)."""

    body_bytes: int = 8 * 2**20
    head_seconds: float = 10.0
    """From the connection to the end of the request's head."""
    body_seconds: float = 20.0
    """From there to the end of its body."""
    answer_seconds: float = 300.0
    """Waiting for its turn, and being computed."""
    send_seconds: float = 60.0
    """For the client to take the answer."""
    concurrent: int = 2
    """Answers computed at once."""
    queue: int = 8
    """Requests that wait, besides."""
    connections: int = 128

    @property
    def lifetime(self) -> float:
        """After which a connection is cut, whatever it is doing."""
        return self.head_seconds + self.body_seconds + self.answer_seconds + self.send_seconds
