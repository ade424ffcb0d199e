"""What a model card says of forecasters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scidiff.card import DATA, DOES, LIMITS, MEASURED, MISUSE, USE, CardSection, code, measured, table
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.registry import MODELS
from scidiff_timeseries.samples import SAMPLES

_LISTED = 12
SAMPLE = "sample:"


def sections(metadata: Mapping[str, Any], weights_sha256: str) -> Sequence[CardSection]:
    """For :class:`scidiff.card.DescribesModels`."""
    return [
        CardSection(DOES, _does(metadata)),
        CardSection(DATA, _data(metadata)),
        *measured(MODELS, weights_sha256),
        CardSection(MEASURED, _calibration(metadata)),
        CardSection(LIMITS, _limits(metadata)),
        CardSection(USE, USES),
        CardSection(MISUSE, MISUSES),
    ]


def _does(metadata: Mapping[str, Any]) -> str:
    network = "step" in metadata
    windows, channels = metadata["recipe"]["windows"], metadata["channels"]
    rows = [
        ("frequency", code(Frequency(metadata["frequency"]).describe())),
        ("horizon trained on", f"{windows['horizon']:,} steps"),
        ("series", _listed([series["id"] for series in metadata.get("series", [])])),
        ("channels", _listed(channels)),
    ]
    how = "A Gaussian base law chosen for each series" + (", corrected by a small network." if network else " alone, without a network.")
    what = "Draws joint sample paths of time series: forecasts, filled gaps and simulations, whole futures rather than quantiles."
    return f"{what} {how}\n\n{table(('', ''), rows)}"


def _data(metadata: Mapping[str, Any]) -> str:
    source = str(metadata.get("source", ""))
    sample = SAMPLES.get(source.removeprefix(SAMPLE)) if source.startswith(SAMPLE) else None
    series, said = metadata.get("series", []), metadata.get("data", {})
    rows = [("data", sample.title if sample else code(source) if source else "a frame of the user's")]
    rows += [("source", sample.source)] if sample else []
    rows += [("licence", sample.licence if sample else "not known here: whoever passes the model on states that of the data")]
    rows += [("known values", f"{said['values']:,}")] if "values" in said else []
    if series:
        start, end = min(one["start"]["utc"] for one in series), max(one["end"]["utc"] for one in series)
        rows.append(("period trained on", f"{code(start)} to {code(end)} ({len(series):,} series)"))
    rows += [("SHA-256 of all values", code(said["sha256"]))] if "sha256" in said else []
    return f"{table(('', ''), rows)}\n\nThe file holds the model, and none of the values."


def _calibration(metadata: Mapping[str, Any]) -> str:
    found = metadata.get("calibration", {})
    if not found.get("windows"):
        return ""
    rows = [(name, f"{found[key]:.4g}") for key, name in _CALIBRATION.items() if key in found]
    shares = found["coverage"].items()
    rows += [(f"coverage of central {100 * float(level):.0f} % intervals", f"{100 * share:.1f} %") for level, share in shares]
    note = f"On the {found['windows']:,} validation windows that strengths and temperature were chosen on, so they flatter the model."
    return f"{note}\n\n{table(('figure', 'value'), rows)}"


_CALIBRATION = {
    "crps": "CRPS (nine levels)",
    "crps_of_the_base_law": "CRPS of the base law alone",
    "strength": "strength of the network's correction (mean)",
    "temperature": "temperature",
    "steady_temperature": "temperature of windows that continue draws",
}


def _limits(metadata: Mapping[str, Any]) -> str:
    windows, series = metadata["recipe"]["windows"], metadata.get("series", [])
    known = max((one["end"]["utc"] for one in series), default=None)
    after = f"It knows nothing after {code(known)}" if known else "It knows nothing after its data"
    lines = [
        f"Judged on {windows['horizon']:,} steps ahead. More are drawn window by window, each path given what it holds so far; that far "
        "ahead its coverage was not measured.",
        f"{after}: a law that has changed since is one that it has not seen.",
        "Frequency and channels are those above; others are refused. A new series gets a base law of its own, which was not tested on it.",
        "Innovations are Gaussian up to what the network corrects: extremes beyond those of the training period may be too rare.",
        "Relations between different series are not modelled, only those between channels of one system.",
        "Coverage of its intervals is an average over windows: in quiet and in wild times it can be off in either direction.",
    ]
    return "\n".join(f"- {line}" for line in lines)


USES = """- Forecasts with their uncertainty, gaps filled many times over, and scenarios for planning, after a backtest on one's own data.
- Research: a baseline beside other probabilistic forecasters."""

MISUSES = """- Trading, or any decision that cannot bear a wrong forecast, by these paths alone.
- What would happen if something were changed: it knows how series run, not why.
- Filled or simulated values passed on as measured ones."""


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(code(name) for name in names[:_LISTED])
    return f"{len(names):,}: {shown}{', …' if len(names) > _LISTED else ''}" if names else "unknown"
