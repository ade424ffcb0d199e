"""Tensors in one file: safetensors, with a SHA-256 over everything that the file says.

The header's ``__metadata__`` holds one entry, ``scidiff``: JSON with ``metadata`` (the caller's) and ``sha256``, the hash
over that metadata and, in the order of their names, every tensor's name, dtype, shape and bytes. A flipped bit anywhere is
therefore seen. Reading executes nothing: pickles are refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as decode_safetensors
from safetensors.torch import save as encode_safetensors
from torch import Tensor

from scidiff.errors import UserError
from scidiff.files import atomic_write, clear_left, remedy

__all__ = ["CheckpointError", "decode", "encode", "load_weights", "require_finite", "save_weights", "weights_sha256"]

PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".npy", ".npz", ".joblib"}
PICKLE_STARTS = {b"\x80": "a pickle", b"PK\x03\x04": "a zip archive, as torch.save writes it", b"\x93NUMPY": "a numpy file"}
KEY = "scidiff"


class CheckpointError(UserError):
    """A file of tensors that cannot be written, read or trusted; the message names the file, the reason and the remedy."""


def save_weights(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write named tensors and JSON-able ``metadata`` to ``path`` (``*.safetensors``), atomically; one process at a time.

    Any device, any strides; what is read back is equal to the bit. Raises :class:`CheckpointError` for a tensor that is not
    finite, metadata that JSON would change (a tuple is taken as a list), or a disk that does not take the file.
    """
    require_finite(str(path), tensors)
    content = encode(tensors, metadata or {})
    try:
        clear_left(path)
        atomic_write(path, content)
    except OSError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}: {remedy(error)}") from error


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_weights` wrote: ``(tensors, metadata)``, on the CPU.

    Raises :class:`CheckpointError` naming the file for: a file that is absent, a pickle, truncated or altered content,
    or a tensor that holds NaN or infinity.
    """
    path = Path(path)
    if path.suffix.lower() in PICKLES:
        raise CheckpointError(f"{path}: files ending in {path.suffix} may hold a pickle, which can run code: {REMEDY}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    tensors, metadata = decode(str(path), content)
    require_finite(str(path), tensors)
    return tensors, metadata


REMEDY = "convert it to safetensors where it was made, with save_weights(path, model.state_dict())"


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The content of a file with these tensors and this metadata; the same input gives the same bytes."""
    plain = _plain(metadata, "metadata")
    packed = {name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    header = {KEY: json.dumps({"sha256": _digest(packed, _canonical(plain)), "metadata": plain})}
    try:
        return encode_safetensors(packed, header)
    except (SafetensorError, KeyError, ValueError) as error:
        dtypes = sorted({str(tensor.dtype) for tensor in packed.values()})
        raise CheckpointError(f"tensors of {dtypes} cannot be written as safetensors ({error})") from error


def decode(source: str, content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata in ``content``, checked against its hash; ``source`` is what errors name."""
    try:
        tensors = decode_safetensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError, KeyError, AssertionError) as error:
        for start, kind in PICKLE_STARTS.items():
            if content.startswith(start) and content[8:9] != b"{":  # the length before a header of JSON may look like a start
                raise CheckpointError(f"{source}: this is {kind}, which can run code, not safetensors: {REMEDY}") from error
        reason = f"truncated, altered, or no safetensors file ({error})"
        raise CheckpointError(f"{source}: {reason}: fetch it again, or use an earlier one") from error
    stored = _stored(source, header)
    if stored["sha256"] != _digest(tensors, _canonical(stored["metadata"])):
        raise CheckpointError(f"{source}: its content does not match its SHA-256: fetch it again, or use an earlier one")
    return tensors, stored["metadata"]


def _stored(source: str, header: Any) -> dict[str, Any]:
    try:
        stored = json.loads(header["__metadata__"][KEY])
        if isinstance(stored["metadata"], dict) and isinstance(stored["sha256"], str):
            return cast("dict[str, Any]", stored)
    except (KeyError, TypeError, json.JSONDecodeError):
        pass
    raise CheckpointError(f"{source}: safetensors without the SHA-256 that save_weights writes: write it again with save_weights")


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over every tensor's name, dtype, shape and bytes, in the order of their names: equal if and only if all weights are.

    A file's own hash will not do: files also say how many seconds their training took.
    """
    return _digest(tensors, b"")


def _digest(tensors: Mapping[str, Tensor], before: bytes) -> str:
    digest = hashlib.sha256(before)
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _canonical(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, sort_keys=True).encode()


def require_finite(source: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises :class:`CheckpointError` naming ``source`` and the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            raise CheckpointError(f"{source}: the tensor {name!r} holds {count} values that are NaN or infinite: it cannot be used")


def _plain(value: Any, place: str) -> Any:
    """The value as JSON gives it back, or an error that names the place of what JSON would change."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(cast("list[Any]", value))]
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        wrong = [key for key in items if not isinstance(key, str)]
        if wrong:
            raise CheckpointError(f"{place}: the key {wrong[0]!r} is not a string: JSON would change it")
        return {key: _plain(item, f"{place}.{key}") for key, item in items.items()}
    raise CheckpointError(f"{place}: {type(value).__name__} is not JSON: tensors go with the tensors, the rest as numbers and words")
