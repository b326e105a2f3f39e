"""Vector environments of the stage, and its stand-ins for gymnasium and old Gym."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pg_agents.checker.script.stage import Stage, StageEnv

_PASSED_OVER = (
    "NormalizeObservation",
    "NormalizeReward",
    "RecordVideo",
    "HumanRendering",
    "Monitor",
)
# Wrappers that expect five values from `step`.
_OF_NEW_GYM = ("RecordEpisodeStatistics", "TimeLimit", "OrderEnforcing", "ClipAction")


class StageVectorEnv(SyncVectorEnv):
    """A `SyncVectorEnv` that tells its environments which rows they are."""

    def __init__(self, env_fns: Any, *_: Any, **kwargs: Any) -> None:
        accepted = ("copy", "observation_mode", "autoreset_mode")
        super().__init__(env_fns, **{k: kwargs[k] for k in accepted if k in kwargs})
        for row, env in enumerate(self.envs):
            base: Any = env.unwrapped
            base.row, base.width = row, self.num_envs

    def step(self, actions: Any) -> Any:
        """Steps all environments."""
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            for env, action, over in zip(
                self.envs, actions, self._autoreset_envs, strict=True
            ):
                base: Any = env.unwrapped
                base.autoreset_action = action if over else None
        return super().step(actions)


def make_vec(stage: Stage) -> Callable[..., StageVectorEnv]:
    """Returns the stand-in for `gymnasium.make_vec`."""

    def make(
        env_id: Any = None,
        num_envs: int = 1,
        vectorization_mode: Any = None,
        vector_kwargs: dict[str, Any] | None = None,
        wrappers: Any = None,
        **kwargs: Any,
    ) -> StageVectorEnv:
        del vectorization_mode
        env_id = kwargs.pop("id", env_id)

        def one() -> Any:
            env: Any = stage.make(env_id, **kwargs)
            for wrapper in wrappers or ():
                env = wrapper(env)
            return env

        return StageVectorEnv([one] * num_envs, **(vector_kwargs or {}))

    return make


class OldStageEnv(StageEnv):
    """Gym's interface before 0.26: 1 value of `reset()` and 4 of `step()`."""

    hides_limits = True

    def reset(self, **_: Any) -> Any:
        """Starts an episode."""
        return super().reset()[0]

    def step(self, action: Any) -> Any:
        """Takes a step."""
        observation, reward, terminated, truncated, info = super().step(action)
        if truncated:
            info["TimeLimit.truncated"] = True
        return observation, reward, terminated or truncated, info


class OldVectorEnv:
    """Gym's vector environment before 0.26, with same-step autoreset."""

    def __init__(self, env_fns: Any, *_: Any, **__: Any) -> None:
        self.envs = [make() for make in env_fns]
        self.num_envs = len(self.envs)
        for row, env in enumerate(self.envs):
            env.unwrapped.row, env.unwrapped.width = row, self.num_envs
        first = self.envs[0]
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        batch = gymnasium.vector.utils.batch_space
        self.observation_space = batch(first.observation_space, self.num_envs)
        self.action_space = batch(first.action_space, self.num_envs)

    def reset(self, **_: Any) -> Any:
        """Starts an episode in each environment."""
        return np.stack([env.reset() for env in self.envs])

    def step(self, actions: Any) -> Any:
        """Steps all environments; those whose episode ends start the next one."""
        observations, rewards, dones, infos = [], [], [], []
        for env, action in zip(self.envs, actions, strict=True):
            observation, reward, done, info = env.step(action)
            if done:
                info["terminal_observation"] = observation
                observation = env.reset()
            observations.append(observation)
            rewards.append(reward)
            dones.append(done)
            infos.append(info)
        return np.stack(observations), np.array(rewards), np.array(dones), infos

    def close(self) -> None:
        """Does nothing."""


