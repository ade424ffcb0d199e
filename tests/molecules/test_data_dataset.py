"""The dataset: batches against PyTorch Geometric's own, storage bit for bit, every broken promise refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from scidiff.errors import UserError
from scidiff_molecules.data import MoleculeDataset, load_sample, size_histogram
from scidiff_molecules.data.storage import FORMAT


def loader(molecules, size: int):
    """PyG's own loader, imported where the package has quietened torch-geometric's import."""
    from torch_geometric.loader import DataLoader

    return DataLoader(molecules, batch_size=size)


def toy(sizes: list[int], seed: int = 0) -> MoleculeDataset:
    """Chains of random atoms, every bond i - i+1 and a few more."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda low, high, n: torch.randint(low, high, (n,), generator=random)  # noqa: E731
    pairs = [[(i, j) for i in range(n) for j in range(i + 1, n) if j == i + 1 or (i + j + n) % 5 == 0] for n in sizes]
    atoms, edges = sum(sizes), torch.tensor([len(p) for p in pairs])
    fields = {
        "pos": torch.randn(atoms, 3, generator=random),
        "z": draw(1, 10, atoms),
        "charge": draw(-1, 2, atoms),
        "num_h": draw(0, 5, atoms),
        "bond_index": torch.tensor([p for q in pairs for p in q], dtype=torch.int64).reshape(-1, 2).T.contiguous(),
        "bond_order": draw(1, 4, int(edges.sum())),
        "y": torch.randn(len(sizes), 2, generator=random),
        "index": 1000 + torch.arange(len(sizes)),
        "assigned": torch.ones(len(sizes), dtype=torch.bool),
    }
    return MoleculeDataset(fields, torch.tensor(sizes), edges, {"name": "toy"})


def assert_same(a: MoleculeDataset, b: MoleculeDataset) -> None:
    assert a.metadata == b.metadata
    assert torch.equal(a.node_ptr, b.node_ptr)
    assert torch.equal(a.edge_ptr, b.edge_ptr)
    for key, value in a.fields.items():
        assert b.fields[key].dtype == value.dtype
        assert torch.equal(b.fields[key], value), key


def through_pyg(dataset: MoleculeDataset, items: list[int], width: int) -> dict[str, Tensor]:
    """The same batch by PyG's loader and its dense conversions."""
    from torch_geometric.utils import to_dense_adj, to_dense_batch

    batch = next(iter(loader([dataset[i] for i in items], len(items))))
    out = {}
    for key in ("pos", "z", "charge", "num_h"):
        out[key], out["mask"] = to_dense_batch(batch[key], batch.batch, max_num_nodes=width)
    both = torch.cat([batch.bond_index, batch.bond_index.flip(0)], 1)
    out["bonds"] = to_dense_adj(both, batch.batch, edge_attr=batch.bond_order.repeat(2), max_num_nodes=width)
    return out


@pytest.mark.parametrize("hydrogens", ["explicit", "implicit"])
@pytest.mark.parametrize("extra", [0, 3])
def test_dense_is_what_pyg_makes(hydrogens: str, extra: int) -> None:
    dataset = load_sample("valid", hydrogens=hydrogens)
    items = [499, 0, 17, 17, 300, 123]
    width = int(dataset.sizes[items].max()) + extra
    got = dataset.dense(torch.tensor(items), width if extra else None)
    expected = through_pyg(dataset, items, width)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].dtype == value.dtype
        assert torch.equal(got[key], value), key


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 3), st.randoms(use_true_random=False))
def test_dense_is_what_pyg_makes_for_any_sizes(sizes: list[int], extra: int, random) -> None:
    dataset = toy(sizes)
    items = [random.randrange(len(sizes)) for _ in range(4)]
    width = max(sizes[i] for i in items) + extra
    got, expected = dataset.dense(items, width), through_pyg(dataset, items, width)
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def test_dense_and_save_follow_a_view(tmp_path: Path) -> None:
    dataset = toy([3, 1, 4, 2])
    view = dataset[torch.tensor([2, 0])]
    assert view.sizes.tolist() == [4, 3]
    assert torch.equal(view.dense([0])["pos"], dataset.dense([2])["pos"])
    view.save(tmp_path / "view.safetensors")
    assert torch.equal(MoleculeDataset.load(tmp_path / "view.safetensors").fields["index"], torch.tensor([1002, 1000]))


def test_dense_refuses_a_width_too_small() -> None:
    with pytest.raises(ValueError, match=r"has 4 atoms, n_max is 3"):
        toy([2, 4]).dense([0, 1], 3)


def test_pyg_batches_shift_bonds_and_nothing_else() -> None:
    dataset = toy([3, 4])
    batch = next(iter(loader(dataset, 2)))
    assert batch.index.tolist() == [1000, 1001]
    assert torch.equal(batch.bond_index[:, -3:].amax(1) >= 3, torch.tensor([True, True]))
    assert torch.equal(torch.cat([dataset[0].bond_index, dataset[1].bond_index + 3], 1), batch.bond_index)


