"""Resetting some sub-environments of a Gymnasium vector environment."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorObservationWrapper,
    VectorWrapper,
)
from gymnasium.wrappers.vector import (
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from numpy.typing import NDArray

AnyVectorEnv = VectorEnv[Any, Any, Any]

# Modules that define `reset` and `step` of wrappers without state.
_STATELESS = {
    "gymnasium.vector.vector_env",
    "gymnasium.wrappers.vector.vectorize_action",
    "gymnasium.wrappers.vector.vectorize_observation",
    "gymnasium.wrappers.vector.vectorize_reward",
}


class Restart(Enum):
    """How a sub-environment is reset when its episode has ended."""

    BY_ENV = "by the environment, within the step"
    BY_ADAPTER = "by `partial_reset` after the step"
    IN_DUMMY_STEP = "by the environment in the next step, which must be skipped"


def restart_method(env: AnyVectorEnv, learner_skips_dummy_steps: bool) -> Restart:
    """Decides how ended episodes of an environment are restarted.

    Args:
        env: a Gymnasium vector environment, wrapped or not.
        learner_skips_dummy_steps: whether `Restart.IN_DUMMY_STEP` is acceptable.

    Raises:
        ValueError: if no method is correct for the environment and the learner.
    """
    mode = _autoreset_mode(env)
    if mode is AutoresetMode.SAME_STEP:
        return Restart.BY_ENV
    base = env.unwrapped
    # Without shared memory, a worker of AsyncVectorEnv performs the pending autoreset
    # even if the environment was reset in between: its first step is a dummy.
    if (
        isinstance(base, AsyncVectorEnv)
        and base.autoreset_mode is AutoresetMode.NEXT_STEP
        and not (base.shared_memory and base.worker is None)
    ):
        raise ValueError(
            f"{env} loses restarts: without shared memory, or with a custom worker, "
            "AsyncVectorEnv resets once more after a reset. Leave shared_memory=True "
            "and worker=None, or pass autoreset_mode=AutoresetMode.SAME_STEP"
        )
    obstacle = partial_reset_obstacle(env)
    if obstacle is None:
        return Restart.BY_ADAPTER
    if mode is AutoresetMode.DISABLED:
        raise ValueError(
            f"{env} has autoreset disabled and its sub-environments can't be reset one "
            f"by one. {obstacle}"
        )
    if not learner_skips_dummy_steps:
        raise ValueError(
            f"{env} inserts a dummy step after every episode "
            f"(autoreset_mode={mode.value}), which this learner would take for a real "
            f"one. {obstacle}"
        )
    return Restart.IN_DUMMY_STEP


def partial_reset_obstacle(env: AnyVectorEnv) -> str | None:
    """Returns why `partial_reset` can't be used with an environment, and what to do.

    It needs Gymnasium's `reset(options={"reset_mask": mask})`. SyncVectorEnv,
    AsyncVectorEnv, every environment in DISABLED mode, which requires it, and those
    with `metadata["reset_mask"]` support it. Gymnasium's CartPoleVectorEnv does not;
    `partial_reset` performs its restart instead.

    Of wrappers, those that only transform observations, actions or rewards are
    supported, and two with state that `partial_reset` updates: NormalizeObservation
    and RecordEpisodeStatistics.

    Returns:
        None if `partial_reset` can be used.
    """
    if isinstance(env, VectorWrapper):
        return _wrapper_obstacle(env) or partial_reset_obstacle(env.env)
    if (
        isinstance(env, SyncVectorEnv | AsyncVectorEnv)
        or _autoreset_mode(env) is AutoresetMode.DISABLED
        or env.metadata.get("reset_mask", False)
        or _is_cart_pole(env)
    ):
        return None
    return (
        "It can't reset its sub-environments one by one: make it with "
        "vectorization_mode='sync', or with AutoresetMode.SAME_STEP if it has it"
    )


def partial_reset(
    env: AnyVectorEnv, mask: NDArray[np.bool_]
) -> tuple[Any, dict[str, Any]]:
    """Starts a new episode in some sub-environments.

    Args:
        env: a Gymnasium vector environment without `partial_reset_obstacle`.
        mask: `[N]` bool, the sub-environments to reset, at least one.

    Returns:
        Observations `[N, *obs_shape]`, valid in the rows of the mask, and the infos of
        the reset.
    """
    if isinstance(env, VectorWrapper):
        obs, infos = partial_reset(env.env, mask)
        return _reset_wrapper(env, obs, mask), infos
    if _is_cart_pole(env):
        return _reset_cart_poles(env, mask), {}
    return env.reset(options={"reset_mask": mask})


def _autoreset_mode(env: AnyVectorEnv) -> AutoresetMode:
    # NEXT_STEP is Gymnasium's default.
    return AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))


def _is_cart_pole(env: AnyVectorEnv) -> bool:
    return isinstance(env, CartPoleVectorEnv) and (
        (type(env).reset, type(env).step)
        == (CartPoleVectorEnv.reset, CartPoleVectorEnv.step)
    )


def _reset_cart_poles(
    env: Any,  # noqa: ANN401
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Does what CartPoleVectorEnv does in the step after an end."""
    env.state[:, mask] = env.np_random.uniform(
        low=env.low, high=env.high, size=(4, mask.sum())
    )
    env.steps[mask] = 0
    # Otherwise its next step would reset again.
    env.prev_done[mask] = False
    obs: NDArray[np.float32] = env.state.T.astype(np.float32)
    return obs


def _wrapper_obstacle(wrapper: VectorWrapper[Any, Any, Any, Any, Any]) -> str | None:
    kind = type(wrapper)
    if isinstance(wrapper, NormalizeReward):
        return (
            f"{kind.__name__} does not support partial resets: remove it, and put "
            "stable_baselines3's VecNormalize around as_vec_env(...) instead"
        )
    if kind in (NormalizeObservation, RecordEpisodeStatistics):
        return None
    if {kind.reset.__module__, kind.step.__module__} <= _STATELESS:
        return None
    return (
        f"{kind.__name__} has a reset() or step() of its own, and may not support "
        "partial resets: remove it, wrap the single environments instead, or pass "
        "AutoresetMode.SAME_STEP if the environment has it"
    )


def _reset_wrapper(
    wrapper: VectorWrapper[Any, Any, Any, Any, Any],
    obs: Any,  # noqa: ANN401
    mask: NDArray[np.bool_],
) -> Any:  # noqa: ANN401
    """Resets rows of a wrapper's state; returns the observations it makes of `obs`."""
    if isinstance(wrapper, RecordEpisodeStatistics):
        wrapper.episode_returns[mask] = 0.0
        wrapper.episode_lengths[mask] = 0
        wrapper.episode_start_times[mask] = time.perf_counter()
        wrapper.prev_dones[mask] = False
    if isinstance(wrapper, NormalizeObservation):
        # The other rows were counted in the step.
        updates = wrapper.update_running_mean
        if updates:
            wrapper.obs_rms.update(obs[mask])  # type: ignore[no-untyped-call]
        wrapper.update_running_mean = False
        normalized = wrapper.observations(obs)
        wrapper.update_running_mean = updates
        return normalized
    if isinstance(wrapper, VectorObservationWrapper):
        return wrapper.observations(obs)
    return obs
