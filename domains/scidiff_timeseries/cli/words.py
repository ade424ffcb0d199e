"""Messages of the library in the words of the command line: options instead of arguments, lines of the file instead of rows of a frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scidiff.errors import UserError

__all__ = ["in_words_of", "reworded"]

_TEXT = r"'([^']*)'"
_WORDS = (
    (rf"df\[time\]\.dt\.tz_localize\({_TEXT}, ambiguous='infer'\)", r"--time-zone \1"),
    (rf"tz_localize\({_TEXT}\)", r"--time-zone \1"),
    (r"with df\.sort_values\((\[[^\]]*\])\)", r"the rows by \1"),
    (r"convert it with pd\.to_numeric\(df\[[^\]]*\]\)", "mend its cells"),
    (r"convert the column with pd\.to_datetime\(column, format=\.\.\.\) \(of a file: time_format=\.\.\.\)", "give --time-format"),
    (
        r"convert it first, for example with pd\.to_datetime\(.*\(of a file: time_format='%Y'\)",
        "give --time-format, such as %Y",
    ),
    (r"mend the header line$", "mend the header line, or name what separates the cells with --sep"),
    (r"repair=True", "--repair"),
    (r"\btargets=", "--target"),
    (rf"\b(freq|id|time|layout|sep|decimal|future|past|start)={_TEXT}", r"--\1 \2"),
    (r"\b(freq|id|time|layout|sep|decimal|future|past|start)=", r"--\1"),
)


def reworded(message: str) -> str:
    """``give another freq=, or repair=True`` becomes ``give another --freq, or --repair``."""
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message


def in_file(message: str, path: Path) -> str:
    """``row 17`` (counted from 0, below the header) becomes ``line 19`` where every row is one line of the file."""
    try:
        text = path.read_bytes()
    except OSError:
        return message
    if b'"' in text or b"\n\n" in text.replace(b"\r", b""):
        return message.replace("row ", "data row (from 0) ", 1)
    return re.sub(r"\brow (\d+)", lambda found: f"line {int(found[1]) + 2}", message)


@contextmanager
def in_words_of(path: Path | None = None) -> Iterator[None]:
    """Inside, a :class:`~scidiff.errors.UserError` speaks of options, and names the file and its lines."""
    try:
        yield
    except UserError as error:
        message = reworded(str(error))
        if path is not None:
            message = in_file(message, path)
            message = message if message.startswith(str(path)) else f"{path}: {message}"
        raise UserError(message) from error
