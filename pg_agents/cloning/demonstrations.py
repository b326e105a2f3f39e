"""Records demonstrations of a controller: a function, a policy or a model."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecNormalize,
    unwrap_vec_normalize,
)

from pg_agents.cloning.data import (
    Array,
    Observations,
    check_actions,
    check_finite,
    row_name,
)
from pg_agents.cloning.normalization import RawObservations, observation_normalizer
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_integer,
    check_not_negative,
)
from pg_agents.common.tree import copy_observation, count, select, tree_map
from pg_agents.vec_env.adapter import VectorEnvAdapter

AnyEnv = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any] | VecEnv
Controller = Callable[[Any], Any] | PolicyPredictor
# From observations [N, ...] and episode starts [N] to actions [N, ...].
BatchController = Callable[[Observations, NDArray[np.bool_]], Any]


def batch_controller(controller: Controller, deterministic: bool) -> BatchController:
    """Returns a function that computes the actions of N environments.

    Args:
        controller: a function from one observation to one action, or an object with
            SB3's `predict`. A model whose environment normalises observations gets them
            normalised by that.
        deterministic: passed to `predict`.

    Raises:
        TypeError: if `controller` is neither.
        ValueError: if the normalisation of the model's environment is not known.
    """
    predict = getattr(controller, "predict", None)
    if isinstance(controller, type) or not (predict or callable(controller)):
        raise TypeError(
            "controller must be a function from an observation to an action, or have "
            f"SB3's predict, got {controller!r}"
        )
    if predict is None:
        function: Any = controller
        return lambda observations, _: [
            function(select(observations, i)) for i in range(count(observations))
        ]
    env = controller.get_env() if isinstance(controller, BaseAlgorithm) else None
    normalize = observation_normalizer(env)
    state: Any = None

    def act(observations: Observations, episode_starts: NDArray[np.bool_]) -> Any:  # noqa: ANN401
        nonlocal state
        actions, state = predict(
            normalize(observations) if normalize else observations,
            state=state,
            episode_start=episode_starts,
            deterministic=deterministic,
        )
        return actions

    return act


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """B observations and the actions taken in them.

    Attributes:
        observations: `[B, *obs_shape]`, before any VecNormalize or
            NormalizeObservation; a dict of arrays for Dict spaces.
        actions: `[B, *action_shape]`, as the environment takes them.
        episode_returns: `[E]` float64, undiscounted, of the finished episodes.
        episode_lengths: `[E]` int64, in steps.
        episode_starts: `[B]` bool, whether an episode starts with the observation; None
            if unknown. Error messages then name rows instead of episodes and steps.
        observation_space: space of the observations; None if unknown.
            `clone_behaviour` rejects a model with another one.
        action_space: space of the actions, with the same use.

    Raises:
        ValueError: if the numbers of observations, actions and starts differ.
    """

    observations: Observations
    actions: Array
    episode_returns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    episode_lengths: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )
    episode_starts: NDArray[np.bool_] | None = None
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError if lengths differ."""
        n_observations, n_actions = count(self.observations), len(self.actions)
        if n_observations != n_actions:
            raise ValueError(
                "there must be one action for each observation, got "
                f"{n_observations} observations and {n_actions} actions"
            )
        if self.episode_starts is not None and len(self.episode_starts) != n_actions:
            raise ValueError(
                "there must be one entry of episode_starts for each action, got "
                f"{len(self.episode_starts)} and {n_actions}"
            )

    def row_name(self, row: int) -> str:
        """Returns a row's episode and step, counted from 0, for messages."""
        if self.episode_starts is None:
            return row_name(row)
        started = np.flatnonzero(self.episode_starts[: row + 1])
        if len(started) == 0:
            return row_name(row)
        return f"step {row - started[-1]} of episode {len(started) - 1} (row {row})"

    def __len__(self) -> int:
        """Returns B."""
        return len(self.actions)


