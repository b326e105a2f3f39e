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


class StageVectorEnv(SyncVectorEnv):
    """A `SyncVectorEnv` that tells its environments which rows they are."""

    def __init__(self, env_fns: Any, *_: Any, **kwargs: Any) -> None:
        accepted = ("copy", "observation_mode", "autoreset_mode")
        super().__init__(env_fns, **{k: kwargs[k] for k in accepted if k in kwargs})
        for row, env in enumerate(self.envs):
            base: Any = env.unwrapped
            base.row, base.width = row, self.num_envs

    def step(self, actions: Any) -> Any:  # noqa: ANN401
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
        env_id: Any = None,  # noqa: ANN401
        num_envs: int = 1,
        vectorization_mode: Any = None,  # noqa: ANN401
        vector_kwargs: dict[str, Any] | None = None,
        wrappers: Any = None,  # noqa: ANN401
        **kwargs: Any,
    ) -> StageVectorEnv:
        del vectorization_mode
        env_id = kwargs.pop("id", env_id)

        def one() -> Any:  # noqa: ANN401
            env: Any = stage.make(env_id, **kwargs)
            for wrapper in wrappers or ():
                env = wrapper(env)
            return env

        return StageVectorEnv([one] * num_envs, **(vector_kwargs or {}))

    return make


class OldStageEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gym's interface before 0.26: `reset()` returns an observation, `step` 4 values."""

    def reset(self, **_: Any) -> Any:  # noqa: ANN401
        """Starts an episode."""
        return self.env.reset()[0]

    def step(self, action: Any) -> Any:  # noqa: ANN401
        """Takes a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if truncated:
            info["TimeLimit.truncated"] = True
        return observation, reward, terminated or truncated, info

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Does nothing."""
        return [seed]

    @property
    def _max_episode_steps(self) -> int:
        return int(self.env.unwrapped._max_episode_steps)  # type: ignore[attr-defined]


class OldVectorEnv:
    """Gym's vector environment before 0.26, with same-step autoreset."""

    def __init__(self, env_fns: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401
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

    def reset(self, **_: Any) -> Any:  # noqa: ANN401
        """Starts an episode in each environment."""
        return np.stack([env.reset() for env in self.envs])

    def step(self, actions: Any) -> Any:  # noqa: ANN401
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
    gymnasium.make_vec = gymnasium.envs.registration.make_vec = vector  # type: ignore[assignment]
    for name in ("SyncVectorEnv", "AsyncVectorEnv"):
        setattr(gymnasium.vector, name, StageVectorEnv)
    for module in (gymnasium.wrappers, gymnasium.wrappers.vector):
        for name in _PASSED_OVER:
            if hasattr(module, name):
                setattr(module, name, _passed_over(stage, name))
    sys.modules["gym"] = _old_gym(stage, old=_expects_four_values(script))


def _passed_over(stage: Stage, name: str) -> Callable[..., Any]:
    """Returns a stand-in for a wrapper, which returns the environment as it is."""

    def wrap(env: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401
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
    package.__version__ = "0.21.0" if old else "0.26.2"

    def make(env_id: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
        env = stage.make(env_id, **kwargs)
        return OldStageEnv(env) if old else env

    def vector_make(env_id: Any, num_envs: int = 1, **kwargs: Any) -> Any:  # noqa: ANN401
        kwargs.pop("asynchronous", None)
        if old:
            return OldVectorEnv([lambda: make(env_id, **kwargs)] * num_envs)
        return make_vec(stage)(env_id, num_envs, **kwargs)

    vector = types.ModuleType("gym.vector")
    vector.__dict__.update(vars(gymnasium.vector))
    vector.make = vector_make  # type: ignore[attr-defined]
    if old:
        for name in ("SyncVectorEnv", "AsyncVectorEnv"):
            setattr(vector, name, OldVectorEnv)
    wrappers = types.ModuleType("gym.wrappers")
    wrappers.__dict__.update(vars(gymnasium.wrappers))
    for name in (*_PASSED_OVER, *(("RecordEpisodeStatistics",) if old else ())):
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
