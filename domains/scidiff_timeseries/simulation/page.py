"""The reports' sections of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scidiff.report import Grid, Picture, Prose, Section
from scidiff_timeseries.simulation.facts import FactSheet, label

if TYPE_CHECKING:
    from scidiff_timeseries.simulation.climate import ClimateReport
    from scidiff_timeseries.simulation.market import MarketReport

_NOTE = (
    "A method's value is the median of samples from its paths that are as large as the data; the brackets hold 95 % of them. ✓: the data's "
    "value lies within (a distance: not beyond), so they could be such a sample; ✗: it does not. The data's own brackets are the 95 % "
    "interval of a block bootstrap."
)


def fact_grids(sheet: FactSheet) -> list[Grid]:
    """One table for each group of facts."""
    columns, rows = sheet.texts()
    found: list[Grid] = []
    for group in dict.fromkeys(fact.group for fact in sheet.facts):
        mine = [row for row, fact in zip(rows, sheet.facts, strict=True) if fact.group == group]
        found.append(Grid(group, columns, mine, note="" if found else _NOTE))
    return found


def market_section(report: MarketReport, title: str) -> Section:
    """Verdict, picture, tables, definitions."""
    caption = "Black: observed. Bands hold 95 % of samples as large as the data."
    alt = "Nine panels that compare simulated with observed returns: " + report.verdict()
    parts = [Prose(report.verdict()), Picture(report.figure(), caption, alt), *fact_grids(report.sheet), _risk(report)]
    definitions = Grid("Definitions", ("property", "definition"), report.sheet.definitions())
    return Section(title=title, parts=[*parts, definitions], facts=dict(report.settings))


def climate_section(report: ClimateReport, title: str) -> Section:
    """Verdict, picture, tables, definitions."""
    caption = (
        "Black: observed. Bands hold 95 % of samples as large as the data. Thin lines: one deviation of the values without their cycles."
    )
    alt = "Panels that compare simulated with observed weather: " + report.verdict()
    parts = [Prose(report.verdict()), Picture(report.figure(), caption, alt), *fact_grids(report.sheet)]
    if report.ranks:
        rows = [[label(name), f"{ranks.deviation:.1%}", f"{report.skill[name].ratio:.2f}"] for name, ranks in report.ranks.items()]
        note = "Ranks: share of cases in the wrong bin, 0 is calibrated. Spread over error: below 1 the paths are too sure."
        parts.append(Grid("Around the truth", ("method", "ranks", "spread over error"), rows, note=note))
    definitions = Grid("Definitions", ("property", "definition"), report.sheet.definitions())
    return Section(title=title, parts=[*parts, definitions], facts=dict(report.settings))


def _risk(report: MarketReport) -> Grid:
    tests = ("Kupiec p", "independence p", "joint p", "ES Z", "ES p", "assets rejected")
    columns = ("method", "level", "VaR", "ES", "violations / expected", *tests)
    table = report.risk_table()
    rows = [
        [
            label(str(row["method"])), f"{row['level']:.0%}", f"{100 * row['VaR']:.2f} %", f"{100 * row['ES']:.2f} %",
            f"{row['violations']} / {row['expected']:.1f}", *(f"{row[name]:.3f}" for name in tests[:3]), f"{row['ES Z']:.2f}",
            f"{row['ES p']:.3f}", f"{row['assets rejected']:.0%}",
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    note = (
        "Of the portfolio with equal weights. Kupiec: the number of violations; independence: Christoffersen's Markov chain; ES: Acerbi "
        "and Szekely's second statistic, below 0 the shortfall is underrated; assets rejected: share with Kupiec p < .05."
    )
    return Grid("Backtests of value at risk and expected shortfall", columns, rows, note=note)
