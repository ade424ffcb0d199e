"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:30])
def test_a_block_of_the_readme_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    if "molecules" in names:  # what its comments claim
        molecules, again = names["molecules"], names["again"]
        assert isinstance(molecules, list)
        assert isinstance(again, list)
        first, second = ([m.GetConformer().GetPositions().tolist() for m in some] for some in (molecules[40:50], again))
        assert first == second
        assert f"of {len(molecules)} sanitise" in capsys.readouterr().out


def test_every_file_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
