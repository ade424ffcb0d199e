"""Types of array arguments. (``numpy.typing.ArrayLike`` cannot be checked at run time: a tuple of floats is none by its protocols.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ArrayLike = np.ndarray[Any, np.dtype[Any]] | Sequence[Any] | float
