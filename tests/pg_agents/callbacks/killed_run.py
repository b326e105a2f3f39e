"""A run that is killed at chosen moments; a process of its own, run by a test.

It prints a line of JSON: what was found after every kill, and the weights at the end.
"""

from __future__ import annotations

import ctypes
import io
import json
import mmap
import os
import signal
import stat
import sys
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
from pg_agents.checkpoint.archive import open_checkpoint, read_content
from tests.pg_agents.checkpoint.resuming_examples import MAKERS

SAVE_FREQ, N_STEPS, N_ENVS = 30, 4, 3
# More steps than any child takes before it is killed.
FAR = 50 * SAVE_FREQ
# How far the writing of a file has come.
STAGES = (
    "half of the file",
    "not on the disk",
    "not in its place",
    "in its place",
    "an old one is there",
)


class Tell(BaseCallback):
    """Writes the steps taken to memory that the parent reads."""

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__()
        self.steps = ctypes.c_int64.from_buffer(memory)

    def _on_step(self) -> bool:
        self.steps.value = self.num_timesteps
        return True


def train(
    folder: Path, total: int, memory: mmap.mmap, *callbacks: BaseCallback
) -> ActorCritic:
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
    keep = [KeepCheckpoints(SAVE_FREQ, folder), Tell(memory), *callbacks]
    return model.learn(
        remaining_timesteps(model, total), keep, reset_num_timesteps=False
    )


class Killed(BaseCallback):
    """Kills its process after so many calls, one for each step of all environments."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def _on_step(self) -> bool:
        if self.n_calls == self.calls:
            die()
        return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(stage: str, saves: int) -> None:
    """Has this process killed in the middle of writing its n-th file.

    Args:
        stage: one of `STAGES`.
        saves: n.
    """
    count, sync, replace, unlink = 0, os.fsync, os.replace, os.unlink

    def reached(now: str) -> bool:
        return now == stage and count >= saves

    def fsync(descriptor: Any) -> None:
        nonlocal count
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        count += is_file
        if is_file and reached("half of the file"):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        if is_file and reached("not on the disk"):
            die()
        sync(descriptor)

    def put_in_place(source: Any, target: Any) -> None:
        if reached("not in its place"):
            die()
        replace(source, target)
        if reached("in its place"):
            die()

    def remove(path: Any) -> None:
        if reached("an old one is there"):
            die()
        unlink(path)

    own = {"fsync": fsync, "replace": put_in_place, "unlink": remove}
    for name, function in own.items():
        setattr(os, name, function)


def kill_once(folder: Path, i: int, memory: mmap.mmap) -> str:
    """Has a child killed at the i-th moment; returns which that is.

    Half of them are kills in a stage of writing, of the child's first file or its
    second; the others come after 1 to 2 SAVE_FREQ steps.
    """
    stage = STAGES[i // 2 % len(STAGES)] if i % 2 == 0 else ""
    saves = 1 + i // 2 // len(STAGES) % 2
    calls = 1 + 7 * i % (2 * SAVE_FREQ // N_ENVS)
    kept = last_kept(folder)
    ctypes.c_int64.from_buffer(memory).value = kept
    child = os.fork()
    if child == 0:
        if stage:
            die_while_writing(stage, saves)
            train(folder, kept + FAR, memory)
        else:
            train(folder, kept + FAR, memory, Killed(calls))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    return stage or f"{calls} calls"


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
    memory = mmap.mmap(-1, 8)
    steps = ctypes.c_int64.from_buffer(memory)
    kills: list[dict[str, Any]] = []
    for i in range(n_kills):
        moment = kill_once(folder, i, memory)
        found = checkpoints(folder)
        for path in found:
            assert open_checkpoint(read_content(path), str(path)).manifest is not None
        kills.append(
            {
                "moment": moment,
                "steps": steps.value,
                "kept": last_kept(folder),
                "files": len(found),
                "temporaries": sum(p.suffix == ".pgtoy-tmp" for p in folder.iterdir())
                if folder.exists()
                else 0,
            }
        )
    total = int(steps.value) + 200
    killed = weights(train(folder, total, memory))
    straight = weights(train(folder.with_name("straight"), total, memory))
    print(json.dumps({"kills": kills, "killed": killed, "straight": straight}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
