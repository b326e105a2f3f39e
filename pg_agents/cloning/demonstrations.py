"""Demonstrations: what somebody saw and did, recorded from a function or a model."""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecNormalize,
    unwrap_vec_normalize,
)

from pg_agents.cloning.asking import Ask, Controller, asker
from pg_agents.cloning.disturbance import Disturbance
from pg_agents.cloning.normalization import RawObservations
from pg_agents.cloning.space_arrays import (
    Observations,
    check_actions,
    check_finite,
    row_number,
)
from pg_agents.common.checks import check_bool, check_count, check_integer
from pg_agents.common.tree import copy_observation, count
from pg_agents.rollout.limits import EpisodeLimit, RolloutLimit, StepLimit
from pg_agents.vec_env.adapter import VectorEnvAdapter

AnyEnv = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any] | VecEnv


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """B actions and what was observed before each.

    Attributes:
        observations: `[B, *obs_shape]`, raw: as the environment returns them beneath
            any VecNormalize or NormalizeObservation; a dict of arrays for Dict spaces.
        actions: `[B, *action_shape]`, as the environment takes them.
        episode_returns: `[E]` float64, sum of the rewards of each episode that ended.
        episode_lengths: `[E]` int64, steps of these.
        episode_starts: `[B]` bool, whether an episode begins with an action; None if
            that is not known. Messages then count rows instead of episodes.
        observation_space: that the observations are from; None if it is not known.
            `clone_behaviour` refuses a model with another one.
        action_space: likewise.

    Raises:
        ValueError: if there are not as many observations as actions, or starts.
    """

    observations: Observations
    actions: NDArray[Any]
    episode_returns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    episode_lengths: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )
    episode_starts: NDArray[np.bool_] | None = None
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError unless there is an action for each observation."""
        n_observations, n_actions = count(self.observations), len(self.actions)
        if n_observations != n_actions:
            raise ValueError(
                "there must be one action for each observation, got "
                f"{n_observations} observations and {n_actions} actions"
            )
        if self.episode_starts is not None and len(self.episode_starts) != n_actions:
            raise ValueError(
                f"episode_starts must be as many as actions, got "
                f"{len(self.episode_starts)} and {n_actions}"
            )

    def place(self, row: int) -> str:
        """Returns in words which action row `row` is, all counted from 0."""
        if self.episode_starts is None:
            return row_number(row)
        begun = np.flatnonzero(self.episode_starts[: row + 1])
        if len(begun) == 0:
            return row_number(row)
        return f"step {row - begun[-1]} of episode {len(begun) - 1} (row {row})"

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
    """Lets a controller act, and writes down what it saw and did.

    A clone errs a little, comes to where its controller has never been, and errs more.
    With `noise` the controller is pushed off its way, and what is written down, its own
    undisturbed actions, shows how to come back (Laskey et al., 2017, "DART: Noise
    injection for robust imitation learning", with noise of a fixed size).

    The environment is reset first and left where the recording ended. What is recorded
    is raw: of a `VecNormalize` the environment beneath is used, and of Gymnasium's
    `NormalizeObservation` what it is given. Their statistics, and those of
    `NormalizeReward`, stay as they are.

    Args:
        env: environment, id, SB3 vector env or Gymnasium vector env. Only one that was
            made here, from an id, is closed.
        controller: a function from one observation to one action, as they are
            recorded; or anything with SB3's `predict`, a model or a policy. A model
            whose own environment normalises observations sees them normalised by that.
        n_episodes: whole episodes of every environment. (The first to end in any of
            them would be short ones too often.)
        n_steps: steps of every environment, instead; Gymnasium's dummy steps count,
            and are left out.
        max_episode_steps: with `n_episodes`: an episode still running after this many
            steps is cut off there, with a warning.
        deterministic: passed on to `predict`.
        noise: standard deviation of Gaussian noise on the actions that are executed, in
            their units. Returns are then those of the disturbed controller.
        seed: seeds the environments and the noise; None leaves the environments as they
            are.

    Returns:
        One environment's steps after the other's, each in the order of time.

    Raises:
        NonFiniteError: (a ValueError) if an action is NaN or infinite, an observation
            is NaN, or a reward is either; it names environment and step. Observations
            may be infinite.
        ValueError: if not exactly one of `n_episodes` and `n_steps` is given, if an
            action lies outside the action space, if there is noise and actions are not
            real numbers, if a `VecNormalize` is covered by other wrappers, or if
            environments in other processes normalise.
        TypeError: if `env` or `controller` is none of the above.
    """
    if (n_steps is None) == (n_episodes is None):
        raise ValueError(
            "give either n_episodes or n_steps, of each environment; got n_episodes="
            f"{n_episodes!r} and n_steps={n_steps!r}"
        )
    check_count("max_episode_steps", max_episode_steps)
    if n_steps is not None:
        check_count("n_steps", n_steps)
    else:
        check_count("n_episodes", n_episodes)
    check_bool("deterministic", deterministic)
    if seed is not None:
        check_integer("seed", seed, 0)
        # Gymnasium takes Python's integers alone.
        seed = operator.index(seed)
    ask = asker(controller, deterministic)
    vec_env = _raw_vec_env(env)
    try:
        if seed is not None:
            vec_env.seed(seed)
        cap = max_episode_steps if n_steps is None else None
        quota: RolloutLimit
        if n_steps is not None:
            quota = StepLimit(n_steps)
        else:
            assert n_episodes is not None, "it is one of the two"
            quota = EpisodeLimit(vec_env.num_envs, n_episodes)
        disturb = Disturbance(vec_env.action_space, noise, seed)
        raw = RawObservations(vec_env)
        with raw.watched():
            return _Recording(vec_env, raw, quota, cap, disturb).run(ask)
    finally:
        if isinstance(env, str):
            vec_env.close()


def _raw_vec_env(env: AnyEnv | str) -> VecEnv:
    """Returns an SB3 vector environment whose observations are not normalised."""
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
            "demonstrations are not normalised, and other wrappers cover the "
            f"VecNormalize of env ({type(env).__name__}): pass the environment that "
            "lies beneath it"
        )
    return env


class _Recording:
    """What has been recorded so far of N environments, and how they stand."""

    def __init__(
        self,
        env: VecEnv,
        raw: RawObservations,
        quota: RolloutLimit,
        cap: int | None,
        disturb: Disturbance,
    ) -> None:
        if isinstance(env.observation_space, spaces.Tuple):
            raise ValueError(
                f"Tuple observations are not supported, got {env.observation_space}"
            )
        self._env = env
        self._raw = raw
        self._quota = quota
        self._cap = cap
        self._disturb = disturb
        # One entry a step, each [N, ...].
        self._observations: list[Observations] = []
        self._actions: list[NDArray[Any]] = []
        self._begun: list[NDArray[np.bool_]] = []
        self._recorded: list[NDArray[np.bool_]] = []
        # Environment, return and length of each finished episode.
        self._episodes: list[tuple[int, float, int]] = []
        self._begin()

    def _begin(self) -> None:
        n_envs = self._env.num_envs
        self._seen: Any = self._raw.of(self._env.reset(), None)
        self._starts = np.ones(n_envs, dtype=np.bool_)
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)

    def run(self, ask: Ask) -> Demonstrations:
        """Records until the quota is filled."""
        while not self._quota.reached:
            if self._quota.needs_reset:
                self._begin()
                self._quota.reset()
            self._step(ask)
        recorded = np.stack(self._recorded, axis=1)

        def joined(steps: list[NDArray[Any]]) -> NDArray[Any]:
            return np.stack(steps, axis=1)[recorded]

        observations: Any = self._observations
        episodes = sorted(self._episodes, key=lambda episode: episode[0])
        return Demonstrations(
            {key: joined([step[key] for step in observations]) for key in self._seen}
            if isinstance(self._seen, dict)
            else joined(observations),
            joined(self._actions),
            np.array([episode[1] for episode in episodes], dtype=np.float64),
            np.array([episode[2] for episode in episodes], dtype=np.int64),
            joined(self._begun),
            self._raw.space,
            self._env.action_space,
        )

    def _step(self, ask: Ask) -> None:
        env, wanted = self._env, self._quota.recorded
        if wanted is None:
            wanted = np.ones(env.num_envs, dtype=np.bool_)
        # A copy: the controller may write into what it is given, and so may a vector
        # environment into what it has returned.
        before = copy_observation(self._seen)
        self._check_observations(before, wanted)
        answer = ask(self._seen, self._starts)
        actions = check_actions(
            env.action_space, answer, "the controller's actions", self._place
        )
        executed = self._disturb(actions).astype(env.action_space.dtype, copy=False)
        seen, rewards, dones, _ = env.step(executed)
        self._seen = self._raw.of(seen, dones)
        adapter = env.unwrapped
        dummy = (
            adapter.dummy_steps
            if isinstance(adapter, VectorEnvAdapter)
            else np.zeros(len(dones), dtype=np.bool_)
        )
        recorded = wanted & ~dummy
        good = np.isfinite(rewards) | ~recorded
        check_finite("the environment's rewards", rewards, good, self._place)
        self._observations.append(before)
        self._actions.append(actions)
        self._begun.append(self._lengths == 0)
        self._recorded.append(recorded)
        self._returns += np.where(dummy, 0.0, rewards)
        self._lengths += ~dummy
        self._end_episodes(recorded, dones)

    def _place(self, i: int) -> str:
        return f"that of environment {i} in step {self._lengths[i]} of its episode"

    def _check_observations(
        self, observations: Observations, wanted: NDArray[np.bool_]
    ) -> None:
        """Raises a NonFiniteError if what is to be recorded is NaN."""
        parts = observations if isinstance(observations, dict) else {"": observations}
        for key, array in parts.items():
            if array.dtype.kind == "f":
                name = "the environment's observations" + (f"[{key!r}]" if key else "")
                idle = ~wanted.reshape(-1, *[1] * (array.ndim - 1))
                check_finite(name, array, ~np.isnan(array) | idle, self._place)

    def _end_episodes(
        self, recorded: NDArray[np.bool_], dones: NDArray[np.bool_]
    ) -> None:
        capped = np.zeros_like(recorded)
        if self._cap is not None:
            capped = recorded & ~dones & (self._lengths >= self._cap)
        if capped.any():
            warnings.warn(
                f"an episode was still running after {self._cap} steps and its "
                "recording ended there: raise max_episode_steps if it should go on, or "
                "give n_steps if it never ends",
                stacklevel=5,
            )
        ended = recorded & (dones | capped)
        self._episodes += [
            (int(i), float(self._returns[i]), int(self._lengths[i]))
            for i in np.flatnonzero(ended)
        ]
        self._quota.update(ended, dones)
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        self._starts = dones
