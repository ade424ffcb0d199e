"""The Python of the README and of the docs runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:30])
def test_a_block_of_python_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    if "molecules" in names:  # what its comments claim
        molecules, again = names["molecules"], names["again"]
        assert isinstance(molecules, list)
        assert isinstance(again, list)
        first, second = ([m.GetConformer().GetPositions().tolist() for m in some] for some in (molecules[40:50], again))
        assert first == second
        assert f"of {len(molecules)} sanitise" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert links or page != README
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_test_that_the_promises_name_exists() -> None:
    """docs/reliability.md: ``FILE::TEST``, and names that follow it in the same cell are of the same file."""
    cells = [cell for line in (README.parent / "docs" / "reliability.md").read_text().splitlines() for cell in line.split("|")]
    missing: list[str] = []
    for cell in cells:
        file = ""
        for name in re.findall(r"`((?:tests/[\w/]+\.py(?:::)?)?(?:test_\w+)?)`", cell):
            path, _, test = name.rpartition("::") if "::" in name else (name, "", "") if name.startswith("tests/") else ("", "", name)
            file = path or file
            text = (README.parent / file).read_text() if (README.parent / file).is_file() else ""
            if not text or (test and f"def {test}(" not in text):
                missing.append(f"{file}::{test}")
    assert sum("tests/" in cell for cell in cells) > 30
    assert missing == []
