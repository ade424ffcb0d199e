"""The base laws that compete for a series: those whose level walks, and stationary ones, which return to the mean of all that was seen.

A law whose level walks forecasts well where the last values say more than all before; over the thousands of steps of a simulation it
leaves what was ever seen, as an exchange rate may and weather does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from scidiff_timeseries.law import BaseLaw, Part

_STEADY = 50.0
"""Innovations that a stationary law's long-run volatility is worth: the scale of paths does not walk either."""


def walking_laws(seasons: Sequence[int]) -> list[BaseLaw]:
    """Random walks, local levels, one with drift, damped levels, and for every set of seasons structural laws around them."""

    def law(name: str, decay: float, **parts: float) -> BaseLaw:
        made = [Part(kind="level", weight=parts["level"])] if parts.get("level") else []
        made += [Part(kind="season", weight=parts[f"s{m}"], period=m) for m in seasons if parts.get(f"s{m}")]
        if parts.get("drift"):
            made.append(Part(kind="drift", weight=parts["drift"]))
        if parts.get("wander"):
            made.append(Part(kind="wander", weight=parts["wander"], memory=parts["memory"]))
        if parts.get("noise"):
            made.append(Part(kind="noise", weight=parts["noise"]))
        return BaseLaw(name=name, parts=tuple(made), decay=decay)

    found = [law(f"random walk, EWMA {d}", d, level=1.0) for d in (0.95, 0.99)]
    found += [law(f"local level {share}", 0.99, level=share, noise=1 - share) for share in (0.5, 0.1, 0.01)]
    found.append(law("local level 0.1, drift", 0.99, level=0.1, drift=0.01, noise=0.9))
    found += [law(f"damped level {memory}", 0.99, level=0.02, wander=1.0, memory=memory, noise=0.01) for memory in (0.5, 0.75, 0.9, 0.98)]
    for m in seasons:
        found.append(law(f"seasonal random walk {m}", 0.99, level=0.01, **{f"s{m}": 1.0}, noise=0.01))
        found.append(law(f"local level, season {m}", 0.99, level=0.1, **{f"s{m}": 0.1}, noise=1.0))
    if seasons:
        for weights in ((0.02, 0.2), (0.1, 0.2), (0.1, 0.02), (0.3, 0.3), (0.02, 0.02)):
            parts = {f"s{m}": w for m, w in zip(seasons, weights, strict=False)}
            for memory in (0.9, 0.97):
                shares = ", ".join(f"season {m} {parts[f's{m}']}" for m in seasons)
                name = f"structural: {shares}, memory {memory}"
                found.append(law(name, 0.995, level=0.01, wander=1.0, memory=memory, noise=0.01, **parts))
    return found


def stationary_laws() -> list[BaseLaw]:
    """AR(1) of several memories, with errors of measurement, or around another AR(1) that changes in weeks of days."""

    def law(name: str, *wander: tuple[float, float], noise: float = 0.01) -> BaseLaw:
        parts = [Part(kind="wander", weight=weight, memory=memory) for weight, memory in wander]
        return BaseLaw(name=name, parts=(*parts, Part(kind="noise", weight=noise)), decay=0.99, prior=_STEADY)

    found = [law(f"stationary, memory {memory}", (1.0, memory)) for memory in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)]
    found.append(law("stationary, memory 0.5, noise 0.3", (1.0, 0.5), noise=0.3))
    pairs = ((0.5, 0.1, 0.95), (0.6, 0.1, 0.95), (0.7, 0.1, 0.95), (0.7, 0.2, 0.98), (0.9, 0.3, 0.98))
    return found + [law(f"stationary, memories {fast} and {slow}", (1.0, fast), (weight, slow)) for fast, weight, slow in pairs]
