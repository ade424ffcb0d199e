"""Rows 5 to 7: configurations, through ``scidiff train``, in both domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hostile import Run, alias_bomb
from support.training import RECIPE, SERIES, TRAIN

RECIPES: dict[str, dict[str, Any]] = {"molecules": {**RECIPE, "train": TRAIN}, "timeseries": SERIES}
DOMAINS = list(RECIPES)


def told(scidiff: Run, text: str, *overrides: str) -> str:
    """What ``scidiff train`` says of a configuration that it refuses; nothing is made."""
    Path("config.yaml").write_text(text)
    done = scidiff("train", "config.yaml", *overrides, "--tracking-uri", "off")
    assert done.exit_code == 2, done.output
    assert [path.name for path in Path().iterdir()] == ["config.yaml"]
    return done.stderr


def yaml_of(domain: str, **changes: Any) -> str:
    """One key a line, so that lines can be told."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in {**RECIPES[domain], **changes}.items())


@pytest.mark.parametrize("domain", DOMAINS)
def test_row_05_a_target_is_a_schema_error_with_its_line(scidiff: Run, domain: str) -> None:
    text = yaml_of(domain) + "_target_: os.system\nargs: [touch executed]\n"
    line = text.splitlines().index("_target_: os.system") + 1
    said = told(scidiff, text)
    assert f"line {line}: _target_: unknown key, with the value 'os.system'" in said
    assert f"line {line + 1}: args: unknown key" in said
    nested = yaml_of(domain, backbone={"_target_": "os.system"})
    line = next(number for number, row in enumerate(nested.splitlines(), 1) if row.startswith("backbone"))
    assert f"line {line}: backbone._target_: unknown key" in told(scidiff, nested)
    assert "override 'train._target_=os.system': train._target_: unknown key" in told(scidiff, yaml_of(domain), "train._target_=os.system")
    assert "line 1" in told(scidiff, "domain: !!python/object/apply:os.system ['touch executed']\n")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("typo", "meant"), [("n_stpes", "steps"), ("learning_rat", "learning_rate"), ("bach_size", "batch_size")])
def test_row_06_a_typo_is_told_with_the_nearest_known_key(scidiff: Run, domain: str, typo: str, meant: str) -> None:
    said = told(scidiff, yaml_of(domain, train={typo: 3}))
    assert f"train.{typo}: unknown key, with the value 3; did you mean {meant!r}?" in said
    assert f"did you mean {meant!r}?" in told(scidiff, yaml_of(domain), f"train.{typo}=3")


def test_row_06_a_typo_in_the_domain_is_told(scidiff: Run) -> None:
    assert "unknown domain 'molecule'; did you mean 'molecules'?" in told(scidiff, "domain: molecule\n")


@pytest.mark.parametrize("domain", DOMAINS)
def test_row_07_an_alias_bomb_is_refused_at_its_first_anchor(scidiff: Run, domain: str) -> None:
    """(That memory stays flat is measured in test_requests.)"""
    said = told(scidiff, yaml_of(domain) + alias_bomb())
    assert f"line {len(RECIPES[domain]) + 1}: anchors and aliases are not allowed in a configuration" in said
    assert "nested deeper than" in told(scidiff, yaml_of(domain) + "a: " + "[" * 5000 + "]" * 5000 + "\n")
