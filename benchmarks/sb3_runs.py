"""What callbacks, loggers and rollout buffers hold while an algorithm learns.

As in `sb3_probe`, every function returns rows: a name, and what it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.logger import KVWriter, Logger

from benchmarks.sb3_probe import (
    ACTIONS,
    N_ENVS,
    N_STEPS,
    Algorithm,
    Rows,
    describe,
    probe_model,
)

HOOKS = tuple(
    name
    for name, _ in inspect.getmembers(BaseCallback, inspect.isfunction)
    if name == "_init_callback" or name.startswith("_on_")
)


class Witness(BaseCallback):
    """Writes down what a callback sees, in every hook that SB3 has.

    Attributes:
        calls: names of the hooks, in the order in which they were called.
        seen: `locals` at the last call of each hook.
        own: what the callback's own public attributes were, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.seen: dict[str, dict[str, Any]] = {}
        self.own: dict[str, Rows] = {}
        for name in HOOKS:
            setattr(self, name, partial(self._note, name))

    def _note(self, hook: str) -> bool:
        self.calls.append(hook)
        self.seen[hook] = {name: snapshot(value) for name, value in self.locals.items()}
        names = {*vars(ConvertCallback(None)), "model", "training_env", "logger"}
        names.discard("callback")
        self.own[hook] = {name: describe(getattr(self, name)) for name in sorted(names)}
        return True

    def _on_step(self) -> bool:
        raise AssertionError("the constructor puts another in its place")


def snapshot(value: Any) -> Any:  # noqa: ANN401
    """Returns a copy of an array, which may be written to later."""
    return value.copy() if isinstance(value, np.ndarray) else value


@cache
def witness(algorithm: Algorithm, action: str = "Discrete") -> Witness:
    """Returns a callback that has seen two rollouts."""
    callback = Witness()
    model = probe_model(algorithm, action=action)
    model.learn(2 * N_ENVS * N_STEPS, callback=callback)
    return callback


def hooks(algorithm: Algorithm) -> Rows:
    """Rows of a callback's hooks and attributes."""
    seen = witness(algorithm)
    rows = {name: f"calls: {seen.calls.count(name)}" for name in HOOKS}
    rows["(order of the hooks)"] = ", ".join(
        name for i, name in enumerate(seen.calls) if seen.calls[i - 1 : i] != [name]
    )
    for name in seen.own["_on_step"]:
        found = {hook: own[name] for hook, own in seen.own.items()}
        ways = dict.fromkeys(found.values())
        rows[f"self.{name}"] = " or ".join(ways)
    return rows


def entries(hook: str, algorithm: Algorithm) -> Rows:
    """Rows of `locals` as seen in a hook, with actions of every kind."""
    rows = {}
    for kind in ACTIONS:
        seen = witness(algorithm, kind).seen[hook]
        for name, value in sorted(seen.items()):
            if kind == "Discrete":
                rows[name] = describe(value)
            elif name in ("actions", "clipped_actions"):
                rows[f"{name}, {kind}"] = describe(value)
    return rows


class _Keys(KVWriter):
    """Keeps the keys of the logger with their types and exclusions."""

    def __init__(self) -> None:
        self.rows: Rows = {}

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        for key, value in key_values.items():
            kind = "float" if isinstance(value, np.floating) else type(value).__name__
            hidden = [each for each in key_excluded.get(key) or () if each]
            self.rows[key] = f"{kind}, not in {', '.join(hidden)}" if hidden else kind

    def close(self) -> None:
        """Holds nothing."""


# Of ActorCritic: what is logged only where it is asked for.
ASKED_FOR: tuple[dict[str, Any], ...] = (
    {"clip_range": 0.2, "clip_range_vf": 0.2, "ent_coef": lambda _: 0.01},
    {"critic_learning_rate": 0.001, "memory_size": N_ENVS * N_STEPS},
)


def logged(algorithm: Algorithm, **arguments: Any) -> Rows:
    """Rows of the logger's keys, with continuous actions."""
    model, keys = probe_model(algorithm, action="Box", **arguments), _Keys()
    model.set_logger(Logger(None, [keys]))
    model.learn(3 * N_ENVS * N_STEPS, log_interval=1)
    return dict(sorted(keys.rows.items()))


# Observations and actions that a buffer stores in different ways.
KINDS = (
    ("Box", "Discrete"),
    ("Discrete", "Box"),
    ("Dict", "MultiDiscrete"),
    ("image", "MultiBinary"),
)


class _Look(BaseCallback):
    """Keeps what a full rollout buffer, and a sample of it, look like.

    Attributes:
        buffer: names without underscore, and what they are.
        sample: likewise of what `get` yields.
    """

    def __init__(self) -> None:
        super().__init__()
        self.buffer: Rows = {}
        self.sample: Rows = {}

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        full = self.model.rollout_buffer  # type: ignore[attr-defined]
        for name in dir(full):
            value = getattr(full, name)
            if name.startswith("_"):
                continue
            if inspect.isroutine(value):
                self.buffer[f"{name}()"] = _call(value)
            else:
                self.buffer[name] = describe(value)
        sample = next(full.get(None))
        names: Any = getattr(sample, "_fields", None) or vars(sample)
        self.sample = {name: describe(getattr(sample, name)) for name in names}


def _call(function: Callable[..., Any]) -> str:
    """Returns names and defaults of a function's parameters."""
    found = inspect.signature(function).parameters.values()
    bare = [each.replace(annotation=each.empty) for each in found]
    return str(inspect.Signature(bare))


@cache
def _look(algorithm: Algorithm, observation: str, action: str) -> _Look:
    look = _Look()
    probe_model(algorithm, observation, action).learn(N_ENVS * N_STEPS, callback=look)
    return look


def buffer(algorithm: Algorithm) -> Rows:
    """Rows of a full rollout buffer."""
    return _of_kinds({kind: _look(algorithm, *kind).buffer for kind in KINDS})


def samples(algorithm: Algorithm) -> Rows:
    """Rows of what a rollout buffer's `get` yields."""
    return _of_kinds({kind: _look(algorithm, *kind).sample for kind in KINDS})


def _of_kinds(found: dict[tuple[str, str], Rows]) -> Rows:
    rows = dict(found[KINDS[0]])
    for (observation, action), others in found.items():
        rows[f"observations, {observation}"] = others["observations"]
        rows[f"actions, {action}"] = others["actions"]
    del rows["observations"], rows["actions"]
    return rows
