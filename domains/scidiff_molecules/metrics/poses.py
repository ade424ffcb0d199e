"""PoseBusters' checks on single molecules: is a conformer chemically and geometrically plausible, judged alone (no protein)?

The checks, thresholds and names are those of PoseBusters (Buttenschoen, Morris and Deane, Chem. Sci. 2024, arXiv:2308.05777) in its
configuration ``mol``; its own functions do the work, in its order. What is done here: every check answers yes or no on any molecule,
quietly, in bounded memory.

- A check that cannot run (an element without parameters, a molecule that does not sanitise, an exception) is failed, with the reason
  kept.
- The answer depends on the molecule alone. The energy check compares the molecule's UFF energy with the mean over 50 conformers that it
  embeds with a fixed seed of their own each, so threads, order and earlier molecules change nothing. It remembers ensembles by InChI;
  that memory is emptied now and then here.
- If not even the first conformer can be embedded, the 50 cannot; that is tried first, as it may take a minute to find out fifty times.
- The configuration lists the energy check twice, once without asking for its answer; it is run once.

PoseBusters redirects RDKit's log when it is imported, and switches it on while it runs: both are undone.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import rdkit
from rdkit import Chem, rdBase

from scidiff_molecules.sdf.reading import sanitize_fault
from scidiff_molecules.sdf.structure import coordinate_fault, extent_fault

CONFIG = "mol"
MAX_ATOMS = 200  # the energy check embeds 50 conformers of the molecule: minutes, beyond this
CHECKS = (
    "mol_pred_loaded",
    "sanitization",
    "inchi_convertible",
    "all_atoms_connected",
    "no_radicals",
    "bond_lengths",
    "bond_angles",
    "internal_steric_clash",
    "aromatic_ring_flatness",
    "non-aromatic_ring_non-flatness",
    "double_bond_flatness",
    "internal_energy",
)
"""The names of the checks, as PoseBusters names its columns, in its order."""

_MAX_REMEMBERED = 10_000

Check = Callable[[Chem.Mol], Mapping[str, Any]]


@dataclass(frozen=True)
class Pose:
    """The verdict on one molecule.

    Attributes:
        checks: whether each check passes, by the names and in the order of :data:`CHECKS`.
        reasons: why a check could not run, for those that could not.
    """

    checks: dict[str, bool]
    reasons: dict[str, str]

    @property
    def passes(self) -> bool:
        return all(self.checks.values())


def check_pose(mol: Chem.Mol) -> dict[str, bool]:
    """Whether ``mol`` passes each of :data:`CHECKS`; the same molecule always gives the same answer, and none raises."""
    return examine_pose(mol).checks


def examine_pose(mol: Chem.Mol) -> Pose:
    """Check one molecule with explicit hydrogens and a conformer, sanitised or not; it is not changed."""
    fault = _fault(mol)
    if fault:
        return Pose(dict.fromkeys(CHECKS, False), dict.fromkeys(CHECKS, fault))
    copy = Chem.Mol(mol)  # one of PoseBusters' checks sanitises the molecule it is given, and those after it see that
    unsanitary = sanitize_fault(Chem.Mol(mol))
    checks, reasons = dict[str, bool](), dict[str, str]()
    for run, names in _modules():
        results, reason = _answers(run, copy)
        for key, name in names.items():
            answer = results.get(key)
            known = answer is not None and answer == answer  # NaN: PoseBusters could not tell
            checks[name] = known and bool(answer)
            if not known:
                reasons[name] = reason or unsanitary or "PoseBusters cannot tell"
    return Pose(checks, reasons)


def _fault(mol: Chem.Mol) -> str | None:
    return extent_fault(mol, MAX_ATOMS) or coordinate_fault(mol.GetConformer().GetPositions())


def _answers(run: Check, mol: Chem.Mol) -> tuple[Mapping[str, Any], str]:
    """One check's results, and what it said if it could not run."""
    with _hushed() as said:
        try:
            return run(mol), " ".join(said)
        except Exception as error:  # whatever a third party's check raises on an odd molecule is that check's failure
            return {}, f"{type(error).__name__}: {error}".strip().splitlines()[0]


@cache
def _modules() -> tuple[tuple[Check, dict[str, str]], ...]:
    """The configuration's checks in its order, each with the names of the answers it is asked for."""
    with _log_as_before():
        from posebusters.modules.energy_ratio import check_energy_ratio
        from posebusters.posebusters import PoseBusters, module_dict

        rdBase.LogToCppStreams()
    modules: list[tuple[Check, dict[str, str]]] = []
    for module in PoseBusters(config=CONFIG).config["modules"]:
        chosen: list[str] = module.get("chosen_binary_test_output", [])
        if not chosen:
            continue
        names = {key: module.get("rename_outputs", {}).get(key, key).lower().replace(" ", "_") for key in chosen}
        function, parameters = module_dict[module["function"]], module.get("parameters", {})
        run = partial(_energy, **parameters) if function is check_energy_ratio else partial(_results, function, **parameters)
        modules.append((run, names))
    return tuple(modules)


def _results(function: Callable[..., dict[str, Any]], mol: Chem.Mol, **parameters: Any) -> Mapping[str, Any]:
    return function(mol_pred=mol, **parameters)["results"]


def _energy(mol: Chem.Mol, **parameters: Any) -> Mapping[str, Any]:
    """The energy check, in one thread, tried with one conformer first; conformer k's seed does not depend on how many there are."""
    from posebusters.modules.energy_ratio import check_energy_ratio, get_energies

    if get_energies.cache_info().currsize > _MAX_REMEMBERED:
        get_energies.cache_clear()
    first = _results(check_energy_ratio, mol, **{**parameters, "ensemble_number_conformations": 1, "num_threads": 1})
    if first["energy_ratio"] != first["energy_ratio"]:
        return first
    return _results(check_energy_ratio, mol, **{**parameters, "num_threads": 1})


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().strip())


@contextmanager
def _hushed() -> Iterator[list[str]]:
    """Nothing is printed; what PoseBusters' own log says is collected.

    PoseBusters leaves RDKit's handler pointing at the standard error of the moment, and fails molecules once that is closed (a test, a
    notebook): so the handler starts from an open stream each time, and gets its own back.
    """
    logger, notes = logging.getLogger("posebusters"), _Notes()
    propagate, logger.propagate = logger.propagate, False
    stream, rdkit.log_handler.stream = rdkit.log_handler.stream, io.StringIO()
    logger.addHandler(notes)
    try:
        with _log_as_before(), rdBase.BlockLogs():
            yield notes.said
    finally:
        logger.removeHandler(notes)
        logger.propagate, rdkit.log_handler.stream = propagate, stream


@contextmanager
def _log_as_before() -> Iterator[None]:
    """Which of RDKit's logs are on afterwards is as it was before."""
    before = [line.rsplit(":", 1) for line in rdBase.LogStatus().splitlines()]
    try:
        yield
    finally:
        for name, state in before:
            (rdBase.EnableLog if state == "enabled" else rdBase.DisableLog)(name)
