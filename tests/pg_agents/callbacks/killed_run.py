"""A process, run by a test, whose children train and are killed at chosen moments.

It prints JSON: the files after every kill, and the final weights.
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
# Stages of writing a file.
STAGES = ("half written", "not synced", "not moved", "moved", "old file not removed")


class ReportSteps(BaseCallback):
    """Writes the number of steps to memory shared with the parent."""

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
            "MlpPolicy", env, n_steps=N_STEPS, seed=3, policy_kwargs={"net_arch": [8]}
        )
    else:
        model = resume(ActorCritic, folder, env)
    keep = [KeepCheckpoints(SAVE_FREQ, folder), ReportSteps(memory), *callbacks]
    return model.learn(
        remaining_timesteps(model, total), keep, reset_num_timesteps=False
    )


class KillAt(BaseCallback):
    """Kills its process at a call, one for each step of all environments."""

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
    """Kills this process while it writes its n-th file.

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
        if is_file and reached("half written"):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        if is_file and reached("not synced"):
            die()
        sync(descriptor)

    def move(source: Any, target: Any) -> None:
        if reached("not moved"):
            die()
        replace(source, target)
        if reached("moved"):
            die()

    def remove(path: Any) -> None:
        if reached("old file not removed"):
            die()
        unlink(path)

    patched = {"fsync": fsync, "replace": move, "unlink": remove}
    for name, function in patched.items():
        setattr(os, name, function)


def kill_once(folder: Path, i: int, memory: mmap.mmap) -> str:
    """Kills a child at the i-th moment, and returns its name.

    Half of the moments are in a stage of writing the child's first or second file; the
    others are after 1 to 2 SAVE_FREQ steps.
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
            train(folder, kept + FAR, memory, KillAt(calls))
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
    # Loads lazy parts of torch once for all children. Without a gradient, after which
    # autograd does not work in a fork.
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
