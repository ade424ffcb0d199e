"""Settings for every test: few threads, the same hypothesis profile everywhere, tests that need a GPU skipped without one."""

from __future__ import annotations

import gc
import os
import signal

import jaxtyping
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)

settings.register_profile("scidiff", deadline=None, derandomize=True, print_blob=True, database=None)
settings.load_profile("scidiff")


CHECKED_CALLS = 500


class Budget(type(jaxtyping.config)):
    """Types and shapes are checked in the first calls of each test, whatever it calls: checking all of them doubles the suite's time."""

    calls = 0

    @property
    def jaxtyping_disable(self) -> bool:  # what jaxtyping asks at every call of an instrumented function
        Budget.calls += 1
        return Budget.calls > CHECKED_CALLS


jaxtyping.config.__class__ = Budget


def pytest_runtest_setup(item: pytest.Item) -> None:
    Budget.calls = 0


def pytest_configure(config: pytest.Config) -> None:
    import torch

    torch.set_num_threads(1)
    # Where the suite runs in the background, SIGINT is ignored, and processes would pass that on to those whose interruption is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # a million objects of the libraries, which collections need not walk again and again


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
