"""QM9: the split against an independent derivation, sources, the sample; the whole where it is cached."""

from __future__ import annotations

import importlib.util
import random
import tarfile
from pathlib import Path

import pytest
import torch

from scidiff.errors import UserError
from scidiff_molecules.data import MoleculeDataset, cache_folder, load_qm9, load_sample, qm9, split_indices
from scidiff_molecules.data.build import build, collate, same_formula
from scidiff_molecules.data.sample import SAMPLE_FILE
from scidiff_molecules.data.sources import NUMBER, Record, Source, parse_xyz

SYMBOL = {number: symbol for symbol, number in NUMBER.items()}
needs_qm9 = [pytest.mark.qm9, pytest.mark.skipif(not (cache_folder() / qm9.CACHE_FILE).exists(), reason="QM9 is not cached")]


def mt19937_permutation(n: int, seed: int) -> list[int]:
    """numpy's legacy ``seed(seed); permutation(n)`` from its definition: Knuth's seeding, then Fisher-Yates with masked rejection."""
    state = [seed]
    for k in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + k) & 0xFFFFFFFF)
    generator = random.Random()
    generator.setstate((3, (*state, 624), None))
    out = list(range(n))
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        while (j := generator.getrandbits(32) & mask) > i:
            pass
        out[i], out[j] = out[j], out[i]
    return out


def test_the_split_is_edms() -> None:
    order = mt19937_permutation(130_831, 0)
    assert split_indices("train").tolist() == order[:100_000]
    assert split_indices("valid").tolist() == order[100_000:117_748]
    assert split_indices("test").tolist() == order[117_748:]
    assert len(order[117_748:]) == 13_083
    assert order[:3] == [130195, 68784, 7957]
    assert split_indices("all").tolist() == sorted(order)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="no split 'dev'"):
        split_indices("dev")
    with pytest.raises(UserError, match="no split 'dev'"):
        load_sample("dev")
    for load in (load_qm9, load_sample):
        with pytest.raises(UserError, match="'explicit' or 'implicit'"):
            load("train", hydrogens="none")


def test_without_qm9pack_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install qm9pack==1\.0\.3.*scidiffusion\[qm9\]"):
        load_qm9(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SCIDIFF_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "scidiff"


def test_a_cache_that_is_not_all_of_qm9_is_refused(tmp_path: Path) -> None:
    (tmp_path / qm9.CACHE_FILE).write_bytes(SAMPLE_FILE.read_bytes())
    with pytest.raises(UserError, match=r"holds 4,000 molecules, QM9 has 130,831; delete it"):
        load_qm9(cache=tmp_path)


METHANE = """5
gdb 1 157.7118 157.70997 157.70699 0. 13.21 -0.3877 0.1171 0.5048 35.3641 0.044749 -40.47893 -40.476062 -40.475117 -40.498597 6.469
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 2.150416*^-3\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""
"""The first of the public files (two numbers written with the exponent that QM9 uses)."""


def test_a_public_record_is_read_exactly() -> None:
    record = parse_xyz(METHANE)
    assert (record.index, record.smiles, record.z.tolist()) == (1, ("C", "C"), [6, 1, 1, 1, 1])
    assert record.pos[1].tolist() == [2.150416e-3, -0.0060313176, 0.0019761204]
    assert record.y[[0, 5, 14]].tolist() == [157.7118, -0.3877, 6.469]
    lengths = torch.from_numpy(record.pos[1:] - record.pos[0]).norm(dim=-1)
    assert torch.allclose(lengths, torch.full((4,), 1.092, dtype=torch.float64), atol=1e-4)
    assert collate([record]).metadata["bonds"] == {"smiles": 1}


def test_formulas_are_compared() -> None:
    record = parse_xyz(METHANE)
    assert same_formula(record)
    assert not same_formula(Record(1, ("CC",), record.z, record.pos, record.y))
    assert not same_formula(Record(1, ("C(",), record.z, record.pos, record.y))
    assert collate([Record(7, ("N",), record.z, record.pos, record.y)]).metadata["formula_mismatch"] == [7]


def write_public_files(folder: Path, sample: MoleculeDataset) -> None:
    """The sample's molecules as the public files spell them (without SMILES that could help), and a list of 3,054 to leave out."""
    for molecule in sample:
        lines = [str(molecule.z.numel()), "\t".join([f"gdb {int(molecule.index)}", *map(repr, molecule.y[0].tolist())])]
        for z, xyz in zip(molecule.z.tolist(), molecule.pos.tolist(), strict=True):
            lines.append("\t".join([SYMBOL[z], *(repr(v).replace("e", "*^") for v in xyz), "0.0"]))
        lines += ["1.0\t2.0", "C\tC", "InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4"]
        (folder / f"dsgdb9nsd_{int(molecule.index):06d}.xyz").write_text("\n".join(lines) + "\n")
    first = int(sample.fields["index"][0])
    listed = [first, *range(200_000, 203_053)]
    rows = "\n".join(f"  {number}  CCO  1.0 2.0" for number in listed)
    (folder / "uncharacterized.txt").write_text(f"Index SMILES\n=====\n{rows}\n3054 compounds\n")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MoleculeDataset]:
    folder, sample = tmp_path_factory.mktemp("public"), load_sample("valid").select(range(270))
    write_public_files(folder, sample)
    return folder, sample


