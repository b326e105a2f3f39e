"""The environments of R learners: N lanes each, stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

import pg_envs
from pg_agents.checkpoint.env_state import get_env_state, set_env_state
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_envs.vector.base import BatchedEnv

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class LaneStep(NamedTuple):
    """The transitions of all lanes.

    Attributes:
        obs: `[R, N, *obs_shape]`, after any restart.
        rewards: `[R, N]`.
        terminated: `[R, N]` bool.
        truncated: `[R, N]` bool, and not terminated.
        final_obs: `[R, N, *obs_shape]`, the last observation of the episode where one
            ended; None if none did.
    """

    obs: Array
    rewards: Array
    terminated: Mask
    truncated: Mask
    final_obs: Array | None


class Lanes(Protocol):
    """N lanes of each of R learners, whose episodes restart within the step.

    The lanes of a learner draw from its own seed.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    def reset(self, seeds: Sequence[int], which: Mask) -> Array:
        """Seeds and restarts all lanes of some learners.

        Args:
            seeds: R seeds.
            which: `[R]` bool.

        Returns:
            Observations of all lanes, `[R, N, *obs_shape]`.
        """

    def restart(self, mask: Mask) -> Array:
        """Restarts the lanes of a mask `[R, N]`; returns all observations."""

    def step(self, actions: Array, active: Mask) -> LaneStep:
        """Takes a step.

        Args:
            actions: `[R, N, *action_shape]`, within the action space.
            active: `[R]` bool; the result of other learners is undefined.
        """

    def get_state(self) -> Any:  # noqa: ANN401
        """Returns everything that the next steps depend on."""

    def set_state(self, state: Any) -> None:  # noqa: ANN401
        """Restores what `get_state` returned."""

    def close(self) -> None:
        """Closes the environments."""


