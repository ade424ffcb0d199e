"""A screening stage on generated molecules: deny rules for hazardous classes that public regulations list.

A generator for medicinal chemistry must not hand out members of such classes by accident. The rules are few, coarse and versioned. A
molecule that passes them is *not* thereby harmless: nothing else is judged. See docs/screening.md.
"""

from __future__ import annotations

from scidiff_molecules.screening.output import screened
from scidiff_molecules.screening.rules import Rule, Rules, load_rules
from scidiff_molecules.screening.screen import Screen, Verdict

__all__ = ["Rule", "Rules", "Screen", "Verdict", "load_rules", "screened"]
