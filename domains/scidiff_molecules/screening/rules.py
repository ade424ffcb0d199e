"""The deny rules: a versioned data file, each rule with its public reference, examples that it withholds and near misses that it passes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from rdkit import Chem, rdBase

from scidiff.config import Config
from scidiff.errors import UserError

RULES = Path(__file__).with_name("rules.json")
_MAX_BYTES = 2**20
_ID, _LINE = r"^[a-z0-9]+(-[a-z0-9]+)*$", r"^[A-Za-z0-9][A-Za-z0-9 ,.()\-]*$"  # what is written out needs no escaping anywhere


class Rule(Config):
    """A class of molecules: fragments in which one of the patterns occurs ``count`` times or more.

    ``withheld`` and ``passes`` are examples, name -> SMILES, that the tests hold the rule to.
    """

    id: str = Field(pattern=_ID, max_length=60)
    name: str = Field(pattern=_LINE, max_length=80)
    reference: str = Field(min_length=1, description="the public list that names the class")
    note: str = Field(default="", description="what was decided about neighbours of the class")
    smarts: tuple[str, ...] = Field(min_length=1)
    count: int = Field(default=1, ge=1)
    withheld: dict[str, str] = Field(min_length=2)
    passes: dict[str, str] = Field(min_length=2)

    @field_validator("smarts")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with rdBase.BlockLogs():
            for pattern in value:
                if Chem.MolFromSmarts(pattern) is None:
                    raise ValueError(f"no SMARTS pattern: {pattern[:80]!r}")
        return value


class _File(Config):
    version: str = Field(pattern=r"^\d{4}\.\d{2}(\.\d+)?$")
    rules: tuple[Rule, ...] = Field(min_length=1)

    @field_validator("rules")
    @classmethod
    def _distinct(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        ids = [rule.id for rule in value]
        if len(set(ids)) < len(ids):
            raise ValueError("two rules have the same id")
        return value


@dataclass(frozen=True)
class Rules:
    """The rules of a file, its version, and the SHA-256 of its bytes."""

    version: str
    sha256: str
    rules: tuple[Rule, ...]


@cache
def load_rules(path: Path = RULES) -> Rules:
    """Rules of a JSON file; by default those of the package. Raises UserError for a file that cannot be read or holds anything else."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        read = _File.model_validate(json.loads(content))
    except OSError as error:
        raise UserError(f"{path}: the screening rules cannot be read ({error.strerror})") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UserError(f"{path}: these are no screening rules: {said}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: these are no screening rules: {error}") from error
    return Rules(read.version, hashlib.sha256(content).hexdigest(), read.rules)
