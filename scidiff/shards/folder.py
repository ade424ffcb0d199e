"""A folder of shards: the plan, and for each finished shard its file and what the file must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from scidiff.config import Config
from scidiff.errors import UserError
from scidiff.files import atomic_write, file_sha256
from scidiff.shards.lock import locked
from scidiff.shards.plan import Plan

__all__ = ["PLAN", "Done", "ShardFolder", "Write", "Written"]

PLAN = "plan.json"
_MAX_JSON = 64 * 2**20


@dataclass(frozen=True)
class Written:
    """What a domain says of a shard it wrote.

    ``counts`` add up over shards: of all samples under the plan's word for them, of some under what is true of them ("do not sanitise").
    A file of several *sections* (the series of a table) has a ``header`` of that many bytes, then the sections, each of so many bytes
    (rows, of a parquet file, which has no header): a merge puts the first sections of all shards first, then the second ones, as one
    process would have written them. None: the file is one section.

    ``withheld``: a line of JSON for each sample that is withheld from the file; a merge puts them into a log beside it.
    """

    counts: Mapping[str, int]
    header: int = 0
    sections: tuple[int, ...] | None = None
    withheld: tuple[str, ...] = ()


Write = Callable[[Path, range], Written]
"""Make the samples of these ids and write them to a file, which appears whole or not at all."""


class Done(Config):
    """A finished shard's manifest, in a file beside it."""

    shard: int = Field(ge=0)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    counts: dict[str, int]
    header: int = Field(default=0, ge=0)
    sections: tuple[int, ...] = Field(min_length=1)
    withheld: tuple[str, ...] = ()
    made_on: dict[str, str] = Field(description="what may change the last bits: device, threads, versions")


@dataclass
class ShardFolder:
    """Shards of one plan. ``made_on`` is kept with each shard that is made here."""

    path: Path
    plan: Plan
    made_on: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def open(cls, path: Path) -> ShardFolder:
        """Of a folder that holds a plan. Raises UserError for any other."""
        place = path / PLAN
        if not place.is_file():
            raise UserError(f"{path}: is no folder of shards (it has no {PLAN}): give the one that --shards made")
        try:
            return cls(path, Plan.model_validate_json(_bounded(place)))
        except ValueError as error:
            raise UserError(f"{place}: cannot be read ({_first_line(error)}): make the shards again in another folder") from error

    def prepare(self) -> None:
        """Make the folder, and write down the plan. Raises UserError where the folder holds shards of another plan."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; a folder is needed")
        if not self.path.parent.is_dir():
            raise UserError(f"{self.path}: the folder {self.path.parent} does not exist; make it first")
        self.path.mkdir(exist_ok=True)
        stray = next(self.path.glob("part-*"), None)  # looked for first: another process may be writing plan and parts, in this order
        if not (self.path / PLAN).exists():
            if stray is not None:
                raise UserError(f"{stray}: there is no {PLAN} beside it that says what it is: give another folder")
            atomic_write(self.path / PLAN, self.plan.model_dump_json(indent=1).encode())
        self.agree()

    def agree(self) -> None:
        """Raises UserError, naming what differs, where the folder holds shards of another plan."""
        there = ShardFolder.open(self.path).plan
        differences = there.differences(self.plan)
        if differences:
            raise UserError(
                f"{self.path}: holds shards of another plan: {', '.join(differences)}. Finish that one ({there.remedy(())}), or give "
                f"another folder"
            )

    def part(self, shard: int) -> Path:
        return self.path / self.plan.name(shard)

    def look(self, shard: int) -> Done | str:
        """The manifest of a shard that is finished, and whose file is what it says, to the bit; else what is wrong."""
        part = self.part(shard)
        try:
            done = Done.model_validate_json(_bounded(self._manifest(shard)))
        except FileNotFoundError:
            return "not finished" if part.exists() else "not there"
        except ValueError as error:
            return f"its manifest is damaged ({_first_line(error)})"
        if done.shard != shard:
            return f"its manifest is that of shard {done.shard}"
        if not part.is_file():
            return "not there any more"
        if part.stat().st_size != done.size:
            return f"it has {part.stat().st_size:,} bytes, and had {done.size:,}"
        if file_sha256(part) != done.sha256:
            return "it does not match its SHA-256"
        return done

    def make(self, shard: int, write: Write) -> Done | None:
        """Make a shard that is not finished. None: another process is making it right now, which is left alone."""
        with locked(self._lock(shard)) as held:
            if held == "another's":
                return None
            found = self.look(shard)
            if isinstance(found, Done):
                return found
            if held == "mine":
                self._sweep(shard)
            part = self.part(shard)
            written = write(part, self.plan.ids(shard))
            size = part.stat().st_size
            done = Done(
                shard=shard,
                size=size,
                sha256=file_sha256(part),
                counts=dict(written.counts),
                header=written.header,
                sections=(size,) if written.sections is None else written.sections,
                withheld=written.withheld,
                made_on=dict(self.made_on),
            )
            # Last: the part and its name are on the disk when its manifest is (the folder is synchronised with it).
            atomic_write(self._manifest(shard), done.model_dump_json().encode())
            return done

    def tidy(self, shard: int) -> None:
        """Of a finished shard, remove the lock that a process which was killed at the very end left behind."""
        if self._lock(shard).exists():
            with locked(self._lock(shard)):
                pass

    def _lock(self, shard: int) -> Path:
        return self.path / f".{self.plan.name(shard)}.lock"

    def _manifest(self, shard: int) -> Path:
        return self.path / f"{self.plan.name(shard)}.json"

    def _sweep(self, shard: int) -> None:
        """Remove what a killed process left of this shard: hidden files, of which nobody else writes one while we have the lock."""
        stem = Path(self.plan.name(shard)).stem
        for path in self.path.glob(f".{stem}.*"):
            if path.suffix != ".lock":
                path.unlink(missing_ok=True)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_JSON + 1)
    if len(content) > _MAX_JSON:
        raise ValueError(f"more than {_MAX_JSON:,} bytes")
    return content


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
