"""scidiff's time-series domain: one fitted model that forecasts, fills gaps and simulates."""