@pytest.mark.long
def test_public_files_in_two_processes_are_the_sample(public: tuple[Path, MoleculeDataset]) -> None:
    folder, sample = public
    got = build(Source.find(folder), 269, progress=False, workers=2)
    assert got.metadata["bonds"] == {"geometry": 269}
    for key in ("pos", "z", "y", "index"):
        rest = sample.select(range(1, 270)).fields[key]  # the first is listed as uncharacterised
        assert torch.equal(got.fields[key], rest), key


def test_the_archive_is_the_folder(public: tuple[Path, MoleculeDataset], tmp_path: Path) -> None:
    folder, _ = public
    with tarfile.open(tmp_path / "dsgdb9nsd.xyz.tar.bz2", "w:bz2") as archive:
        for path in sorted(folder.glob("*.xyz"))[:20]:
            archive.add(path, path.name)
    (tmp_path / "uncharacterized.txt").write_bytes((folder / "uncharacterized.txt").read_bytes())
    from_archive = list(Source.find(tmp_path).records())
    from_folder = list(Source.find(folder).records())[:19]
    assert [r.index for r in from_archive] == [r.index for r in from_folder]
    assert all((a.pos == b.pos).all() for a, b in zip(from_archive, from_folder, strict=True))


def test_shards_together_are_the_whole(public: tuple[Path, MoleculeDataset]) -> None:
    source = Source.find(public[0])
    parts = [[r.index for r in source.records(shard, 2)] for shard in range(2)]
    assert [len(p) for p in parts] == [128 + 13, 128]
    assert sorted(parts[0] + parts[1]) == [r.index for r in source.records()]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: next(f.glob("*.xyz")).write_text(METHANE[:200]), r"\.xyz: not a QM9 record"),
        (lambda f: next(f.glob("*.xyz")).write_text(METHANE.replace("1.0117308433", "nan")), r"not finite"),
        (lambda f: next(f.glob("*.xyz")).write_text("2000000000\n"), r"2000000000 atoms"),
        (lambda f: (f / "uncharacterized.txt").unlink(), r"uncharacterized\.txt: missing"),
        (lambda f: (f / "uncharacterized.txt").write_text("1 C 2\n"), r"lists 1 molecules instead of 3,054"),
        (lambda f: [p.unlink() for p in f.glob("*.xyz")], r"no dsgdb9nsd_\*\.xyz"),
        (lambda f: (f / "dsgdb9nsd.xyz.tar.bz2").write_bytes(b"BZh91AY&SY not an archive"), r"not a readable archive"),
    ],
)
def test_damaged_sources_are_named(tmp_path: Path, damage, message: str) -> None:
    write_public_files(tmp_path, load_sample("valid").select([0]))
    for listed in tmp_path.glob("*.xyz"):
        listed.rename(tmp_path / "dsgdb9nsd_000001.xyz").write_text(METHANE)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        list(Source.find(tmp_path).records())


