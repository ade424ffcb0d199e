"""The market report: stylised facts of simulated returns beside those of the data, of GARCH-t and of a block bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.simulation import market_facts as stylised
from scidiff_timeseries.simulation import memorisation, references, risk
from scidiff_timeseries.simulation.facts import Fact, FactSheet, distance
from scidiff_timeseries.simulation.frames import Paths, matched, read_paths
from scidiff_timeseries.simulation.market_facts import MarketFacts
from scidiff_timeseries.simulation.resample import Units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scidiff.report import Section

__all__ = ["REFERENCES", "Kind", "MarketReport", "log_returns", "market_report"]

Array = NDArray[np.float64]
Kind = Literal["log_price", "price", "return"]
REFERENCES = {"garch_t": references.garch_t, "block_bootstrap": references.block_bootstrap}
LEVELS = (0.01, 0.05)
_LARGEST = 50.0
_MOST_LAGS = 0.25
"""Of the shorter of paths and data: correlations at longer lags have hardly any pairs."""


@dataclass(frozen=True)
class MarketReport:
    """What :func:`market_report` found.

    Attributes:
        sheet: facts of the data and every method, with intervals; the simulator under test is the first method.
        backtests: for each method, of the portfolio with equal weights at each level.
        rejected: for each method and level, the share of assets at which Kupiec's test rejects at 5 %.
        curves: for ``observed`` and each method, vectors of draws [1 + resamples, n]: ``acf``, ``acf_abs``, ``leverage`` by lag,
            ``kurtosis`` by aggregation, ``correlations``, ``log_volatilities``.
        samples: for the picture: standardised returns, windows' falls, memorisation ratios, some paths.
        settings: what was compared, in words.
    """

    sheet: FactSheet
    backtests: Mapping[str, tuple[risk.Backtest, ...]]
    rejected: Mapping[str, tuple[float, ...]]
    curves: Mapping[str, Mapping[str, Array]]
    samples: Mapping[str, Mapping[str, Array]]
    settings: Mapping[str, str]
    lags: tuple[int, ...]

    def table(self) -> pd.DataFrame:
        """A row for each property: observed, then every method, each with its 95 % interval, and whether the
        data could be a sample of it."""
        return self.sheet.table()

    def risk_table(self) -> pd.DataFrame:
        """A row for each method and level: VaR and ES of the portfolio, violations on the held-out days, and the tests' p-values."""
        rows: list[dict[str, Any]] = []
        for name, tests in self.backtests.items():
            for test, share in zip(tests, self.rejected[name], strict=True):
                rows.append(
                    {
                        "method": name, "level": test.level, "VaR": test.value_at_risk, "ES": test.shortfall, "days": test.days,
                        "violations": test.violations, "expected": test.level * test.days, "Kupiec p": test.kupiec.p_value,
                        "independence p": test.independence.p_value, "joint p": test.joint.p_value, "ES Z": test.shortfall_test.statistic,
                        "ES p": test.shortfall_test.p_value, "assets rejected": share,
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def to_metrics(self) -> dict[str, float]:
        """``METHOD/FACT`` and its ends, ``METHOD/agreeing``, and the backtests: ``METHOD/var_1/violations``, ``.../kupiec_p``, ..."""
        found = self.sheet.to_metrics()
        for name, tests in self.backtests.items():
            for test in tests:
                at = f"{name}/var_{100 * test.level:g}"
                found |= {f"{at}/violations": float(test.violations), f"{at}/days": float(test.days), f"{at}/kupiec_p": test.kupiec.p_value}
                found |= {f"{at}/independence_p": test.independence.p_value, f"{at}/es_z": test.shortfall_test.statistic}
                found |= {f"{at}/es_p": test.shortfall_test.p_value}
        return found

    def verdict(self) -> str:
        """What the simulator reproduces, what it misses, and where a reference does better."""
        text = self.sheet.verdict()
        first = next(iter(self.sheet.methods))
        for test in self.backtests[first]:
            if test.kupiec.p_value < 0.05:
                count = f"{test.violations} violations in {test.days} days, {test.level * test.days:.1f} expected"
                text += f" Its VaR at {test.level:.0%} is rejected: {count}."
        return text

    def figure(self) -> Figure:
        """Nine panels in one picture."""
        from scidiff_timeseries.simulation.market_figure import draw

        return draw(self)

    def section(self, title: str = "Market simulation") -> Section:
        """For :func:`scidiff.report.write_page`."""
        from scidiff_timeseries.simulation.page import market_section

        return market_section(self, title)


def market_report(
    paths: pd.DataFrame,
    observed: pd.DataFrame,
    *,
    methods: Mapping[str, pd.DataFrame] | Sequence[str] = tuple(REFERENCES),
    kind: Kind = "log_price",
    held_out: pd.DataFrame | None = None,
    name: str = "ours",
    id: Hashable = "unique_id",  # noqa: A002
    time: Hashable = "ds",
    lags: int = 20,
    window: int = 250,
    memory: int = 10,
    block: int = 40,
    resamples: int = 400,
    seed: int = 0,
) -> MarketReport:
    """Compare simulated markets with the data they learned from, beside simple simulators.

    Frames: see :func:`~scidiff_timeseries.simulation.frames.read_paths`; their columns are matched by name. Rows are steps: a market's
    holidays simply have no row. Every property of a method is that of ``resamples`` samples from its paths, as large as the data, see
    :mod:`~scidiff_timeseries.simulation.resample`.

    Args:
        paths: of the simulator under test.
        observed: what it learned from; the facts are compared with it, and its windows are what may have been memorised.
        methods: other frames of paths by name, or names of references (:data:`REFERENCES`) to simulate here from ``observed``, as many and
            as long as ``paths`` are.
        kind: what all the frames hold: logarithms of prices, prices, or log returns.
        held_out: days after ``observed`` for the backtests of VaR and ES; None takes ``observed`` itself. The law of a method is that of
            its pooled returns, one for all days, so tests of independence see whether unrest comes in clusters, which no constant law can
            follow.
        name: what the simulator is called.
        lags: the longest lag; at most a quarter of the paths or of the data.
        window: of drawdowns, in steps; at most half the paths and a quarter of the data.
        memory: length of the windows whose nearest neighbours are sought.
        block: length of the blocks of data that are resampled; unrest lasts for weeks, and shorter blocks would call it chance.

    Raises:
        UserError: frames that cannot be read or do not hold the observed columns, prices that are not positive, too few steps.
    """
    data = read_paths(observed, id=id, time=time, what="observed data")
    if len(data.values) != 1:
        raise UserError(f"the observed data hold {len(data.values)} paths; one is needed")
    returns = _complete(log_returns(data, kind, "observed data"))
    made = {name: log_returns(matched(read_paths(paths, id=id, time=time), data), kind, name)}
    if name in ("observed", *methods):
        raise UserError(f"two methods are called {name!r}; give another name=")
    frames = methods if isinstance(methods, Mapping) else {}
    made |= {key: log_returns(matched(read_paths(f, id=id, time=time, what=key), data, key), kind, key) for key, f in frames.items()}
    if not isinstance(methods, Mapping):
        made |= {key: _reference(key, returns, made[name].shape, data.columns, seed) for key in methods}
    steps = min(returns.shape[1], *(values.shape[1] for values in made.values()))
    if steps < 30:
        raise UserError(f"paths or data of {steps} returns; at least 30 are needed to speak of a market's properties")
    window = max(2, min(window, returns.shape[1] // 4, *(values.shape[1] // 2 for values in made.values())))
    chosen = tuple(range(1, max(1, min(lags, int(_MOST_LAGS * steps))) + 1))
    later = returns if held_out is None else _later(held_out, data, observed, kind, id, time)
    how = _Comparison(returns, chosen, window, memory, block, resamples, seed)
    return how.report(made, later, data.columns, held_out is not None)


@dataclass(frozen=True)
class _Comparison:
    """Facts of everything with the same settings."""

    returns: Array
    lags: tuple[int, ...]
    window: int
    memory: int
    block: int
    resamples: int
    seed: int

    def report(self, made: Mapping[str, Array], later: Array, columns: Sequence[str], held: bool) -> MarketReport:
        remembered = memorisation.Memory.of(self.returns[0], self.memory)
        found: dict[str, tuple[MarketFacts, Array]] = {}
        with late_bar("measuring", 1 + len(made)) as progress:
            observed, own = self._measure(self.returns, remembered, left_out=True)
            for name, values in made.items():
                progress(1 + len(found))
                found[name] = self._measure(values, remembered)
        for key, vector in stylised.VECTORS.items():
            if vector in observed.vectors:
                for measured, _ in found.values():
                    measured.facts[key] = distance(measured.vectors[vector], observed.vectors[vector])
        known = {key for measured in (observed, *(one for one, _ in found.values())) for key in measured.facts}
        facts: tuple[Fact, ...] = tuple(f for f in (*stylised.FACTS, *memorisation.FACTS) if f.key in known)
        sheet = FactSheet(facts, observed.facts, {name: measured.facts for name, (measured, _) in found.items()})
        tests = {name: self._risk(values, later) for name, values in made.items()}
        samples = {"observed": _samples(self.returns, observed.falls, own)}
        samples |= {name: _samples(made[name], measured.falls, ratios) for name, (measured, ratios) in found.items()}
        settings = {
            "assets": f"{len(columns)}: {', '.join(columns[:12])}{', ...' if len(columns) > 12 else ''}",
            "observed": f"{self.returns.shape[1]:,} returns, in blocks of {self.block} for the bootstrap",
            **{key: f"{len(values):,} paths of {values.shape[1]:,} returns" for key, values in made.items()},
            "backtests": f"{later.shape[1]:,} {'held-out' if held else 'of the observed'} returns",
            "drawdowns": f"over windows of {self.window} steps",
            "intervals": f"95 % of {self.resamples} resamples, seed {self.seed}",
        }
        return MarketReport(
            sheet=sheet,
            backtests={name: one for name, (one, _) in tests.items()},
            rejected={name: share for name, (_, share) in tests.items()},
            curves={"observed": observed.vectors, **{name: measured.vectors for name, (measured, _) in found.items()}},
            samples=samples,
            settings=settings,
            lags=self.lags,
        )

    def _measure(self, values: Array, remembered: memorisation.Memory | None, left_out: bool = False) -> tuple[MarketFacts, Array]:
        size = None if left_out else self.returns.shape[1]
        shape = (len(values), values.shape[1])
        units = Units.of(shape, block=self.block, resamples=self.resamples, seed=self.seed + (not left_out), size=size)
        measured = stylised.market_facts(values, units, self.lags, self.window)
        ratios = np.zeros(0)
        if remembered is not None:
            if left_out:
                ratios, start = remembered.left_out()
                number = units.number[0, start]
            else:
                ratios, path, start = remembered.ratios(values)
                number = units.number[path, start]
            measured.facts.update(memorisation.facts(ratios, number, units))
        return measured, ratios

    def _risk(self, values: Array, later: Array) -> tuple[tuple[risk.Backtest, ...], tuple[float, ...]]:
        law, truth = stylised.portfolio(values).ravel(), stylised.portfolio(later)[0]
        tests = tuple(risk.backtest(truth, law, level, self.seed) for level in LEVELS)
        shares: list[float] = []
        for level in LEVELS:
            each: list[float] = []
            for asset in range(later.shape[2]):
                column = later[0, :, asset][np.isfinite(later[0, :, asset])]
                var, _ = risk.value_at_risk(values[..., asset].ravel(), level)
                each.append(risk.kupiec(int((column < -var).sum()), len(column), level).p_value)
            shares.append(float(np.mean(np.array(each) < 0.05)))
        return tests, tuple(shares)


def log_returns(paths: Paths, kind: Kind, name: str) -> Array:
    """Log returns [path, time, asset] of paths of this kind; beyond ±50 they count as that."""
    if kind not in ("log_price", "price", "return"):
        raise UserError(f"kind {kind!r} is unknown; the frames hold 'log_price', 'price' or 'return'")
    values = paths.values
    if kind == "return":
        return np.clip(values, -_LARGEST, _LARGEST)
    if kind == "price":
        bad = np.argwhere(values <= 0)
        if len(bad):
            path, step, column = (int(k) for k in bad[0])
            where = f"path {path}, step {step}, {paths.columns[column]!r}"
            price = f"the price {values[path, step, column]:g} ({where}; {len(bad)} such values)"
            raise UserError(f"{name}: {price} has no logarithm; is kind= right?")
        values = np.log(values)
    return np.clip(np.diff(values, axis=1), -_LARGEST, _LARGEST)


def _complete(returns: Array) -> Array:
    """Observed returns without the steps at which nothing is known (rows of holidays)."""
    return returns[:, np.isfinite(returns[0]).any(1)]


def _reference(key: str, returns: Array, shape: tuple[int, ...], columns: Sequence[str], seed: int) -> Array:
    if key not in REFERENCES:
        known = ", ".join(REFERENCES)
        raise UserError(f"unknown reference {key!r}{did_you_mean(key, REFERENCES)}; known: {known}; or give frames of paths")
    frame = REFERENCES[key](pd.DataFrame(returns[0], columns=list(columns)), shape[0], shape[1], seed=seed)
    return read_paths(frame, what=key).values


def _later(held_out: pd.DataFrame, data: Paths, observed: pd.DataFrame, kind: Kind, id: Hashable, time: Hashable) -> Array:  # noqa: A002
    found = matched(read_paths(held_out, id=id, time=time, what="held-out data"), data, "held-out data")
    if len(found.values) != 1:
        raise UserError(f"the held-out data hold {len(found.values)} paths; one is needed")
    returns = _complete(log_returns(found, kind, "held-out data"))
    if returns.shape[1] < 2:
        raise UserError(f"the held-out data hold {returns.shape[1]} returns; backtests need more")
    return returns


def _samples(values: Array, falls: Array, ratios: Array) -> dict[str, Array]:
    """What the picture shows: standardised returns, falls, ratios, and the portfolio's cumulated returns of up to 40 paths."""
    spread = np.nanstd(values, axis=(0, 1))
    standard = (values - np.nanmean(values, axis=(0, 1))) / np.where(spread > 0, spread, 1.0)
    paths = np.cumsum(np.nan_to_num(stylised.portfolio(values[:40])), axis=1)
    return {"returns": standard[np.isfinite(standard)], "falls": falls, "ratios": ratios[np.isfinite(ratios)], "paths": paths}