def record_demonstrations(
    env: AnyEnv | str,
    controller: Controller,
    *,
    n_episodes: int | None = None,
    n_steps: int | None = None,
    max_episode_steps: int = 10_000,
    deterministic: bool = True,
    noise: float = 0.0,
    seed: int | None = None,
) -> Demonstrations:
    """Records the observations and actions of a controller.

    A clone makes small errors that lead to states its controller never visits, where it
    makes larger ones. With `noise` the executed actions are perturbed, and the recorded
    ones, without noise, show how to recover (Laskey et al., 2017, "DART: Noise
    injection for robust imitation learning", with fixed noise).

    The environment is reset first. Observations are recorded before normalisation by
    VecNormalize or NormalizeObservation; running statistics do not change.

    Args:
        env: environment, id, SB3 vector environment or Gymnasium vector environment. An
            environment made from an id is closed at the end.
        controller: a function from one observation to one action, or an object with
            SB3's `predict`. A model whose environment normalises observations gets them
            normalised by that.
        n_episodes: complete episodes of each environment.
        n_steps: steps of each environment, in place of `n_episodes`. Gymnasium's dummy
            steps after the end of an episode are counted, but not recorded.
        max_episode_steps: with `n_episodes`, longer episodes are truncated, with a
            warning.
        deterministic: passed to `predict`.
        noise: standard deviation of Gaussian noise on the executed actions, in their
            units.
        seed: seed of environments and noise; None does not seed the environments.

    Returns:
        The steps of the first environment, of the second, and so on, in order of time.

    Raises:
        NonFiniteError: (a ValueError) if an action or a reward is NaN or infinite, or
            an observation is NaN. Observations may be infinite.
        ValueError: unless exactly one of `n_episodes` and `n_steps` is given; if an
            action is outside the action space; if there is noise on discrete actions;
            if a VecNormalize is inside other wrappers, or environments in other
            processes normalise.
        TypeError: if `env` or `controller` has another type.
    """
    if (n_steps is None) == (n_episodes is None):
        raise ValueError(
            "give either n_episodes or n_steps, of each environment; got n_episodes="
            f"{n_episodes!r} and n_steps={n_steps!r}"
        )
    check_count("max_episode_steps", max_episode_steps)
    for name, value in (("n_steps", n_steps), ("n_episodes", n_episodes)):
        if value is not None:
            check_count(name, value)
    check_choice("deterministic", deterministic, (True, False))
    check_not_negative("noise", noise)
    if seed is not None:
        check_integer("seed", seed, 0)
        # Gymnasium rejects NumPy integers.
        seed = operator.index(seed)
    act = batch_controller(controller, deterministic)
    vec_env = _unnormalized_vec_env(env)
    try:
        if seed is not None:
            vec_env.seed(seed)
        recorder = _Recorder(vec_env, noise, seed)
        with recorder.raw.capture():
            if n_steps is not None:
                return recorder.record_steps(act, n_steps)
            assert n_episodes is not None, "checked above"
            return recorder.record_episodes(act, n_episodes, max_episode_steps)
    finally:
        if isinstance(env, str):
            vec_env.close()


def _unnormalized_vec_env(env: AnyEnv | str) -> VecEnv:
    if isinstance(env, str):
        env = gymnasium.make(env)
    if isinstance(env, VectorEnv):
        return VectorEnvAdapter(env, learner_skips_dummy_steps=True)
    if isinstance(env, gymnasium.Env):
        single = env
        return DummyVecEnv([lambda: single])
    if not isinstance(env, VecEnv):
        raise TypeError(
            "env must be an environment, the id of one or a vector environment, got "
            f"{env!r}"
        )
    if isinstance(env, VecNormalize):
        return env.venv
    if unwrap_vec_normalize(env) is not None:
        raise ValueError(
            "demonstrations are not normalised, but env has a VecNormalize inside "
            f"other wrappers ({type(env).__name__}): pass the environment inside it"
        )
    return env


