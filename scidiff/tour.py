"""``scidiff demo``: every domain shows what it does, in one run of the tracker and on one offline page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from scidiff.domain import load_domain, missing_extra_named
from scidiff.errors import UserError
from scidiff.report import Section, write_page
from scidiff.tracking import OFF, Tracker, default_tracking_uri

__all__ = ["PAGE", "tour"]

PAGE = "index.html"


def tour(names: Sequence[str], out: Path, tracking_uri: str | None) -> Path:
    """Let the domains of these names show themselves, and write ``out/index.html``; returns its path.

    One domain that lacks a dependency is skipped with a message where others can be shown. Raises
    :class:`~scidiff.errors.UserError` where none can.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    with Tracker.start("demo", out, {}, {"scidiff.domain": ", ".join(names)}, tracking_uri, resume=False) as tracker:
        for name in names:
            try:
                with missing_extra_named(name):
                    sections += load_domain(name).demo(out / name, tracker)
            except UserError as error:
                if len(names) == 1:
                    raise
                console.print(f"skipped: {error}", style="yellow", markup=False, soft_wrap=True)
        if not sections:
            raise UserError("no domain could be shown; install what they need: pip install 'scidiffusion[all]'")
        title = sections[0].title if len(sections) == 1 else "What the shipped models do"
        page = write_page(out / PAGE, title=title, sections=sections)
        tracker.log_artifact(page)
    store = tracking_uri or default_tracking_uri()
    console.rule("where to look")
    console.print(f"the page               {page.resolve()}", f"files                  {out.resolve()}{os.sep}", sep="\n", soft_wrap=True)
    if store != OFF:
        console.print(f"the run in MLflow      mlflow ui --backend-store-uri {store}", soft_wrap=True)
    return page
