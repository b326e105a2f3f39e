"""Models and environments made from plain settings."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from torch import nn

import pg_envs
from benchmarks.speed.protocol import Attempt, Facts
from pg_agents import REINFORCE, ActorCritic, as_vec_env

ALGORITHMS: dict[str, type[OnPolicyAlgorithm]] = {
    "ActorCritic": ActorCritic,
    "REINFORCE": REINFORCE,
    "A2C": A2C,
    "PPO": PPO,
}


def make_env(
    kind: str, env_id: str, n_envs: int, device: str = "cpu", **arguments: Any
) -> VecEnv | VectorEnv[Any, Any, Any]:
    """Returns an environment of the kinds that `settings.learning` names."""
    if kind == "dummy":
        return make_vec_env(env_id, n_envs=n_envs, env_kwargs=arguments or None)
    if kind == "bare":
        return DummyVecEnv([lambda: gymnasium.make(env_id, **arguments)] * n_envs)
    if kind == "gymnasium":
        return gymnasium.make_vec(env_id, num_envs=n_envs, **arguments)
    assert kind == "torch", kind
    return pg_envs.make_torch_vec(env_id, n_envs, device=device, **arguments)


def make_algorithm_env(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Returns the environment that the algorithm of these settings is given."""
    env = make_env(
        settings["env"],
        settings["env_id"],
        settings["n_envs"],
        settings["arguments"]["device"],
        **settings.get("env_arguments", {}),
    )
    extras = settings.get("extras", ())
    theirs = settings["algorithm"] in ("A2C", "PPO")
    if isinstance(env, VectorEnv) and (theirs or "adapter" in extras):
        env = as_vec_env(env)
    if isinstance(env, VecEnv) and "vec_monitor" in extras:
        env = VecMonitor(env)
    return env


def resolved(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments with what JSON has no word for: schedules and classes."""
    found = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, str) and value.startswith("lin_"):
            found[name] = LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    kwargs = arguments.get("policy_kwargs")
    if kwargs and "activation_fn" in kwargs:
        activation = getattr(nn, kwargs["activation_fn"])
        found["policy_kwargs"] = {**kwargs, "activation_fn": activation}
    return found


def make_model(settings: Mapping[str, Any], env: object, seed: int) -> Any:  # noqa: ANN401
    """Returns a fresh model."""
    return ALGORITHMS[settings["algorithm"]](
        settings.get("policy", "MlpPolicy"),
        env,  # type: ignore[arg-type]
        seed=seed,
        **resolved(settings["arguments"]),
    )


class Idle(BaseCallback):
    """A callback that does nothing, at every step."""

    def _on_step(self) -> bool:
        return True


class LearningTask:
    """`learn()` of a fresh model, in an environment that stays the same.

    Args:
        settings: see `settings.learning`. Its `extras` are `"callbacks"`, stock
            callbacks that do nothing; `"logger"`, SB3's CSV logger; `"adapter"`,
            `as_vec_env` around the environment; `"vec_monitor"`, SB3's VecMonitor
            around that.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.extras = tuple(settings.get("extras", ()))
        self.env = make_algorithm_env(settings)
        self.folder = tempfile.mkdtemp(prefix="pgtoy-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    def __call__(self, seed: int) -> Attempt:
        """Returns the attempt of a fresh model."""
        model = make_model(self.settings, self.env, seed)
        callbacks: list[BaseCallback] = []
        if "callbacks" in self.extras:
            never = CheckpointCallback(10**12, self.folder)
            callbacks += [Idle(), CallbackList([Idle(), Idle()]), never]
        if "logger" in self.extras:
            model.set_logger(configure(self.folder, ["csv"]))

        def attempt(n_steps: int) -> Facts:
            model.learn(n_steps, callback=callbacks or None)
            model.logger.close()
            updates = float(model._n_updates)
            return {"steps": float(model.num_timesteps), "updates": updates}

        return attempt
