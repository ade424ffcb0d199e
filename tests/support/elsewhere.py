"""A device that is not there: tensors that say they are elsewhere, and compute here. What CUDA would refuse they refuse.

A tensor that was left behind on the CPU is found without a GPU: inside :func:`elsewhere`, the device that it yields takes tensors and
modules (``.to(device)``, ``device=device``), their values are computed by the CPU's own kernels, so results are equal to the bit, and an
operation on tensors of both places raises, as does ``.numpy()`` without ``.cpu()``. As on CUDA, a number (a tensor without dimensions) may
come from the CPU, and so may indices. (The device's name is ``meta``, which needs no driver; :class:`Elsewhere` puts the values back.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

aten: Any = torch.ops.aten
DEVICE = torch.device("meta")
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._unsafe_index.Tensor}
JOINED = {aten.cat.default, aten.stack.default}


class Elsewhere(Tensor):
    """A tensor of another device; ``here`` holds its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        where = {"strides": here.stride(), "storage_offset": here.storage_offset(), "device": DEVICE}
        made: Any = torch.Tensor._make_wrapper_subclass(cls, here.shape, dtype=here.dtype, layout=here.layout, **where)
        made.here = here
        return made

    def __repr__(self, **options: Any) -> str:
        return f"Elsewhere({self.here})"

    def tolist(self) -> Any:
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, Elsewhere)]
    _check(func, args, tensors, bool(there))
    asked = kwargs.get("device")
    goes = bool(there) if asked is None else torch.device(asked) == DEVICE
    if func is aten.copy_.default:
        goes = isinstance(args[0], Elsewhere)
    inner = {**tree_map_only(Elsewhere, lambda one: one.here, kwargs), **({} if asked is None else {"device": torch.device("cpu")})}
    found = func(*tree_map_only(Elsewhere, lambda one: one.here, args), **inner)
    if not goes:
        return found
    return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, Elsewhere, found))


def _check(func: Any, args: Any, tensors: list[Tensor], mixed: bool) -> None:
    if any(one.is_meta and not isinstance(one, Elsewhere) for one in tensors):
        raise RuntimeError(f"{func}: a tensor was made elsewhere without its values")
    if not mixed or func in COPIES:
        return
    left = [one for one in tensors if not isinstance(one, Elsewhere) and (one.ndim or func in JOINED)]
    if func in INDEXED and isinstance(args[0], Elsewhere):
        left = [one for one in left if not any(one is index for index in args[1])]
    if left:
        shapes = [(tuple(one.shape), "elsewhere" if isinstance(one, Elsewhere) else "here") for one in tensors]
        raise RuntimeError(f"{func}: expected all tensors to be on one device, found {shapes}")


class _Mode(TorchDispatchMode):
    """Of what is made; counts operations by name, here and elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.here: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = any(isinstance(one, Elsewhere) for one in tree_flatten((args, kwargs))[0])
        (self.elsewhere if there else self.here)[func.overloadpacket.__name__] += 1
        return _dispatch(func, args, kwargs or {})


class _Values(TorchFunctionMode):
    """torch.tensor(values, device=elsewhere), and an index that is a list, keep their values, which for ``meta`` they would forget."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and options.get("device") is not None and torch.device(options["device"]) == DEVICE:
            return func(*args, **{**options, "device": "cpu"}).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        return func(*args, **options)


@contextmanager
def elsewhere() -> Iterator[tuple[torch.device, _Mode]]:
    """The device, and counts of the operations on it; see the module."""
    before, autocast = torch.__future__.get_overwrite_module_params_on_conversion(), torch.autocast
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter becomes one of the other kind

    def known(device_type: str, *arguments: Any, **options: Any) -> Any:
        return autocast("cpu" if device_type == DEVICE.type else device_type, *arguments, **options)

    torch.autocast = known  # type: ignore[misc,assignment] - which knows devices by their names
    try:
        with _Mode() as mode, _Values():
            yield DEVICE, mode
    finally:
        torch.autocast = autocast  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def returned(value: Tensor) -> Tensor:
    """The values on the CPU."""
    return value.here if isinstance(value, Elsewhere) else value
