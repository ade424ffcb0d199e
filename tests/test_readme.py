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
