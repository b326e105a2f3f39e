"""A process that measures PureJaxRL's way, spoken to like `benchmarks.speed.worker`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]

from benchmarks.speed.protocol import Attempt, Facts, Handler, serve, task_handler
from benchmarks.speed.pure_jax_ppo import PureJaxPPO

# About so many steps a call: what a call costs is nothing beside them.
CALL_STEPS = 2**17
PACKAGES = ("jax", "gymnax", "optax", "numpy", "gymnasium")


def make(settings: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Compiles; returns what answers the commands, and how long that took."""
    ppo = PureJaxPPO(settings)
    update_steps = settings["n_envs"] * settings["n_steps"]
    n_updates = max(CALL_STEPS // update_steps, 1)
    begin = jax.jit(ppo.begin)
    learner = begin(jnp.asarray(0))
    started = time.perf_counter()
    run = jax.jit(ppo.updates(n_updates)).lower(learner).compile()
    compile_seconds = time.perf_counter() - started

    def task(seed: int) -> Attempt:
        fresh = jax.block_until_ready(begin(jnp.asarray(seed)))

        def attempt(n_steps: int) -> Facts:
            learner, steps, lengths = fresh, 0, jnp.zeros(1)
            while steps < n_steps:
                learner, lengths = run(learner)
                steps += n_updates * update_steps
            jax.block_until_ready(learner)
            return {"steps": steps, "last_length": float(lengths[-1])}

        return attempt

    versions = {name: version(name) for name in PACKAGES}
    return task_handler(task), {
        "versions": versions,
        "compile_seconds": compile_seconds,
    }


if __name__ == "__main__":
    serve(partial(make, json.loads(sys.argv[1])))
