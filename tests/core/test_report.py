"""A page loads nothing, escapes everything, says everything it was given, and is the same bytes for the same input."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from support.pages import HOSTILE, PLANTED, Page, directives, hashes, references

from scidiff.errors import UserError
from scidiff.report import (
    Curve,
    Grid,
    Part,
    Picture,
    Prose,
    Row,
    Section,
    Series,
    Table,
    Widget,
    curve_png,
    island,
    render_page,
    write_page,
)
from scidiff.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, layout
from scidiff.report.page import panels

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1 1'><rect width='1' height='1'/></svg>"
TABLE = Table("shares", [Row("valid", 0.6, 0.23, 0.88, 3, 5, "share that is valid", headline=True)])
GRID = Grid("scores", ["method", "CRPS", "note"], [["ours", "0.0069", "a"], ["naive", "–", "b"]], note="lower is better", strong=[0])
CURVE = Curve("training", "step", "loss (nats)", [Series("train", [0, 1, 2], [3.0, 2.0, 1.5])])
WIDGET = Widget("viewer", Markup('<b id="v"></b>') + island("data", {"a": 1}), ".v { top: 0 }", ["void 0;"], {"lib": "its licence"})


def figure(height: float = 1.0) -> Figure:
    made = Figure(figsize=(2, 1))
    made.add_subplot().plot([0.0, height])
    return made


def section(title: str = "a section", *extra: Part) -> Section:
    parts = [Prose("said first"), TABLE, GRID, CURVE, Picture(figure(), "a line", "rises"), Picture(SVG, "a square", "black"), *extra]
    return Section(title, parts, {"seed": "0"}, ["made by hand"], "in short")


def spoken(page: Page) -> str:
    """The texts, with the white space of a browser."""
    return " ".join("".join(page.text).split())


# ---- nothing is loaded, nothing is executed ----


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = render_page(title="t", sections=[section("one", WIDGET), section("two")])
    assert references(page) == []


@pytest.mark.parametrize("fault", PLANTED)
def test_the_check_sees_a_planted_reference(fault: str) -> None:
    assert references(render_page(title="t", sections=[section()]).replace("</body>", fault + "</body>"))


def test_the_policy_names_each_script_and_style_once_and_allows_nothing_else() -> None:
    twin = replace(WIDGET, name="another", html=Markup(""))
    parsed = Page(render_page(title="t", sections=[section("one", WIDGET), section("two", twin)]))
    assert directives(parsed) == {
        "default-src": ["'none'"],
        "script-src": hashes(["void 0;"]),
        "style-src": hashes(parsed.styles()),
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert parsed.scripts() == ["void 0;"]
    assert parsed.styles()[1:] == [".v { top: 0 }"]
    assert directives(Page(render_page(title="t", sections=[section()])))["script-src"] == ["'none'"]


def test_hostile_text_anywhere_is_text() -> None:
    evil = "".join(HOSTILE)
    parts: list[Part] = [
        Prose(evil),
        Table(evil, [Row(evil, 0.5, 0.4, 0.6, 1, 2, evil, headline=True), Row(evil, 2.0, 1.0, 3.0, definition=evil, unit=evil)]),
        Grid(evil, [evil, evil], [[evil, evil]], note=evil),
        Curve(evil, evil, evil, [Series(evil, [0, 1], [1.0, 2.0])]),
        Picture(SVG, evil, evil),
        Widget("w", Markup(""), credits={evil: evil}),
    ]
    hostile = Page(render_page(title=evil, sections=[Section(evil, parts, {evil: evil}, [evil], evil, [Row(evil, 1.0)])]))
    plain = Page(render_page(title="t", sections=[section("t", WIDGET)]))
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in plain.elements}
    assert {name for _, a in hostile.elements for name in a} <= {name for _, a in plain.elements for name in a}
    assert hostile.scripts() == []
    # heading and <title> 2, lead 1, tiles 2, prose 1, table 1 + 2 + 3, grid 1 + 2 + 2 + 1, curve 4, picture 1 (its alt apart), facts 2,
    # note 1, footer 3: each shown once, word for word
    assert "".join(hostile.text).count(evil) == 29


@given(st.text(), st.text())
def test_any_data_comes_back_from_an_island(key: str, value: str) -> None:
    page = Page(str(island("data", {key: [value]})))
    assert page.data() == {key: [value]}
    (content,) = [content for _, _, content in page.raw]
    assert content.isascii()
    assert not set("<>&'") & set(content)


@given(st.text())
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    def seen(said: str) -> str:  # what every parser changes: a carriage return is a line feed, NUL is not a character
        return said.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")

    assert seen(text) in seen("".join(Page(render_page(title="t", sections=[Section("s", [Prose(text)])])).text))


@pytest.mark.parametrize("script", ["a</script >b", "</SCRIPT", "<!-- x"])
def test_code_that_would_end_its_own_element_is_refused(script: str) -> None:
    with pytest.raises(ValueError, match="ends its element"):
        Widget("w", Markup(""), scripts=[script])
    with pytest.raises(ValueError, match="ends its element"):
        Widget("w", Markup(""), style="</Style>")


# ---- nothing is lost ----


def test_a_lone_section_of_the_pages_title_is_the_page() -> None:
    lone, two = (Page(render_page(title="t", sections=many)) for many in ([section("t")], [section("t"), section("other")]))
    assert [tag for tag, _ in lone.elements if tag in ("h1", "h2")] == ["h1"]
    assert [tag for tag, _ in two.elements if tag in ("h1", "h2")] == ["h1", "h2", "h2"]
    for page, times in ((lone, 1), (two, 2)):
        for text in ("in short", "60.0 %valid", "said first", "share that is valid", "lower is better", "a line", "made by hand"):
            assert spoken(page).count(text) == times, text


def test_an_empty_page_says_so() -> None:
    assert "There is nothing in this report." in spoken(Page(render_page(title="t", sections=[])))


def test_neighbours_of_a_kind_share_a_panel_and_prose_goes_with_what_follows() -> None:
    a, b = Prose("a"), Prose("b")
    picture = Picture(SVG, "c", "d")
    assert panels([a, TABLE, GRID, b, GRID, CURVE, CURVE, picture, a, WIDGET, b]) == [
        ("tables", [a, TABLE, GRID]),
        ("tables", [b, GRID]),
        ("plots", [CURVE, CURVE]),
        ("pictures", [picture]),
        ("prose", [a]),
        ("widget", [WIDGET]),
        ("prose", [b]),
    ]


def test_pictures_are_inlined_as_they_are() -> None:
    page = Page(render_page(title="t", sections=[Section("s", [Picture(figure(), "c", "a rising line"), Picture(SVG, "c", "black")])]))
    first, second = [attributes for tag, attributes in page.elements if tag == "img"]
    kind, _, content = str(first["src"]).partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (kind, image.format, image.size, first["alt"]) == ("data:image/png;base64", "PNG", (288, 144), "a rising line")
    assert str(second["src"]) == "data:image/svg+xml;base64," + base64.b64encode(SVG).decode()
    with pytest.raises(UserError, match="'c': neither PNG nor SVG"):
        Picture(b"GIF89a", "c", "x")


def test_a_column_that_no_figure_has_is_left_out() -> None:
    rows = [Row("CRPS", 0.0069, unit=""), Row("calls", 4, unit="")]
    heads = [tag for tag, a in Page(render_page(title="t", sections=[Section("s", [Table("x", rows)])])).elements if tag == "th"]
    assert len(heads) == 2 + len(rows)  # figure, value; and the rows' names


def test_columns_of_numbers_are_told_from_columns_of_words() -> None:
    rows = [["ours", "0.1", "≤ 3", "[.1, .2]", "", "–"], ["naive", "-1e9", "12 %", "x", ".5", "−2"]]
    grid = Grid("g", list("abcdef"), rows)
    assert [grid.numeric(k) for k in range(6)] == [False, True, True, False, True, True]
    assert not Grid("g", ["a"], []).numeric(0)
    with pytest.raises(UserError, match="'g': row 1 has 1 texts for 2 columns"):
        Grid("g", ["a", "b"], [["1", "2"], ["3"]])


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [write_page(tmp_path / name, title="t", sections=[section("one", WIDGET), section("two")]) for name in ("a.html", "b.html")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


def test_refusals_name_the_place_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent does not exist; make it first"):
        write_page(tmp_path / "absent" / "p.html", title="t", sections=[])
    with pytest.raises(UserError, match="is a folder"):
        write_page(tmp_path, title="t", sections=[])
    with pytest.raises(UserError, match="more than one widget named 'viewer'"):
        write_page(tmp_path / "p.html", title="t", sections=[section("one", WIDGET), section("two", WIDGET)])
    assert list(tmp_path.iterdir()) == []


def test_a_lone_surrogate_does_not_lose_the_page(tmp_path: Path) -> None:
    assert "a?b" in write_page(tmp_path / "p.html", title="a\ud800b", sections=[]).read_text(encoding="utf-8")


# ---- figures ----


def test_figures_are_written_with_interval_and_denominator() -> None:
    share = Row("x", 0.61111, 0.4486, 0.7522, 22, 36)
    assert (share.value_text, share.interval_text, share.count_text) == ("61.1 %", "44.9 to 75.2", "22 / 36")
    assert share.bar == (61.11, 44.86, 30.36)
    plain = replace(share, unit="molecules/s", numerator=None, value=1234.56, low=1200.0, high=1300.0)
    assert (plain.value_text, plain.interval_text, plain.count_text, plain.bar) == ("1,235 molecules/s", "1,200 to 1,300", "36", None)
    assert replace(plain, denominator=None).count_text == "–"
    assert (Row("x", None).value_text, Row("x", None).interval_text) == ("–", "–")


# ---- curves ----


def test_a_curve_is_placed_between_its_axes() -> None:
    plot = layout(Curve("t", "x", "y", [Series("a", [0, 5, 10], [0.0, 10.0, 4.0])]))
    assert plot is not None
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    assert plot.lines[0].raw == f"M{left} {bottom}L{(left + right) / 2:g} {top}L{right} {bottom - 0.4 * (bottom - top):g}"
    assert plot.lines[0].mean == ""
    assert [(t.at, t.text) for t in plot.y_ticks][:: len(plot.y_ticks) - 1] == [(bottom, "0"), (top, "10")]
    assert [t.text for t in plot.x_ticks] == ["0", "2", "4", "6", "8", "10"]


def test_values_that_are_not_finite_leave_a_gap() -> None:
    plot = layout(Curve("t", "x", "y", [Series("a", [0, 1, 2, 3, 4], [1.0, 2.0, math.nan, 3.0, math.inf])]))
    assert plot is not None
    assert re.sub(r"[\d. ]+", "", plot.lines[0].raw) == "MLM"
    assert layout(Curve("t", "x", "y", [Series("a", [0], [math.nan])])) is None
    assert layout(Curve("t", "x", "y", [])) is None
    assert layout(Curve("t", "x", "y", [Series("a", [7], [3.0])])) is not None


def test_the_running_mean_is_the_mean_of_the_neighbours() -> None:
    series = Series("a", range(80), [float(k * k) for k in range(80)])
    mean = series.smoothed()
    assert series.window == 5
    assert mean[40] == np.mean([k * k for k in range(38, 43)]) == 1602.0
    assert mean[0] == np.mean([0, 1, 4])
    assert mean[79] == np.mean([77**2, 78**2, 79**2])
    assert Series("a", range(59), [1.0] * 59).window == 1
    gap = Series("a", range(80), [math.nan if k == 40 else float(k) for k in range(80)]).smoothed()
    assert math.isnan(gap[40])
    assert gap[41] == np.mean([39, 41, 42, 43])


def test_a_spike_survives_thinning() -> None:
    values = [1.0] * 50_000
    values[31_415] = 10.0
    plot = layout(Curve("t", "x", "y", [Series("a", range(50_000), values)]))
    assert plot is not None
    heights = [float(point.split(" ")[1]) for point in re.split("[ML]", plot.lines[0].raw)[1:]]
    assert len(heights) <= 2400
    assert min(heights) == TOP
    assert heights.count(TOP) == 1


def test_series_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(UserError, match="'loss': 2 positions but 1 values"):
        Series("loss", [0, 1], [1.0])
    with pytest.raises(UserError, match="ascending"):
        Series("loss", [1, 0], [1.0, 2.0])
    with pytest.raises(UserError, match="finite"):
        Series("loss", [0, math.nan], [1.0, 2.0])


# ---- pictures ----


def test_a_picture_of_no_curve_is_refused() -> None:
    with pytest.raises(UserError, match="no curve"):
        curve_png([])


def test_a_curve_picture_is_reproducible_and_shows_its_data(tmp_path: Path) -> None:
    curve = Curve("cost $x$", "step", "nats", [Series("_train $", range(100), [1 / (k + 1) for k in range(100)])])
    content = curve_png(curve, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes() == content == curve_png([curve])
    ink = [np.asarray(Image.open(io.BytesIO(c)).convert("RGB")) for c in (content, curve_png(replace(curve, series=[])))]
    blue = [(np.abs(a.astype(int) - (0x35, 0x57, 0xC9)).sum(axis=-1) < 30).sum() for a in ink]
    assert blue[1] == 0 < blue[0]
