"""Components by name: a file may choose among what is registered, and can name nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from scidiff.errors import UserError, did_you_mean

__all__ = ["Registry"]

T = TypeVar("T")
R = TypeVar("R")


class Registry(Generic[T]):
    """Names and the components they stand for; ``kind`` says what they are in messages ("schedule", "backbone").

    >>> schedules = Registry[type]("schedule")
    >>> @schedules.register("cosine")
    ... class Cosine: ...
    >>> schedules.get("cosine") is Cosine
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[R], R]:
        """A decorator that gives its object this name. Raises ``ValueError`` when the name is taken."""
        if name in self._known:
            raise ValueError(f"the {self.kind} {name!r} is registered already: choose another name")

        def keep(component: R) -> R:
            self._known[name] = component  # type: ignore[assignment]
            return component

        return keep

    def get(self, name: str) -> T:
        """The component of that name. Raises :class:`~scidiff.errors.UserError` listing the known names."""
        if name not in self._known:
            known = ", ".join(sorted(self._known)) or "none"
            raise UserError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._known)} (known: {known})")
        return self._known[name]

    def check(self, name: str) -> str:
        """The name itself if it is known, to validate a field: ``Annotated[str, AfterValidator(REGISTRY.check)]``."""
        self.get(name)
        return name

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
