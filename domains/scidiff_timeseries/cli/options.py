"""Options that several commands share: how the data are laid out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scidiff.cli.options import MODEL
from scidiff.errors import UserError
from scidiff_timeseries.cli.words import in_words_of

PATHS, STEPS = 100_000, 20_000
"""Limits of :class:`~scidiff_timeseries.forecaster.Forecaster`, said before anything heavy is imported."""
DATA = "A CSV file, or a shipped sample: sample:treasury, sample:stations, sample:co2."
PANEL = "How the data are laid out"
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA, show_default=False)]
Model = Annotated[str, typer.Option(help=MODEL)]
Number = Annotated[int, typer.Option("-n", "--number", min=1, max=PATHS, help="How many sample paths.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63, help="Paths are a function of the model, the data, the seed and their number alone.")]
Calls = Annotated[int | None, typer.Option(min=1, max=256, help="Network calls a forecast (default: the model's own).")]


@dataclass(frozen=True)
class Given:
    """What the command line says of the data: options of :func:`~scidiff_timeseries.panel.read_frame`, and of the file."""

    frame: dict[str, Any] = field(default_factory=dict[str, Any])
    csv: dict[str, Any] = field(default_factory=dict[str, Any])


def _about(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=PANEL)


def _given(
    time: Annotated[str | None, _about("Column of time stamps (default: ds).")] = None,
    target: Annotated[list[str] | None, _about("Column of values; repeat it for several (default: all other columns).")] = None,
    id: Annotated[str | None, _about("Column of series' ids (default: unique_id, if there is one).")] = None,  # noqa: A002
    future: Annotated[list[str] | None, _about("Covariate known in advance; may be repeated.")] = None,
    past: Annotated[list[str] | None, _about("Covariate known as long as the values are; may be repeated.")] = None,
    freq: Annotated[str | None, _about("Frequency, such as h, 15min, D, B, W-SUN, MS (default: inferred).")] = None,
    layout: Annotated[Literal["long", "wide"] | None, _about("A row for each series and time, or a column for each series (long).")] = None,
    multivariate: Annotated[bool | None, _about("Wide: the columns are channels of one system.", "--multivariate")] = None,
    repair: Annotated[bool | None, _about("Sort rows, drop repeated ones, move stamps to the grid.", "--repair")] = None,
    sep: Annotated[str | None, _about("What separates cells, such as ';' (default: ,).")] = None,
    decimal: Annotated[str | None, _about("Decimal mark (default: .).")] = None,
    time_format: Annotated[str | None, _about("Of stamps, such as %d.%m.%Y (default: found).")] = None,
    time_zone: Annotated[str | None, _about("Zone whose clocks the stamps show, such as Europe/Paris.")] = None,
) -> Given:
    columns = {"time": time, "targets": target, "id": id, "future": future, "past": past}
    frame: dict[str, Any] = {**columns, "freq": freq, "layout": layout, "multivariate": multivariate, "repair": repair}
    csv = {"sep": sep, "decimal": decimal, "time_format": time_format, "time_zone": time_zone}
    return Given(*({key: value for key, value in part.items() if value is not None} for part in (frame, csv)))


def with_columns(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter ``given`` becomes the options of :func:`_given`."""
    extra = inspect.signature(_given, eval_str=True).parameters
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in extra}
        command(**values, given=_given(**chosen))

    parameters = [*own, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in extra.values())]
    changed: Any = wrapper  # what typer reads
    changed.__signature__ = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters])
    changed.__annotations__ = {}
    del changed.__wrapped__
    return wrapper


def file_of(data: str) -> Path | None:
    """The file that DATA names, for messages; None for a sample."""
    from scidiff_timeseries.data import SAMPLE

    return None if data.startswith(SAMPLE) else Path(data)


def open_data(data: str, given: Given, metadata: dict[str, Any] | None = None) -> Any:
    """The :class:`~scidiff_timeseries.data.Source` of DATA; what the command line does not say is as it was when the model was fitted."""
    from scidiff_timeseries.bars import late_bar
    from scidiff_timeseries.data import SAMPLE, Source, read_file
    from scidiff_timeseries.samples import SAMPLES, load_sample

    known = metadata or {}
    path = file_of(data)
    with in_words_of(), late_bar(f"reading {data}"):
        if path is not None:
            return read_file(path, {**known.get("frame", {}), **given.frame}, {**known.get("csv", {}), **given.csv})
        if given.csv:
            raise UserError(f"{data}: {', '.join('--' + name.replace('_', '-') for name in given.csv)} are for CSV files, this is a sample")
        name = data.removeprefix(SAMPLE)
        df = load_sample(name)
        return Source(df, {**SAMPLES[name].frame, **given.frame}, {}, data)
