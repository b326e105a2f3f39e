"""Records demonstrations of a controller: a function, a policy or a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
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
    RowName,
    check_actions,
    check_finite,
    row_name,
)
from pg_agents.cloning.normalization import RawObservations, observation_normalizer
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_seed,
)
from pg_agents.common.spaces import nearest_actions
from pg_agents.common.tree import copy_observation, count, select, tree_map
from pg_agents.vec_env.adapter import VectorEnvAdapter

AnyEnv = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any] | VecEnv
Controller = Callable[[Any], Any] | PolicyPredictor
# From observations [N, ...] and episode starts [N] to actions [N, ...].
BatchController = Callable[[Observations, NDArray[np.bool_]], Any]


def batch_controller(controller: Controller, deterministic: bool) -> BatchController:
    """Returns a function that computes the actions of N environments.

    The arguments are those of `record_demonstrations`, and so are the errors.
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


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        """Returns one line in place of the arrays."""
        parts = [f"{len(self.actions):,} steps"]
        if len(self.episode_returns):
            parts += [
                f"{len(self.episode_returns):,} episodes",
                f"mean return {self.episode_returns.mean():.4g}",
            ]
        return f"Demonstrations({', '.join(parts)})"

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
        check_seed("seed", seed)
        # Gymnasium rejects NumPy integers.
        seed = int(seed)
    act = batch_controller(controller, deterministic)
    vec_env = _unnormalized_vec_env(env)
    n_envs, space = vec_env.num_envs, vec_env.action_space
    # One entry a step, each [N, ...].
    observations: list[Observations] = []
    actions: list[Array] = []
    episode_starts: list[NDArray[np.bool_]] = []
    recorded: list[NDArray[np.bool_]] = []
    # Returns and lengths of the finished episodes of each environment.
    finished: list[list[tuple[float, int]]] = [[] for _ in range(n_envs)]
    # Each environment records its own number: the first episodes to finish in any
    # environment would be short ones too often.
    remaining = np.full(n_envs, math.inf if n_episodes is None else n_episodes)
    active = np.zeros(n_envs, dtype=np.bool_)

    def name_of_env(i: int) -> str:
        return f"that of environment {i} in step {lengths[i]} of its episode"

    with ExitStack() as stack:
        if isinstance(env, str):
            stack.callback(vec_env.close)
        if isinstance(vec_env.observation_space, spaces.Tuple):
            raise ValueError(
                f"Tuple observations are not supported, got {vec_env.observation_space}"
            )
        is_float = isinstance(space, spaces.Box) and space.dtype.kind == "f"
        if noise > 0 and not is_float:
            raise ValueError(
                f"noise={noise} needs an action space of floats (a Box), got {space}"
            )
        rng = np.random.default_rng(seed)
        if seed is not None:
            vec_env.seed(seed)
        raw = RawObservations(vec_env)
        stack.enter_context(raw.capture())
        while remaining.any() and (n_steps is None or len(recorded) < n_steps):
            # SB3 cannot reset one environment alone: after a truncated episode it waits
            # until the others have finished.
            if not active.any():
                obs: Any = raw.pop(vec_env.reset(), None)
                active = remaining > 0
                starts = np.ones(n_envs, dtype=np.bool_)
                returns, lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
            _check_not_nan(obs, active, name_of_env)
            # A copy, since the controller and the environment may modify the original.
            observations.append(copy_observation(obs))
            chosen = check_actions(
                space, act(obs, starts), "the controller's actions", name_of_env
            )
            actions.append(chosen)
            episode_starts.append(lengths == 0)
            executed = chosen
            if noise > 0:
                noisy = chosen + noise * rng.standard_normal(chosen.shape)
                executed = nearest_actions(noisy, space)
            next_obs, rewards, starts, _ = vec_env.step(executed)
            obs = raw.pop(next_obs, starts)
            # Only VectorEnvAdapter has dummy steps.
            none = np.zeros(n_envs, dtype=np.bool_)
            is_dummy = getattr(vec_env.unwrapped, "dummy_steps", none)
            of_step = active & ~is_dummy
            recorded.append(of_step)
            finite = np.isfinite(rewards) | ~of_step
            check_finite("the environment's rewards", rewards, finite, name_of_env)
            returns += np.where(is_dummy, 0.0, rewards)
            lengths += ~is_dummy
            truncated = of_step & ~starts & (lengths >= max_episode_steps)
            if n_episodes is None:
                truncated = none
            if truncated.any():
                warnings.warn(
                    f"an episode was truncated after {max_episode_steps} steps: raise "
                    "max_episode_steps, or give n_steps if episodes never end",
                    stacklevel=2,
                )
            ended = of_step & (starts | truncated)
            for i in np.flatnonzero(ended):
                finished[i].append((returns[i], lengths[i]))
            remaining -= ended
            active = active & ~truncated & (remaining > 0)
            returns[starts] = 0.0
            lengths[starts] = 0

    mask = np.stack(recorded, axis=1)

    def join(*steps: Array) -> Array:
        # One environment after the other.
        return np.stack(steps, axis=1)[mask]

    episodes = [episode for of_env in finished for episode in of_env]
    return Demonstrations(
        tree_map(join, *observations),
        join(*actions),
        np.array([episode_return for episode_return, _ in episodes], dtype=np.float64),
        np.array([length for _, length in episodes], dtype=np.int64),
        join(*episode_starts),
        raw.space,
        space,
    )


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


def _check_not_nan(
    obs: Observations, active: NDArray[np.bool_], name_of_env: RowName
) -> None:
    """Raises a NonFiniteError if an observation to be recorded is NaN."""
    for key, array in obs.items() if isinstance(obs, dict) else [(None, obs)]:
        if array.dtype.kind == "f":
            name = "the environment's observations"
            name += "" if key is None else f"[{key!r}]"
            idle = ~active.reshape(-1, *[1] * (array.ndim - 1))
            check_finite(name, array, ~np.isnan(array) | idle, name_of_env)
