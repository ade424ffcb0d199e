"""Model cards: made from what is known of a model, beside every file of weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from scidiff.card import CardSection, RunFacts, card_path, code, table
from scidiff.cli import app
from scidiff.domain import load_domain
from scidiff.train.card import make_card, write_card
from scidiff.train.weights import load_weights, save_weights, weights_sha256

DOCS = Path(__file__).parents[2] / "docs"
SHIPPED = [(model, name) for name in ("molecules", "timeseries") for model in load_domain(name).models()]
HOSTILE = "x`|\n# <script>alert(1)</script>\u202e"


@pytest.mark.parametrize(("model", "domain"), SHIPPED, ids=lambda value: getattr(value, "name", value))
def test_the_card_of_a_shipped_model_is_what_its_weights_and_the_docs_say(model: Any, domain: str) -> None:
    card = card_path(model.path).read_text(encoding="utf-8")
    assert card == make_card(model.path, load_domain(domain)), f"scidiff models card {model.name} --write"
    for title in ("What it does", "Data", "Recipe", "Measured", "Limits", "Intended use", "Not for", "How it was made"):
        assert f"\n## {title}\n" in card
    assert weights_sha256(load_weights(model.path)[0]) in card
    assert "licence" in card
    published = {line for page in ("results.md", "timeseries.md") for line in _rows((DOCS / page).read_text())}
    measured = card.partition("\n## Measured\n")[2].partition("\nMeasured by ")[0]
    rows = _rows(measured)[2:]
    assert len(rows) >= 4
    assert [row for row in rows if row not in published] == []
    assert sum(any("[" in cell for cell in row) for row in rows) >= 4  # with their intervals


def _rows(text: str) -> list[tuple[str, ...]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip().replace("**", "") for cell in line.strip("|").split("|")) for line in lines]


def test_other_weights_of_the_same_name_do_not_get_the_shipped_ones_figures(tmp_path: Path) -> None:
    model = next(model for model, _ in SHIPPED if model.name == "qm9")
    tensors, metadata = load_weights(model.path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1e-3
    save_weights(tmp_path / "qm9.safetensors", tensors, metadata)
    card = make_card(tmp_path / "qm9.safetensors", load_domain("molecules"))
    assert "## Limits" in card
    assert "94.1 [92.5, 95.4]" not in card


def test_the_hash_of_weights_is_of_names_shapes_dtypes_and_bits_alone(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(1, dtype=torch.int64)}
    digest = weights_sha256(tensors)
    assert digest == weights_sha256(dict(reversed(tensors.items())))
    assert digest == weights_sha256({**tensors, "b": tensors["b"].T.contiguous().T})  # the same values, other strides
    save_weights(tmp_path / "w.safetensors", tensors, {"seconds": 3})
    assert digest == weights_sha256(load_weights(tmp_path / "w.safetensors")[0])
    changed = tensors["b"].clone()
    changed[1, 2] = torch.nextafter(changed[1, 2], torch.tensor(9.0))
    others = [{**tensors, "b": changed}, {**tensors, "b": tensors["b"].reshape(3, 2)}, {**tensors, "b": tensors["b"].double()}]
    others += [{"b": tensors["b"]}, {"c": tensors["b"], "a": tensors["a"]}, {**tensors, "b": tensors["b"].view(torch.int32)}]
    assert len({digest, *map(weights_sha256, others)}) == len(others) + 1


class Plain:
    """A third party's domain, which says nothing of its models."""

    def recipe(self) -> Any:
        from scidiff.config import Config

        class Recipe(Config):
            train: int = 0
            other: int = 0

        return Recipe


class Telling(Plain):
    def card(self, metadata: Any, weights_sha256: str) -> list[CardSection]:
        return [CardSection("Limits", f"channel {code(metadata['channel'])}\n\n{table(('name',), [(code(metadata['channel']),)])}")]


def _weights(folder: Path, **metadata: Any) -> Path:
    path = folder / "weights.safetensors"
    save_weights(path, {"w": torch.ones(3)}, {"domain": "toys", "name": HOSTILE, "train": {"steps": 2}, **metadata})
    return path


