"""Typed configuration: a YAML file and ``KEY=VALUE`` overrides become one frozen, checked object.

A file holds values only. It never names code: components are chosen by their name in a :class:`Registry`, and a key such
as ``_target_`` is an unknown key like any other. Every error of a file is reported at once, each with its line, the
offending value and, where one is near, the key that was probably meant.

    >>> class Recipe(Config):
    ...     steps: int = 100
    >>> load_config(Recipe, "recipe.yaml", ["steps=200"])  # doctest: +SKIP
"""

from __future__ import annotations

from scidiff.config.errors import ConfigError, Problem
from scidiff.config.model import Config, Scalar, flatten, load_config, read_config, to_yaml, validate
from scidiff.config.reader import Document, apply_overrides, read_yaml
from scidiff.config.registry import Registry

__all__ = [
    "Config",
    "ConfigError",
    "Document",
    "Problem",
    "Registry",
    "Scalar",
    "apply_overrides",
    "flatten",
    "load_config",
    "read_config",
    "read_yaml",
    "to_yaml",
    "validate",
]
