"""What each domain's service takes and answers: hostile row 16 (too many, none, negative), and the same bits whoever asks and when."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from scidiff.domain import service_of
from scidiff.errors import UserError
from scidiff.serving.answers import answer_all
from scidiff_molecules.service import MoleculeService
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.service import TimeSeriesService


@pytest.fixture(scope="module")
def molecules() -> MoleculeService:
    from scidiff_molecules.registry import find_model

    return MoleculeService.load(find_model("qm9"))


@pytest.fixture(scope="module")
def series() -> TimeSeriesService:
    from scidiff_timeseries.registry import find_model

    return TimeSeriesService.load(find_model("stations"))


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """A year of one station that the model knows."""
    from scidiff_timeseries.samples import load_sample

    frame = load_sample("stations")
    return frame[frame["unique_id"] == "rennes"].tail(365).reset_index(drop=True)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.assign(ds=frame["ds"].astype(str)).to_json(orient="records"))


def rows(service: Any, **asked: Any) -> list[dict[str, Any]]:
    return list(service.answer(service.request_type()(**asked)).rows)


def test_row_16_of_molecules(molecules: MoleculeService) -> None:
    _row_16(
        molecules,
        [{"n": 10**9}, {"n": -1}, {"n": 0}, {"steps": 0}, {"steps": -3}, {"atoms": 0}, {"seed": -1}, {"n": 2.5}, {"n": "1e400"}, {"m": 1}],
        [
            ({"n": 1000, "steps": 250}, r"4.05 times what one answer may cost \(5,000,000 network calls x pairs of atoms\)"),
            ({"atoms": 37}, "atoms = 37: this model was trained on up to 9; ask for 1 to 36"),
            ({"atoms": 1000, "n": 1000}, "atoms = 1000"),
            ({"atoms": 36, "n": 1000}, "7.78 times what one answer may cost"),
        ],
    )


def test_row_16_of_series(series: TimeSeriesService, history: pd.DataFrame) -> None:
    given = records(history)
    far = [{**given[0], "ds": "1678-01-01"}, {**given[1], "ds": "2261-01-01"}]
    _row_16(
        series,
        [
            {"n_paths": 10**9},
            {"n_paths": -1},
            {"horizon": 0},
            {"horizon": 10**7},
            {"calls": 0},
            {"calls": 10**6},
            {"quantiles": [1.5]},
            {"quantiles": [0.5] * 1000},
            {"records": given[:1] * 30_000},
            {"records": [dict.fromkeys(map(str, range(100)), 1.0)]},
            {"records": [{"ds": "x" * 1000}]},
            {"records": [{"tn": float("nan")}]},
            {"records": [{"tn": [1]}]},
            {"records": [{}]},
            {"action": "__reduce__"},
            {"path": "../../etc/passwd"},
        ],
        [
            ({"records": given, "n_paths": 1000, "horizon": 5000}, r"60 times what one answer may hold .*ask for fewer paths"),
            ({"action": "simulate", "n_paths": 1000, "horizon": 5000}, "240 times what one answer may hold"),
            ({"action": "impute", "records": far}, "the steps they skip; the limit is 500,000"),
            ({"records": [{**row, "unique_id": str(number)} for number, row in enumerate(given * 50)]}, "18,250 series; the limit is 500"),
            ({"records": [{**row, "unique_id": str(number)} for number, row in enumerate(given)]}, "times what one answer may hold"),
            ({"records": [*given, {**given[-1], "ds": "9999-12-31"}]}, "the limit is"),
            ({"records": [{"ds": 3, "unique_id": "rennes", "tn": 1.0, "tx": 1.0, "rr": 1.0}]}, "not time stamps"),
            ({"records": [{**given[0], "tn": 10**400}]}, "'tn' is not numeric"),
            ({}, "forecast: records are needed"),
            ({"action": "simulate", "records": given}, "simulate: records has no meaning here"),
            ({"records": given, "start": "2020-01-01"}, "forecast: start has no meaning here"),
            ({"records": given, "future": [{"ds": "2025-01-01", "wind": 3}]}, "no known-future covariates"),
            ({"action": "simulate", "id": "atlantis", "horizon": 2}, "no series 'atlantis'; known: dinard"),
            ({"action": "simulate", "start": "someday", "horizon": 2}, "start = 'someday' is no date or time"),
        ],
    )


def _row_16(service: Any, out_of_bounds: list[dict[str, Any]], too_much: list[tuple[dict[str, Any], str]]) -> None:
    """Each is refused before anything is computed, with the limit, and the memory of the process stays where it was."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for asked in out_of_bounds:
        with pytest.raises(ValidationError):
            service.request_type()(**asked)
    for asked, message in too_much:
        with pytest.raises(UserError, match=message):
            rows(service, **asked)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200