def install(stage: Stage, script: Path) -> None:
    """Puts the stage in the place of gymnasium's functions, and of the package gym."""
    vector = make_vec(stage)
    gymnasium.make = gymnasium.envs.registration.make = stage.make  # type: ignore[assignment]
    gymnasium.make_vec = gymnasium.envs.registration.make_vec = vector
    # Gymnasium before 1.0.
    gymnasium.vector.make = _vector_make(vector)  # type: ignore[attr-defined]
    for name in ("SyncVectorEnv", "AsyncVectorEnv"):
        setattr(gymnasium.vector, name, StageVectorEnv)
    gymnasium.wrappers.RecordEpisodeStatistics = _record_statistics  # type: ignore[misc, assignment]
    for module in (gymnasium.wrappers, gymnasium.wrappers.vector):
        for name in _PASSED_OVER:
            if hasattr(module, name):
                setattr(module, name, _passed_over(stage, name))
    sys.modules["gym"] = _old_gym(stage, old=_expects_four_values(script))


def _vector_make(vector: Callable[..., Any]) -> Callable[..., Any]:
    def make(env_id: Any, num_envs: int = 1, **kwargs: Any) -> Any:
        kwargs.pop("asynchronous", None)
        return vector(env_id, num_envs, **kwargs)

    return make


_STATISTICS = gymnasium.wrappers.RecordEpisodeStatistics


def _record_statistics(env: Any, *_: Any, **__: Any) -> Any:
    """Stands in for the wrapper, of single and, before Gymnasium 1.0, vector envs."""
    if isinstance(env, gymnasium.vector.VectorEnv):
        return gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    return _STATISTICS(env)


def _passed_over(stage: Stage, name: str) -> Callable[..., Any]:
    """Returns a stand-in for a wrapper, which returns the environment as it is."""

    def wrap(env: Any, *_: Any, **__: Any) -> Any:
        if name.startswith("Normalize"):
            note = (
                f"{name} is left out: its running mean and deviation change what the "
                "same transition looks like"
            )
            if note not in stage.notes:
                stage.notes.append(note)
        return env

    return wrap


def _old_gym(stage: Stage, *, old: bool) -> types.ModuleType:
    """Returns a package `gym` made of gymnasium, with the interface of old Gym."""
    package = types.ModuleType("gym")
    package.__dict__.update(
        {k: v for k, v in vars(gymnasium).items() if not k.startswith("__")}
    )
    package.__path__ = []
    package.__dict__["__version__"] = "0.21.0" if old else "0.26.2"

    def make(env_id: Any = None, **kwargs: Any) -> Any:
        kind = OldStageEnv if old else StageEnv
        return stage.make(env_id, kind=kind, **kwargs)

    def make_old_vector(env_id: Any, num_envs: int, **kwargs: Any) -> OldVectorEnv:
        return OldVectorEnv([lambda: make(env_id, **kwargs)] * num_envs)

    vector = types.ModuleType("gym.vector")
    vector.__dict__.update(vars(gymnasium.vector))
    vector.make = _vector_make(make_old_vector if old else make_vec(stage))  # type: ignore[attr-defined]
    if old:
        for name in ("SyncVectorEnv", "AsyncVectorEnv"):
            setattr(vector, name, OldVectorEnv)
    wrappers = types.ModuleType("gym.wrappers")
    wrappers.__dict__.update(vars(gymnasium.wrappers))
    for name in (*_PASSED_OVER, *(_OF_NEW_GYM if old else ())):
        setattr(wrappers, name, _passed_over(stage, name))
    parts = {"vector": vector, "wrappers": wrappers, "make": make}
    for name, part in parts.items():
        setattr(package, name, part)
    for name, part in vars(gymnasium).items():
        if isinstance(part, types.ModuleType) and name not in parts:
            sys.modules[f"gym.{name}"] = part
    sys.modules.update(
        {
            "gym.vector": vector,
            "gym.wrappers": wrappers,
            "gym.envs.registration": gymnasium.envs.registration,
        }
    )
    return package


def _expects_four_values(script: Path) -> bool:
    """Whether the script takes four values from `env.step(action)`."""
    counts = set()
    sources = [script, *sorted(script.parent.glob("*.py"))[:50]]
    for path in sources:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Tuple)
                and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Attribute)
                and node.value.func.attr == "step"
            ):
                counts.add(len(node.targets[0].elts))
        if counts:
            break
    return 4 in counts and 5 not in counts
