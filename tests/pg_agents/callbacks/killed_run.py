"""A run that is killed again and again; a process of its own, run by a test.

It prints a line of JSON: what was found after every kill, and the weights at the end.
"""

from __future__ import annotations

import ctypes
import io
import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents import ActorCritic
from pg_agents.callbacks import (
    KeepCheckpoints,
    newest_checkpoint,
    remaining_timesteps,
    resume,
)
from pg_agents.callbacks.checkpoint import checkpoints
from pg_agents.saving.checkpoints import check_entries, read_content
from tests.pg_agents.saving.resuming_examples import MAKERS

SAVE_FREQ, N_STEPS, N_ENVS = 30, 4, 3
# More than anybody gets to before the last kill.
FAR = 10**9


class Tell(BaseCallback):
    """Writes the steps taken to memory that the parent reads."""

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__()
        self.steps = ctypes.c_int64.from_buffer(memory)

    def _on_step(self) -> bool:
        self.steps.value = self.num_timesteps
        return True


def train(folder: Path, total: int, memory: mmap.mmap) -> ActorCritic:
    env = MAKERS["normalized vector"]()
    if newest_checkpoint(folder) is None:
        model = ActorCritic(
            "MlpPolicy",
            env,
            n_steps=N_STEPS,
            seed=3,
            policy_kwargs={"net_arch": [8]},
        )
    else:
        model = resume(ActorCritic, folder, env)
    keep = [KeepCheckpoints(SAVE_FREQ, folder), Tell(memory)]
    return model.learn(
        remaining_timesteps(model, total), keep, reset_num_timesteps=False
    )


def slow_down_the_disk(memory: mmap.mmap) -> None:
    """Has writing take a while, and tells the parent when it is going on."""
    syncs = ctypes.c_int64.from_buffer(memory, 8)
    fsync = os.fsync

    def slow_fsync(descriptor: Any) -> None:
        syncs.value += 1
        time.sleep(0.01)
        fsync(descriptor)

    setattr(os, "fsync", slow_fsync)  # noqa: B010


def kill_once(
    folder: Path, writing: bool, rng: random.Random, memory: mmap.mmap
) -> None:
    """Kills a child at a random moment: as it writes, or after random steps."""
    steps, syncs = (ctypes.c_int64.from_buffer(memory, at) for at in (0, 8))
    steps.value, syncs.value = last_kept(folder), 0
    child = os.fork()
    if child == 0:
        slow_down_the_disk(memory)
        train(folder, FAR, memory)
        os._exit(1)
    watched, enough = (
        (syncs, rng.randrange(1, 4))
        if writing
        else (steps, steps.value + rng.randrange(2 * SAVE_FREQ))
    )
    deadline = time.monotonic() + 20
    while watched.value < enough and time.monotonic() < deadline:
        time.sleep(0.0002)
    time.sleep(rng.uniform(0, 0.012))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"


def last_kept(folder: Path) -> int:
    newest = newest_checkpoint(folder)
    return 0 if newest is None else int(newest.stem.split("_")[1])


def weights(model: Any) -> dict[str, list[float]]:
    return {n: v.flatten().tolist() for n, v in model.policy.state_dict().items()}


def main(folder: Path, n_kills: int) -> None:
    torch.set_num_threads(1)
    # Whatever torch loads when it is first used is loaded here, once for all children.
    # No gradient: after one, autograd refuses to work in a fork.
    ActorCritic("MlpPolicy", MAKERS["normalized vector"]()).save(io.BytesIO())
    memory = mmap.mmap(-1, 16)
    steps = ctypes.c_int64.from_buffer(memory)
    rng = random.Random(0)
    kills = []
    for i in range(n_kills):
        kill_once(folder, i % 2 == 0, rng, memory)
        found = checkpoints(folder)
        for path in found:
            assert check_entries(read_content(path), str(path)) is not None
        kills.append(
            {
                "steps": steps.value,
                "kept": last_kept(folder),
                "files": len(found),
                "temporaries": sum(p.suffix == ".pgtoy-tmp" for p in folder.iterdir())
                if folder.exists()
                else 0,
            }
        )
    total = kills[-1]["steps"] + 200
    killed = weights(train(folder, total, memory))
    straight = weights(train(folder.with_name("straight"), total, memory))
    print(json.dumps({"kills": kills, "killed": killed, "straight": straight}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
