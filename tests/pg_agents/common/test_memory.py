"""Freed memory is kept: later rollouts need no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: other tests may have made this one keep freed memory.
CODE = """
import resource
import gymnasium
from pg_agents import ActorCritic

model = ActorCritic("MlpPolicy", gymnasium.make_vec("CartPole-v1", 1024), seed=0)
model.learn(5 * 1024 * 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
model.learn(5 * 1024 * 10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_rollout_reuses_the_memory_of_the_last_one() -> None:
    """Else each of the 10 rollouts has about 1,000 page faults."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000
