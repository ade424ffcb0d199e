"""Noise processes: :class:`Gaussian` for reals, :class:`Categorical` for labels, :class:`Joint` for a state of several fields."""

from scidiff.process.base import Clock, Process
from scidiff.process.categorical import Categorical
from scidiff.process.gaussian import Coupling, Gaussian
from scidiff.process.joint import Clocks, Joint, Layouts, State, field_clock

__all__ = ["Categorical", "Clock", "Clocks", "Coupling", "Gaussian", "Joint", "Layouts", "Process", "State", "field_clock"]
