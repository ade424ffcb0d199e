"""``python -m scidiff``: the same as ``scidiff``."""

from __future__ import annotations

from scidiff.cli import main

if __name__ == "__main__":
    main()
