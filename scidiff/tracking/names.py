"""Names and values as MLflow takes them: its limits, so that one long name never costs a batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["metric_name", "param_values", "relative_path", "tag_values"]

MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 5000
NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_\-. :/]")


def metric_name(name: str) -> str:
    """The nearest name that MLflow allows: alphanumerics and ``_ - . space : /``, as a plain relative path, 250 characters.

    Anything else becomes ``_``; empty, ``.`` and ``..`` parts of the path go. The same name comes out when applied twice.
    """
    parts = [part for part in NOT_ALLOWED.sub("_", name)[:MAX_NAME].split("/") if part not in {"", ".", ".."}]
    return "/".join(parts) or "unnamed"


def relative_path(name: str) -> str:
    """A file name under the run's folder: as a metric's name, so that it can leave no folder."""
    return metric_name(name.replace("\\", "/"))


def param_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them: allowed names, values as text, cut at 6000 characters."""
    return {metric_name(name): _cut(str(value), MAX_PARAM) for name, value in values.items()}


def tag_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow keeps them: allowed names, values as text, cut at 5000 characters."""
    return {metric_name(name): _cut(str(value), MAX_TAG) for name, value in values.items()}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