def test_a_domain_that_says_nothing_gets_a_card_with_what_the_file_says(tmp_path: Path) -> None:
    card = make_card(_weights(tmp_path), Plain())
    assert re.findall("^## (.*)$", card, re.MULTILINE) == ["Recipe", "How it was made"]
    assert "train: {steps: 2}" in card
    assert "other" not in card


def test_nothing_that_a_user_wrote_is_markup(tmp_path: Path) -> None:
    run = RunFacts(HOSTILE, {"scidiff.command": HOSTILE, "data.name": HOSTILE}, {f"valid/{HOSTILE}": (1.0, 2)})
    card = make_card(_weights(tmp_path, channel=HOSTILE), Telling(), run)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", card, flags=re.DOTALL)  # what stands in no code span or block
    assert "<script>" not in outside
    assert "script" in card
    assert "\n# <" not in card
    assert "\u202e" not in card
    for line in card.splitlines():  # every row of a table has as many cells as its head
        if line.startswith("| ---"):
            columns = len(re.findall(r"(?<!\\)\|", line))
        elif line.startswith("|") and "columns" in locals():
            assert len(re.findall(r"(?<!\\)\|", line)) in (columns, 2, 3, 5)


def test_a_runs_figures_come_with_their_intervals_and_steps(tmp_path: Path) -> None:
    metrics = {"sample/a": (0.5, 40), "sample/a_low": (0.4, 40), "sample/a_high": (0.6, 40)}
    metrics |= {"valid/loss": (1.25, 30), "train/loss": (7.0, 40)}
    digest = weights_sha256({"w": torch.ones(3)})
    tags = {"version.torch": "2.0", "mlflow.source.git.commit": "abc", "scidiff.git.dirty": "true", "scidiff.weights.sha256": digest}
    card = make_card(_weights(tmp_path), Plain(), RunFacts("first", tags, metrics))
    assert "| `sample/a` | 0.5 | 0.4 to 0.6 | 40 |" in card
    assert "| `valid/loss` | 1.25 | – | 30 |" in card
    assert "train/loss" not in card
    assert "`torch 2.0`" in card
    assert "`abc`, with changes that no commit holds" in card
    assert "warning" not in card
    altered = make_card(_weights(tmp_path), Plain(), RunFacts("first", {**tags, "scidiff.weights.sha256": "0"}, metrics))
    assert "the run recorded other weights than these" in altered


def test_a_card_that_cannot_be_written_costs_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _weights(tmp_path)
    card_path(path).mkdir()
    assert write_card(path, load_domain("molecules")) is None
    assert "no model card was written" in caplog.text
    assert load_weights(path)[0]["w"].tolist() == [1, 1, 1]


def test_a_forecaster_is_saved_with_its_card(tmp_path: Path) -> None:
    import numpy as np
    import pandas as pd

    from scidiff_timeseries.forecaster import Forecaster

    y = np.random.default_rng(0).normal(size=80).cumsum()
    df = pd.DataFrame({"unique_id": "<b>shop</b>", "ds": pd.date_range("2024-01-01", periods=80), "y": y})
    Forecaster(horizon=5, steps=0).fit(df).save(tmp_path / "model.safetensors")
    card = (tmp_path / "model.card.md").read_text()
    assert card.startswith("# Model card: model\n")
    assert "1: `<b>shop</b>`" in card
    assert "without a network" in card
    assert "`2024-01-01T00:00:00` to `2024-03-20T00:00:00` (1 series)" in card
    shown = CliRunner().invoke(app, ["models", "card", str(tmp_path / "model.safetensors")])
    assert (shown.exit_code, shown.stdout) == (0, card)


def test_the_command_writes_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = next(model for model, _ in SHIPPED if model.name == "treasury")
    (tmp_path / "mine.safetensors").write_bytes(model.path.read_bytes())
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["models", "card", "mine.safetensors"])
    assert CliRunner().invoke(app, ["models", "card", "mine.safetensors", "--write"]).stdout == "card: mine.card.md\n"
    assert (tmp_path / "mine.card.md").read_text() == shown.stdout
    wrong = CliRunner().invoke(app, ["models", "card", "treasry"], prog_name="scidiff")
    assert wrong.exit_code == 2
    assert "did you mean 'treasury'?" in wrong.stderr
