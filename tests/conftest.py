"""What every test needs before anything is imported, and what each leaves as it was.

No screen, one torch thread, and the same random numbers for a test wherever it stands
in the order, which pytest-randomly draws. A test that changes what others see fails.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import active_children
from typing import Any

import gymnasium
import hypothesis
import numpy as np
import pytest
import torch
from gymnasium.envs import registration
from gymnasium.utils import seeding
from gymnasium.wrappers import common

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# SB3's logger makes a folder for every learn(): here, and it goes with the tests.
os.environ["SB3_LOGDIR"] = tempfile.mkdtemp(prefix="pgtoy-tests-")
atexit.register(shutil.rmtree, os.environ["SB3_LOGDIR"], ignore_errors=True)

# Networks of a few dozen weights lose time on a second thread.
torch.set_num_threads(1)

# The same examples each time, and no limit on a busy machine's time.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None
)
hypothesis.settings.load_profile("repeatable")


# `torch.manual_seed` also formats the stack once for each device that is not there.
_seed_torch = (
    torch.manual_seed
    if torch.cuda.is_available()
    else torch.default_generator.manual_seed
)

_np_random = seeding.np_random
_unseeded = itertools.count()


def _np_random_of_the_test(seed: int | None = None) -> tuple[np.random.Generator, int]:
    """Gymnasium's, in which an unseeded space or environment is the test's n-th."""
    return _np_random(next(_unseeded) if seed is None else seed)


seeding.np_random = _np_random_of_the_test


def pytest_configure(config: pytest.Config) -> None:
    # It would seed by the order's seed: a statistical test would fail once in a while.
    config.option.randomly_reset_seed = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seeds what a test may draw from without seeding it."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    global _unseeded
    _unseeded = itertools.count()
    random.seed(0)
    np.random.seed(0)
    _seed_torch(0)


@pytest.fixture(autouse=True)
def _others_see_no_change() -> Iterator[None]:
    """Fails a test that leaves the process, or a library, other than it was."""
    before = _seen_by_all()
    # A library that is first imported adds to these, and gymnasium_robotics takes over
    # ids that Gymnasium leaves to it.
    modules = dict(sys.modules)
    ids = {
        name: spec
        for name, spec in registration.registry.items()
        if getattr(spec.entry_point, "__name__", "") != "_raise_mujoco_py_error"
    }
    yield
    after = _seen_by_all()
    for what, value in before.items():
        assert after[what] == value, f"the test has changed {what}"
    for what, old, new in (
        ("modules", modules, sys.modules),
        ("Gymnasium's ids", ids, registration.registry),
    ):
        replaced = {name for name, value in old.items() if new.get(name) is not value}
        assert not replaced, f"the test has replaced {what}: {replaced}"


def _seen_by_all() -> dict[str, Any]:
    places = (gymnasium.wrappers, common, registration)
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    matplotlib: Any = sys.modules.get("matplotlib")
    # Not where a test imports it first. `dict(...)` would sort and validate them.
    drawing = (
        {"matplotlib's settings": dict.copy(matplotlib.rcParams)} if matplotlib else {}
    )
    return {
        **drawing,
        "the working directory": os.getcwd(),
        # Without what pytest and torch write there for themselves.
        "os.environ": {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "TORCHINDUCTOR_"))
        },
        "sys.argv": list(sys.argv),
        "sys.path": list(sys.path),
        "sys.std*": (sys.stdin, sys.stdout, sys.stderr),
        "signal handlers": [signal.getsignal(s) for s in (2, 15)],
        "threads": {t for t in threading.enumerate() if not t.daemon},
        "child processes": active_children(),
        "the root logger": (list(logging.root.handlers), logging.root.level),
        "TimeLimit": [vars(place).get("TimeLimit") for place in places],
        "NumPy's error handling": np.geterr(),
        "torch's dtype": torch.get_default_dtype(),
        # torch.compile turns it off for good.
        "torch's validation": torch.distributions.Distribution._validate_args,
        "torch's threads": torch.get_num_threads(),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "figures": pyplot.get_fignums() if pyplot else [],
    }
