"""Is a simulation any good? Reports on any DataFrame of paths beside the data they should resemble, and beside simple simulators.

:func:`market_report` measures the stylised facts of returns, :func:`climate_report` seasons, spells, extremes and spectra. What the reports
are made of can be called by itself: ``moments``, ``memorisation``, ``risk``, ``spells``, ``extremes``, ``ensemble``.
"""

from __future__ import annotations

from scidiff_timeseries.simulation.climate import ClimateReport, climate_report
from scidiff_timeseries.simulation.market import MarketReport, market_report
from scidiff_timeseries.simulation.references import block_bootstrap, garch_t, seasonal_bootstrap

__all__ = ["ClimateReport", "MarketReport", "block_bootstrap", "climate_report", "garch_t", "market_report", "seasonal_bootstrap"]
