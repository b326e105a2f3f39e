"""The states of the random number generators that learning draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces


def take_random_states() -> dict[str, Any]:
    """Returns the states of all generators that are shared in a process.

    Returns:
        A dict of plain data for `put_random_states`: Python's `random`, NumPy's global
        generator, torch's on the CPU and, where CUDA is in use, on every GPU, and
        whether cuDNN has to be deterministic, which SB3 switches on with a seed.
    """
    cuda = None
    # Asking starts CUDA up, which costs memory; unused, it has nothing to remember.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda = [state.numpy().copy() for state in torch.cuda.get_rng_state_all()]
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state().numpy().copy(),
        "cuda": cuda,
        "cudnn": (
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
    }


def put_random_states(states: dict[str, Any]) -> None:
    """Puts back what `take_random_states` returned.

    GPUs that were not there then keep their state.
    """
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
    deterministic, benchmark = states["cudnn"]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark
    if states["cuda"] is not None and torch.cuda.is_available():
        count = torch.cuda.device_count()
        for device, state in enumerate(states["cuda"][:count]):
            torch.cuda.set_rng_state(torch.from_numpy(state.copy()), device)


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leaves the generators as they were, whatever is drawn inside."""
    states = take_random_states()
    try:
        yield
    finally:
        put_random_states(states)


def take_space_state(space: spaces.Space[Any]) -> dict[str, Any] | None:
    """Returns the state of a space's own generator; None if it never drew."""
    # `np_random` would make one, and seed it.
    generator = vars(space)["_np_random"]
    return None if generator is None else dict(generator.bit_generator.state)


def put_space_state(space: spaces.Space[Any], state: dict[str, Any] | None) -> None:
    """Puts back what `take_space_state` returned."""
    if state is not None:
        space.np_random.bit_generator.state = state