def test_a_source_that_is_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither dsgdb9nsd"):
        Source.find(tmp_path / "none")


@pytest.mark.long
def test_what_a_worker_finds_wrong_reaches_the_user(tmp_path: Path) -> None:
    write_public_files(tmp_path, load_sample("valid").select(range(258)))
    bad = sorted(tmp_path.glob("*.xyz"))[-1]
    bad.write_text("5\n")
    with pytest.raises(UserError, match=rf"{bad.name}: not a QM9 record \(cut short") as error:
        build(Source.find(tmp_path), 257, progress=False, workers=2)
    assert str(error.value).startswith(str(bad))


def test_the_sample_keeps_the_split() -> None:
    """Rows of the whole cannot be told from numbers alone, so the training part is checked where QM9 is cached; here sizes and order."""
    sizes = {"train": 3000, "valid": 500, "test": 500}
    parts = {name: load_sample(name) for name in sizes}
    assert {name: len(part) for name, part in parts.items()} == sizes
    numbers = [part.fields["index"] for part in parts.values()]
    assert all(bool((n.diff() > 0).all()) for n in numbers)
    assert torch.cat(numbers).unique().numel() == 4000
    assert torch.equal(torch.cat(numbers), load_sample().fields["index"])
    assert parts["train"].metadata["properties"][3:6] == ["mu", "alpha", "homo"]


def test_sample_properties_obey_physics() -> None:
    """gap = LUMO - HOMO to the printed digit, U > U0, H = U + kT: the columns are what the header says."""
    sample = load_sample()
    column = {name: sample.fields["y"][:, k].double() for k, name in enumerate(sample.metadata["properties"])}
    assert torch.allclose(column["gap"], column["lumo"] - column["homo"], atol=1.01e-4)
    assert torch.allclose(column["H"] - column["U"], torch.full((4000,), 9.44e-4, dtype=torch.float64), atol=7e-5)
    assert bool((column["U"] >= column["U0"]).all())
    assert bool((column["A"] >= column["B"]).all() & (column["B"] >= column["C"]).all())


@pytest.fixture(scope="module")
def whole() -> MoleculeDataset:
    return load_qm9()


class TestWhole:
    pytestmark = needs_qm9

    def test_counts(self, whole: MoleculeDataset) -> None:
        facts = whole.metadata
        assert sum(facts["bonds"].values()) == len(whole) == 130_831
        assert facts["formula_mismatch"] == []
        assert facts["unassigned"] == {}
        train = load_qm9("train")
        assert round(float(train.sizes.double().mean()), 2) == 18.03
        assert int(train.sizes.max()) == 29

    def test_splits_are_rows_of_the_whole(self, whole: MoleculeDataset) -> None:
        for name in ("train", "valid", "test"):
            assert torch.equal(load_qm9(name).fields["index"], whole.fields["index"][split_indices(name)])

    def test_the_sample_is_part_of_it_bit_for_bit(self, whole: MoleculeDataset) -> None:
        for name in ("train", "valid", "test"):
            sample = load_sample(name)
            rows = torch.searchsorted(whole.fields["index"], sample.fields["index"])
            assert bool(torch.isin(rows, split_indices(name)).all())
            again = whole.select(rows)
            for key, value in sample.fields.items():
                assert torch.equal(value, again.fields[key]), key

    def test_no_molecule_loses_its_hydrogens(self, whole: MoleculeDataset) -> None:
        bare = load_qm9(hydrogens="implicit")
        assert bare.metadata["dropped"] == 0
        assert bare.sizes.max() == 9
        assert int(bare.sizes.sum() + bare.fields["num_h"].sum()) == int(whole.sizes.sum())
