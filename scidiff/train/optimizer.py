"""A ``torch.optim`` optimiser's state as named tensors and JSON, and back, to the bit and without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer

from scidiff.train.weights import CheckpointError

__all__ = ["flatten_optimizer", "restore_optimizer"]


def flatten_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """``(tensors, state)``: tensors named ``state.<parameter>.<name>`` and ``group.<group>.<name>``; the rest JSON-able.

    Raises :class:`~scidiff.train.weights.CheckpointError` for state that is neither a tensor nor plain (LBFGS's lists of tensors).
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}

    def split(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{name}"] = value.detach().clone()
            elif _holds_tensor(value):
                kind = type(optimizer).__name__
                raise CheckpointError(f"{kind}: the state {name!r} is a container of tensors: this optimiser cannot be saved")
            else:
                plain[name] = value
        return plain

    state = {str(index): split(values, f"state.{index}") for index, values in whole["state"].items()}
    groups = [split(group, f"group.{index}") for index, group in enumerate(whole["param_groups"])]
    return tensors, {"state": state, "groups": groups, "shapes": _shapes(optimizer)}


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Put back what :func:`flatten_optimizer` gave, into an optimiser over the same parameters in the same groups.

    Every tensor keeps its dtype (``load_state_dict`` alone would cast it to the parameter's). Raises
    :class:`~scidiff.train.weights.CheckpointError` when the groups, the parameters or their shapes differ.
    """
    _require_same_shapes(optimizer, state)
    states: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in state["state"].items()}
    groups: list[dict[str, Any]] = [dict(group) for group in state["groups"]]
    for name, tensor in tensors.items():
        kind, index, key = name.split(".", 2)
        holder = states.setdefault(int(index), {}) if kind == "state" else groups[int(index)]
        holder[key] = tensor.clone()
    for group, current in zip(groups, optimizer.param_groups, strict=True):
        for key in [key for key, value in current.items() if isinstance(value, tuple) and key in group]:
            group[key] = tuple(group[key])  # JSON made a list of it
    optimizer.load_state_dict({"state": {index: dict(values) for index, values in states.items()}, "param_groups": groups})
    for index, parameter in enumerate(_parameters(optimizer)):
        loaded = cast("dict[str, Any]", optimizer.state[parameter]) if index in states else {}
        for key, value in loaded.items():
            if isinstance(value, Tensor):
                loaded[key] = cast("Tensor", states[index][key]).to(value.device)


def _require_same_shapes(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    stored, here = state["shapes"], _shapes(optimizer)
    if stored != here:
        where = "their number" if list(map(len, stored)) != list(map(len, here)) else "a shape"
        raise CheckpointError(f"the optimiser's parameters differ from the checkpoint's in {where}: the model or the recipe has changed")


def _shapes(optimizer: Optimizer) -> list[list[list[int]]]:
    return [[list(parameter.shape) for parameter in group["params"]] for group in optimizer.param_groups]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in cast("list[Tensor]", group["params"])]


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Mapping):
        return any(map(_holds_tensor, cast("Mapping[Any, Any]", value).values()))
    return isinstance(value, list | tuple) and any(map(_holds_tensor, cast("list[Any]", value)))