def test_select_and_concatenate_are_inverse() -> None:
    dataset = toy([3, 1, 4, 2, 5])
    parts = [dataset.select([0, 1]), dataset.select([2]), dataset[3:]]
    assert_same(MoleculeDataset.concatenate(parts, {"name": "toy"}), dataset)


def test_select_picks_each_molecule_whole() -> None:
    dataset = toy([3, 1, 4, 2])
    picked = dataset.select([3, 1, 3], split="some")
    assert picked.metadata == {"name": "toy", "molecules": 3, "split": "some"}
    for got, row in zip(picked, [3, 1, 3], strict=True):
        for key, value in dataset[row]:
            assert torch.equal(got[key], value), key


def test_size_histogram_counts() -> None:
    assert size_histogram(toy([3, 1, 3])).tolist() == [0, 1, 0, 2]


def test_round_trip_is_bit_equal(tmp_path: Path) -> None:
    for name, dataset in {"toy": toy([3, 1, 7]), "big": toy([300]), "sample": load_sample("test")}.items():
        dataset.save(tmp_path / name)
        assert_same(MoleculeDataset.load(tmp_path / name), dataset)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big", "sample", "toy"]  # no temporary file stays


def test_equal_data_are_equal_bytes(tmp_path: Path) -> None:
    for k in range(8):  # one order in two by chance, were the header not sorted
        toy([3, 1]).save(tmp_path / f"{k}")
    assert len({(tmp_path / f"{k}").read_bytes() for k in range(8)}) == 1


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.safetensors"
    toy([2]).save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        toy([3]).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def change(key: str, at: object, value: float):
    def fault(fields: dict[str, Tensor]) -> None:
        fields[key][at] = value

    return fault


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change("pos", (4, 1), float("nan")), "pos must be finite; molecule 1"),
        (change("y", (0, 0), float("inf")), "y must be finite; molecule 0"),
        (change("z", 0, 0), "z must be 1 to 118; molecule 0"),
        (change("charge", 3, 9), "charge must be -8 to 8; molecule 1"),
        (change("num_h", 3, 9), "num_h must be 0 to 8; molecule 1"),
        (change("bond_order", 0, 4), "bond_order must be 1 to 3; molecule 0"),
        (change("bond_index", (1, 0), 3), "0 <= i < j < atoms; molecule 0"),
        (change("bond_index", (0, 0), 2), "0 <= i < j < atoms; molecule 0"),
        (lambda f: f.update(z=f["z"][:-1]), "z should be"),
        (lambda f: f.update(z=f["z"].float()), "z should be"),
        (lambda f: f.pop("charge"), "expected the fields"),
    ],
)
def test_a_broken_promise_is_named(fault, message: str) -> None:
    dataset = toy([3, 4])
    fields = {key: value.clone() for key, value in dataset.fields.items()}
    fault(fields)
    with pytest.raises(UserError, match=message):
        MoleculeDataset(fields, dataset.node_ptr.diff(), dataset.edge_ptr.diff())


PICKLE = b"cbuiltins\nopen\n(Vexecuted\nVw\ntR."
"""A pickle that leaves a file named "executed" where it is loaded."""


def damage(path: Path, how: str) -> None:
    raw, tensors = path.read_bytes(), load_file(path)
    header = {"format": FORMAT, "metadata": "{}"}
    if how == "truncated":
        path.write_bytes(raw[:-7])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        path.write_bytes(PICKLE)
    elif how == "header":
        path.write_bytes((2**60).to_bytes(8, "little") + raw[8:])
    elif how == "other format":
        save_file(tensors, path, {"format": "weights"})
    elif how == "metadata":
        save_file(tensors, path, header | {"metadata": json.dumps([1])})
    elif how == "field":
        tensors.pop("z")
        save_file(tensors, path, header)
    elif how == "nan":
        tensors["pos"][0] = float("nan")
        save_file(tensors, path, header)
    elif how == "counts":
        tensors["nodes"] = tensors["nodes"].int() + torch.tensor([1, 0])
        save_file(tensors, path, header)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "not a readable safetensors file"),
        ("empty", "not a readable safetensors file"),
        ("pickle", "not a readable safetensors file"),
        ("header", "not a readable safetensors file"),
        ("other format", "its format: 'weights'"),
        ("metadata", "not a JSON object"),
        ("field", "instead of"),
        ("nan", "pos must be finite; molecule 0"),
        ("counts", "should be"),
    ],
)
def test_a_damaged_file_is_refused_by_name_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.safetensors"
    toy([3, 4]).save(path)
    damage(path, how)
    with pytest.raises(UserError, match=message) as error:
        MoleculeDataset.load(path)
    assert str(path) in str(error.value)
    assert "scidiff molecules data" in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such dataset file; make it with `scidiff molecules data`"):
        MoleculeDataset.load(tmp_path / "none.safetensors")
