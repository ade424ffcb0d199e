"""Molecules in memory: PyTorch Geometric carries them, ragged and flat, and `MoleculeDataset.dense` pads batches of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from . import storage

with warnings.catch_warnings():  # importing torch-geometric scripts a class, and torch deprecates scripting
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
    from torch_geometric.data import Data, InMemoryDataset

NODE_FIELDS = ("pos", "z", "charge", "num_h")
EDGE_FIELDS = ("bond_index", "bond_order")
GRAPH_FIELDS = ("y", "index", "assigned")


class Molecule(Data):
    """One molecule of n atoms and k bonds (or a batch of them, made by PyG's loaders).

    ==============  ==================  =============================================================
    ``pos``         float32 [n, 3]      positions, Angstrom
    ``z``           int64 [n]           atomic numbers
    ``charge``      int64 [n]           formal charges, elementary charges
    ``num_h``       int64 [n]           implicit hydrogens (0 where hydrogens are explicit)
    ``bond_index``  int64 [2, k]        atoms i < j of each bond, every bond once
    ``bond_order``  int64 [k]           Kekule order: 1, 2, 3
    ``y``           float32 [1, p]      properties; names and units in ``dataset.metadata``
    ``index``       int64 [1]           the source's own number of the molecule
    ``assigned``    bool [1]            whether bonds and charges could be assigned
    ==============  ==================  =============================================================
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 0 if key == "index" else super().__inc__(key, value, *args, **kwargs)  # PyG would shift any "*index*"

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 0 if key == "index" else super().__cat_dim__(key, value, *args, **kwargs)


class MoleculeDataset(InMemoryDataset):
    """Molecules stored end to end (`Molecule` lists the fields) with offsets; items are `Molecule` objects.

    Indexing is PyG's: ``dataset[3]`` is a molecule, ``dataset[a:b]`` or ``dataset[tensor]`` a view. `select` copies,
    `dense` pads a batch without making molecule objects, `save` / `load` are safetensors files.

    Parameters
    ----------
    fields:
        the flat tensors: node fields [T, ...], ``bond_index`` [2, K] local to each molecule, ``bond_order`` [K], graph fields [M, ...].
    nodes, edges:
        int64 [M], atoms and bonds of each molecule.
    metadata:
        JSON-able facts: source, split, counts, names and units of the properties.

    Raises
    ------
    UserError
        if the fields break the promises of `Molecule` (see `storage.validate`).
    """

    def __init__(self, fields: Mapping[str, Tensor], nodes: Tensor, edges: Tensor, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        storage.validate(fields, nodes, edges)
        self.metadata: dict[str, Any] = dict(metadata or {})
        node_ptr, edge_ptr, one = _pointer(nodes), _pointer(edges), torch.arange(nodes.numel() + 1)
        self._data = Molecule(**{key: fields[key] for key in NODE_FIELDS + EDGE_FIELDS + GRAPH_FIELDS})
        self.slices = cast(
            Any,
            dict.fromkeys(NODE_FIELDS, node_ptr) | dict.fromkeys(EDGE_FIELDS, edge_ptr) | dict.fromkeys(GRAPH_FIELDS, one),
        )

    @property
    def fields(self) -> dict[str, Tensor]:
        """The flat tensors of the whole storage, whatever the view."""
        return cast("dict[str, Tensor]", self._data.to_dict())  # type: ignore[union-attr]

    @property
    def node_ptr(self) -> Tensor:
        """int64 [M + 1], first atom of each stored molecule."""
        return cast(Any, self.slices)["pos"]

    @property
    def edge_ptr(self) -> Tensor:
        """int64 [M + 1], first bond of each stored molecule."""
        return cast(Any, self.slices)["bond_order"]

    @property
    def rows(self) -> Tensor:
        """int64 [M], the stored molecule behind each item of this view."""
        return torch.as_tensor(list(self.indices()), dtype=torch.int64)

    @property
    def sizes(self) -> Tensor:
        """int64 [M], atoms per molecule."""
        return self.node_ptr.diff()[self.rows]

    def select(self, items: Tensor | Sequence[int], **metadata: Any) -> MoleculeDataset:
        """A new dataset of these items (int [B], repeats allowed), its metadata updated."""
        rows = self.rows[torch.as_tensor(items, dtype=torch.int64)]
        nodes, edges = self.node_ptr.diff()[rows], self.edge_ptr.diff()[rows]
        at_node, at_edge = ragged(self.node_ptr[rows], nodes), ragged(self.edge_ptr[rows], edges)
        fields = self.fields
        picked = {key: fields[key][at_node] for key in NODE_FIELDS} | {key: fields[key][rows] for key in GRAPH_FIELDS}
        picked |= {"bond_index": fields["bond_index"][:, at_edge], "bond_order": fields["bond_order"][at_edge]}
        return MoleculeDataset(picked, nodes, edges, self.metadata | {"molecules": rows.numel()} | metadata)

    def dense(self, items: Tensor | Sequence[int], n_max: int | None = None) -> dict[str, Tensor]:
        """Padded batch of these items (int [B]); N is ``n_max`` or the largest among them.

        Returns ``pos`` float32 [B, N, 3] (Angstrom, 0 in the padding), ``z``, ``charge``, ``num_h`` int64 [B, N], ``mask`` bool [B, N]
        and ``bonds`` int64 [B, N, N], the symmetric matrix of Kekule orders (0: no bond).

        Raises
        ------
        ValueError
            if a molecule has more than ``n_max`` atoms.
        """
        items = torch.as_tensor(items, dtype=torch.int64)
        rows = items if self._indices is None else self.rows[items]
        nodes, edges = self.node_ptr[rows + 1] - self.node_ptr[rows], self.edge_ptr[rows + 1] - self.edge_ptr[rows]
        largest = int(nodes.max()) if rows.numel() else 0
        width = largest if n_max is None else n_max
        if largest > width:
            raise ValueError(f"dense: a molecule has {largest} atoms, n_max is {width}; give n_max >= {largest} or none")
        fields, out = self.fields, {}
        at, mask = _padded(self.node_ptr[rows], nodes, width)
        for key in NODE_FIELDS:
            values = _take(fields[key], at).view(*at.shape, *fields[key].shape[1:])
            out[key] = values.masked_fill_(~mask.view(*at.shape, *[1] * (values.dim() - 2)), 0)
        at, bonded = _padded(self.edge_ptr[rows], edges, int(edges.max()) if rows.numel() else 0)
        # padded entries write order 0 at (0, 0), which is 0 anyway
        order = _take(fields["bond_order"], at).view(at.shape).masked_fill_(~bonded, 0)
        i, j = (_take(end, at).view(at.shape).masked_fill_(~bonded, 0) for end in fields["bond_index"])
        upper = order.new_zeros(rows.numel(), width * width).scatter_(1, i * width + j, order).view(-1, width, width)
        return out | {"mask": mask, "bonds": upper + upper.mT}

    def save(self, path: Path | str) -> None:
        """Write this view to a safetensors file, atomically; `load` gives it back bit for bit."""
        whole = self if self._indices is None else self.select(range(len(self)))
        storage.write(Path(path), whole.fields, whole.node_ptr.diff(), whole.edge_ptr.diff(), self.metadata)

    @classmethod
    def load(cls, path: Path | str) -> MoleculeDataset:
        """Read what `save` wrote. Nothing in the file is executed; everything is checked.

        Raises
        ------
        UserError
            if the file is missing, truncated, not of this kind, or breaks a promise of `Molecule`; it names the file and the remedy.
        """
        fields, nodes, edges, metadata = storage.read(Path(path))
        with storage.blame(Path(path)):
            return cls(fields, nodes, edges, metadata)

    @classmethod
    def concatenate(cls, parts: Sequence[MoleculeDataset], metadata: Mapping[str, Any] | None = None) -> MoleculeDataset:
        """The molecules of all ``parts``, in order."""
        dim = dict.fromkeys(NODE_FIELDS + EDGE_FIELDS + GRAPH_FIELDS, 0) | {"bond_index": 1}
        parts = [part if part._indices is None else part.select(range(len(part))) for part in parts]
        fields = {key: torch.cat([part.fields[key] for part in parts], d) for key, d in dim.items()}
        nodes, edges = (torch.cat([p.diff() for p in ptr]) for ptr in ([p.node_ptr for p in parts], [p.edge_ptr for p in parts]))
        return cls(fields, nodes, edges, metadata)


def size_histogram(dataset: MoleculeDataset) -> Tensor:
    """int64 [n_max + 1]: how many molecules have 0, 1, ..., n_max atoms."""
    return torch.bincount(dataset.sizes)


def ragged(start: Tensor, count: Tensor) -> Tensor:
    """int64 [sum(count)]: start[0], start[0]+1, ... (count[0] of them), start[1], ...: a gather over rows of unequal length."""
    offset = count.cumsum(0) - count
    return torch.repeat_interleave(start - offset, count) + torch.arange(int(count.sum()))


def _pointer(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _padded(start: Tensor, count: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rows start ... start + width - 1 [B, width] and which of them count; the others point at row 0."""
    step = torch.arange(width)
    mask = step < count[:, None]
    return (start[:, None] + step).masked_fill_(~mask, 0), mask


def _take(values: Tensor, at: Tensor) -> Tensor:
    if values.shape[0] == 0:  # nothing stored at all, so nothing is asked for but padding
        return values.new_zeros(at.numel(), *values.shape[1:])
    return values.index_select(0, at.flatten())  # several times faster than advanced indexing