def test_molecules_are_those_of_the_generator_and_any_can_be_asked_for_alone(molecules: MoleculeService) -> None:
    from rdkit import Chem

    found = rows(molecules, n=4, seed=3, steps=2)
    made = list(molecules.generator.stream(4, seed=3, steps=2))
    assert [(row["id"], row["smiles"]) for row in found] == [(one.id, one.smiles) for one in made]
    for row, one in zip(found, made, strict=True):
        assert row["status"] == one.mol.GetProp("scidiff_status")
        read = Chem.MolFromMolBlock(row["molblock"], sanitize=False, removeHs=False)
        assert read.GetNumAtoms() == one.mol.GetNumAtoms()
    assert rows(molecules, n=1, first=2, seed=3, steps=2) == [found[2]]
    assert rows(molecules, n=1, atoms=4, steps=2, seed=3)[0]["molblock"] != found[0]["molblock"]


def test_series_are_those_of_the_forecaster(series: TimeSeriesService, history: pd.DataFrame) -> None:
    ours: Forecaster = series.forecaster
    given = history.copy()
    given.loc[100:103, "tn"] = float("nan")
    asked: dict[str, Any] = {"records": records(given), "n_paths": 3, "seed": 2}
    found = {
        "forecast": (rows(series, horizon=4, **asked), ours.predict(4, 3, df=given, seed=2)),
        "impute": (rows(series, action="impute", **asked), ours.impute(given, 3, seed=2)),
        "simulate": (rows(series, action="simulate", id="rennes", horizon=4, n_paths=3, seed=2), ours.simulate(3, 4, id="rennes", seed=2)),
        "quantiles": (rows(series, horizon=4, quantiles=[0.1, 0.9], **asked), ours.predict(4, 3, df=given, seed=2).quantiles([0.1, 0.9])),
    }
    for answered, expected in found.values():
        frame = pd.DataFrame(answered)
        frame["ds"] = pd.to_datetime(frame["ds"])
        pd.testing.assert_frame_equal(frame, pd.DataFrame(expected), check_exact=True, check_dtype=False, check_index_type=False)
    assert json.loads(json.dumps(found["impute"][0], allow_nan=False)) == found["impute"][0]


def test_what_is_asked_of_molecules_is_read_as_by_the_command_and_opens_no_file(molecules: MoleculeService, tmp_path: Path) -> None:
    """The shipped model knows no target; what it refuses shows that the request reached it."""
    fragment = tmp_path / "fragment.sdf"
    fragment.write_text("secret")
    for asked, message in (
        ({"targets": ["gap=5.5"]}, "not trained on it"),
        ({"targets": ["gap"]}, "NAME=VALUE"),
        ({"guidance": 2.0}, "none is given"),
        ({"scaffold": "CBr"}, "atom 2 is Br"),
        ({"scaffold": str(fragment)}, "cannot read this SMILES"),
        ({"scaffold": "../../etc/passwd"}, "cannot read this SMILES"),
    ):
        with pytest.raises(UserError, match=message):
            molecules.answer(molecules.request_type().model_validate(asked))


@pytest.mark.parametrize("domain", ["molecules", "timeseries"])
def test_two_at_once_get_the_bits_of_one_after_the_other(
    domain: str, molecules: MoleculeService, series: TimeSeriesService, history: pd.DataFrame
) -> None:
    service: Any = molecules if domain == "molecules" else series
    asked = [{"n": 2, "seed": seed, "steps": 2} for seed in range(3)]
    if domain == "timeseries":
        asked = [{"records": records(history), "n_paths": 3, "horizon": 3, "seed": seed} for seed in range(3)]
    alone = [rows(service, **one) for one in asked]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda one: rows(service, **one), asked))
    assert together == alone
    assert alone[0] != alone[1]


def test_costs_add_up_over_a_call(molecules: MoleculeService) -> None:
    request = molecules.request_type()(n=100, steps=250)
    cost = molecules.answer(request).cost
    assert 0.3 < cost < 0.5
    assert [answer.cost for answer in answer_all(molecules, [request] * 2)] == [cost] * 2
    with pytest.raises(UserError, match=r"these 3 requests cost 1.2\d* times what one call may"):
        answer_all(molecules, [request] * 3)
    with pytest.raises(UserError, match="65 requests; from 1 to 64"):
        answer_all(molecules, [request] * 65)


def test_a_judge_of_properties_is_not_served_as_a_generator() -> None:
    from scidiff_molecules.registry import find_model

    with pytest.raises(UserError, match="predicts properties and generates nothing"):
        service_of("molecules").load(find_model("qm9_judge"))


def test_a_service_takes_its_own_weights_alone() -> None:
    for mine, other in (("molecules", "timeseries"), ("timeseries", "molecules")):
        from scidiff.domain import load_domain

        path = load_domain(other).models()[0].path
        with pytest.raises(UserError, match=rf"not a .* model \(domain '{other}'\)"):
            service_of(mine).load(path)
