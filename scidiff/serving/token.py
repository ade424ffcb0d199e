"""The token of a server: from a file, from the environment, or made for this one start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from scidiff.errors import UserError

__all__ = ["VARIABLE", "find_token"]

VARIABLE = "SCIDIFF_TOKEN"
MIN_LENGTH, MAX_LENGTH = 16, 1000


def find_token(path: Path | None) -> tuple[str, bool]:
    """(the token, whether it was made just now). Raises UserError for a file that cannot be read, or a token that is short or no plain
    text."""
    if path is not None:
        try:
            with path.open(encoding="ascii") as file:
                return _checked(file.read(MAX_LENGTH + 2).strip(), str(path)), False
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {path}: cannot be read ({error})") from error
    if VARIABLE in os.environ:
        return _checked(os.environ[VARIABLE].strip(), VARIABLE), False
    return secrets.token_urlsafe(32), True


def _checked(token: str, where: str) -> str:
    if not MIN_LENGTH <= len(token) <= MAX_LENGTH or not all("!" <= character <= "~" for character in token):
        rule = f"{MIN_LENGTH} to {MAX_LENGTH} visible ASCII characters without spaces"
        raise UserError(f"{where}: a token has {rule}; make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'")
    return token