class BatchedLanes:
    """The lanes of all learners in one vector environment of pg_envs.

    Args:
        env: R times N environments, SAME_STEP, on NumPy.
        n_learners: R.
    """

    def __init__(self, env: BatchedEnv, n_learners: int) -> None:
        self._env, self._shape = env, (n_learners, env.num_envs // n_learners)
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space

    def reset(self, seeds: Sequence[int], which: Mask) -> Array:
        """See `Lanes`."""
        before = None if which.all() else self._env.get_state()
        obs = self._rows(self._env.reset(seed=list(seeds))[0])
        if before is None:
            return obs
        state = self._env.get_state()
        kept = np.repeat(~which, self._shape[1])
        for name, column in state["columns"].items():
            column[kept] = before["columns"][name][kept]
        for i in np.flatnonzero(~which).tolist():
            state["generator"][i] = before["generator"][i]
        self._env.set_state(state)
        # An empty mask restarts nothing, and returns the present observations.
        return self.restart(np.zeros(self._shape, np.bool_))

    def restart(self, mask: Mask) -> Array:
        """See `Lanes`."""
        options = {"reset_mask": mask.reshape(-1)}
        return self._rows(self._env.reset(options=options)[0])

    def step(self, actions: Array, active: Mask) -> LaneStep:
        """See `Lanes`."""
        obs, rewards, terminated, truncated, infos = self._env.step_unchecked(
            actions.reshape(-1)
        )
        final_obs = infos.get("final_obs")
        return LaneStep(
            self._rows(obs),
            self._rows(rewards),
            self._rows(terminated),
            self._rows(truncated & ~terminated),
            None if final_obs is None else self._rows(final_obs),
        )

    def get_state(self) -> Any:  # noqa: ANN401
        """See `Lanes`."""
        return self._env.get_state()

    def set_state(self, state: Any) -> None:  # noqa: ANN401
        """See `Lanes`."""
        self._env.set_state(state)

    def close(self) -> None:
        """See `Lanes`."""
        self._env.close()

    def _rows(self, values: Array) -> Array:
        return values.reshape(*self._shape, *values.shape[1:])


class SeparateLanes:
    """A vector environment of Gymnasium for each learner, stepped in turn.

    Args:
        envs: R environments of N lanes, SAME_STEP.
    """

    def __init__(self, envs: Sequence[SyncVectorEnv]) -> None:
        self._envs = tuple(envs)
        self.observation_space = envs[0].single_observation_space
        self.action_space = envs[0].single_action_space
        space = envs[0].observation_space
        self._obs: Array = np.zeros((len(envs), *space.shape), space.dtype)  # type: ignore[misc]

    def reset(self, seeds: Sequence[int], which: Mask) -> Array:
        """See `Lanes`."""
        self._obs = self._obs.copy()
        for i in np.flatnonzero(which).tolist():
            self._obs[i] = self._envs[i].reset(seed=seeds[i])[0]
        return self._obs

    def restart(self, mask: Mask) -> Array:
        """See `Lanes`."""
        self._obs = self._obs.copy()
        for i in np.flatnonzero(mask.any(1)).tolist():
            options = {"reset_mask": mask[i]}
            # A masked reset returns other lanes' observations of an unknown time.
            self._obs[i, mask[i]] = self._envs[i].reset(options=options)[0][mask[i]]
        return self._obs

    def step(self, actions: Array, active: Mask) -> LaneStep:
        """See `Lanes`."""
        shape = actions.shape[:2]
        self._obs = self._obs.copy()
        rewards = np.zeros(shape)
        terminated, truncated = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        final_obs: Array | None = None
        for i in np.flatnonzero(active).tolist():
            self._obs[i], rewards[i], terminated[i], truncated[i], infos = self._envs[
                i
            ].step(actions[i])
            if "final_obs" in infos:
                final_obs = np.zeros_like(self._obs) if final_obs is None else final_obs
                for n in np.flatnonzero(infos["_final_obs"]).tolist():
                    final_obs[i, n] = infos["final_obs"][n]
        return LaneStep(
            self._obs, rewards, terminated, truncated & ~terminated, final_obs
        )

    def get_state(self) -> Any:  # noqa: ANN401
        """See `Lanes`.

        Raises:
            UnsupportedEnvError: if the state of an environment can't be saved.
        """
        states = [get_env_state(VectorEnvAdapter(env)) for env in self._envs]
        return self._obs, states

    def set_state(self, state: Any) -> None:  # noqa: ANN401
        """See `Lanes`."""
        self._obs, states = state
        for env, saved in zip(self._envs, states, strict=True):
            set_env_state(VectorEnvAdapter(env), saved)

    def close(self) -> None:
        """See `Lanes`."""
        for env in self._envs:
            env.close()


def make_lanes(
    env_id: str, n_learners: int, n_envs: int, arguments: dict[str, Any]
) -> Lanes:
    """Makes one vector environment of pg_envs if it has the id, else one for each.

    Args:
        env_id: a registered id.
        n_learners: R.
        n_envs: N.
        arguments: of the environment, as `gymnasium.make` takes them.

    Raises:
        ValueError: if there is no such environment.
    """
    try:
        try:
            batched = pg_envs.make_numpy_vec(env_id, n_learners * n_envs, **arguments)
        except TypeError:
            return SeparateLanes(
                [_make_separate(env_id, n_envs, arguments) for _ in range(n_learners)]
            )
        return BatchedLanes(batched, n_learners)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"env={env_id!r} can't be made: {error}") from error


def make_env(
    env_id: str, n_envs: int, arguments: dict[str, Any]
) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    """Makes the environment of a single model; arguments as `make_lanes`.

    Raises:
        ValueError: if there is no such environment.
    """
    try:
        if n_envs == 1:
            return gymnasium.make(env_id, **arguments)
        try:
            return pg_envs.make_numpy_vec(env_id, n_envs, **arguments)
        except TypeError:
            return _make_separate(env_id, n_envs, arguments)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"env={env_id!r} can't be made: {error}") from error


def _make_separate(
    env_id: str, n_envs: int, arguments: dict[str, Any]
) -> SyncVectorEnv:
    env: Any = gymnasium.make_vec(
        env_id,
        n_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **arguments,
    )
    separate: SyncVectorEnv = env
    return separate