class _Recorder:
    """Steps N environments and records their transitions."""

    def __init__(self, env: VecEnv, noise: float, seed: int | None) -> None:
        space = env.action_space
        floats = isinstance(space, spaces.Box) and np.issubdtype(
            space.dtype, np.floating
        )
        if noise > 0 and not floats:
            raise ValueError(
                f"noise={noise} needs an action space of floats (a Box), got {space}"
            )
        if isinstance(env.observation_space, spaces.Tuple):
            raise ValueError(
                f"Tuple observations are not supported, got {env.observation_space}"
            )
        self.raw = RawObservations(env)
        self._env, self._noise = env, noise
        self._rng = np.random.default_rng(seed)
        # One entry a step, each [N, ...].
        self._observations: list[Observations] = []
        self._actions: list[Array] = []
        self._episode_starts: list[NDArray[np.bool_]] = []
        self._recorded: list[NDArray[np.bool_]] = []
        # Index of the environment, return and length of each finished episode.
        self._episodes: list[tuple[int, float, int]] = []

    def record_steps(self, act: BatchController, n_steps: int) -> Demonstrations:
        """Records the same number of steps of each environment."""
        self._reset()
        active = np.ones(self._env.num_envs, dtype=np.bool_)
        for _ in range(n_steps):
            self._step(act, active, math.inf)
        return self._demonstrations()

    def record_episodes(
        self, act: BatchController, n_episodes: int, max_episode_steps: int
    ) -> Demonstrations:
        """Records the same number of episodes of each environment.

        The first ones to finish in any environment would be short ones too often.
        """
        remaining = np.full(self._env.num_envs, n_episodes)
        while remaining.any():
            self._reset()
            active = remaining > 0
            # SB3 cannot reset one environment alone: after a truncated episode it waits
            # until the others have finished.
            while active.any():
                ended, truncated = self._step(act, active, max_episode_steps)
                remaining -= ended
                active = active & ~truncated & (remaining > 0)
        return self._demonstrations()

    def _reset(self) -> None:
        n_envs = self._env.num_envs
        self._obs: Any = self.raw.pop(self._env.reset(), None)
        self._starts = np.ones(n_envs, dtype=np.bool_)
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)

    def _step(
        self, act: BatchController, active: NDArray[np.bool_], max_episode_steps: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Steps all environments and records the active ones.

        Returns:
            Whose recorded episode ended, and whose was truncated, `[N]` bool each.
        """
        env = self._env
        # A copy, since the controller and the environment may modify the original.
        obs = copy_observation(self._obs)
        self._check_observations(obs, active)
        actions = check_actions(
            env.action_space,
            act(self._obs, self._starts),
            "the controller's actions",
            self._row_name,
        )
        next_obs, rewards, dones, _ = env.step(self._with_noise(actions))
        self._obs = self.raw.pop(next_obs, dones)
        adapter = env.unwrapped
        is_dummy = (
            adapter.dummy_steps
            if isinstance(adapter, VectorEnvAdapter)
            else np.zeros(len(dones), dtype=np.bool_)
        )
        recorded = active & ~is_dummy
        finite = np.isfinite(rewards) | ~recorded
        check_finite("the environment's rewards", rewards, finite, self._row_name)
        self._observations.append(obs)
        self._actions.append(actions)
        self._episode_starts.append(self._lengths == 0)
        self._recorded.append(recorded)
        self._returns += np.where(is_dummy, 0.0, rewards)
        self._lengths += ~is_dummy
        truncated = recorded & ~dones & (self._lengths >= max_episode_steps)
        if truncated.any():
            warnings.warn(
                f"an episode was truncated after {max_episode_steps} steps: raise "
                "max_episode_steps, or give n_steps if episodes never end",
                stacklevel=4,
            )
        ended = recorded & (dones | truncated)
        self._episodes += [
            (int(i), float(self._returns[i]), int(self._lengths[i]))
            for i in np.flatnonzero(ended)
        ]
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        self._starts = dones
        return ended, truncated

    def _with_noise(self, actions: Array) -> Array:
        space = self._env.action_space
        if self._noise > 0:
            assert isinstance(space, spaces.Box), "checked in __init__"
            noise = self._noise * self._rng.standard_normal(actions.shape)
            actions = np.clip(actions + noise, space.low, space.high)
        return actions.astype(space.dtype, copy=False)

    def _row_name(self, i: int) -> str:
        return f"that of environment {i} in step {self._lengths[i]} of its episode"

    def _check_observations(self, obs: Observations, active: NDArray[np.bool_]) -> None:
        """Raises a NonFiniteError if an observation to be recorded is NaN."""
        for key, array in obs.items() if isinstance(obs, dict) else [(None, obs)]:
            if array.dtype.kind == "f":
                name = "the environment's observations"
                name += "" if key is None else f"[{key!r}]"
                idle = ~active.reshape(-1, *[1] * (array.ndim - 1))
                check_finite(name, array, ~np.isnan(array) | idle, self._row_name)

    def _demonstrations(self) -> Demonstrations:
        recorded = np.stack(self._recorded, axis=1)

        def join(steps: list[Array]) -> Array:
            # One environment after the other.
            return np.stack(steps, axis=1)[recorded]

        episodes = sorted(self._episodes, key=lambda episode: episode[0])
        return Demonstrations(
            tree_map(lambda *steps: join([*steps]), *self._observations),
            join(self._actions),
            np.array([episode[1] for episode in episodes], dtype=np.float64),
            np.array([episode[2] for episode in episodes], dtype=np.int64),
            join(self._episode_starts),
            self.raw.space,
            self._env.action_space,
        )
