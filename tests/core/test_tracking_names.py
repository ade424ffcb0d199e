"""Names and values as MLflow takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scidiff.tracking import metric_name
from scidiff.tracking.names import MAX_NAME, param_values


@given(st.text(max_size=300))
def test_metric_names_are_made_allowed_and_allowed_ones_are_kept(name: str) -> None:
    made = metric_name(name)
    assert metric_name(made) == made
    assert 0 < len(made) <= MAX_NAME
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-. :/")
    assert not {"", ".", ".."} & set(made.split("/"))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("train/loss", "train/loss"),
        ("nats per atom: C", "nats per atom: C"),
        ("loss (nats)", "loss _nats_"),
        ("../a//b", "a/b"),
        ("σ", "_"),
        ("", "unnamed"),
        ("/", "unnamed"),
    ],
)
def test_metric_names_by_hand(name: str, made: str) -> None:
    assert metric_name(name) == made


def test_long_values_are_cut() -> None:
    assert param_values({"a": "x" * 7000})["a"] == "x" * 5997 + "..."
