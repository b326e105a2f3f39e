"""Starting new episodes in some copies of a Gymnasium vector environment."""

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

# Where the `reset` and `step` of wrappers that remember nothing are written.
_STATELESS = (
    "gymnasium.vector.vector_env",
    "gymnasium.wrappers.vector.vectorize_action",
    "gymnasium.wrappers.vector.vectorize_observation",
    "gymnasium.wrappers.vector.vectorize_reward",
)


class After(Enum):
    """What there is to do when an episode has ended."""

    NOTHING = "the environment restarts by itself, within the step"
    RESTART = "call `restart_some`"
    DUMMY = "skip the next step, in which the environment restarts by itself"


def after_an_end(env: AnyVectorEnv, learner_skips_dummy_steps: bool) -> After:
    """Says what there is to do when an episode has ended.

    Args:
        env: a Gymnasium vector environment, in wrappers or not.
        learner_skips_dummy_steps: whether a dummy step does no harm.

    Returns:
        What to do.

    Raises:
        ValueError: if nothing would be right: dummy steps that the learner takes for
            real, or copies that nobody restarts as they should be.
    """
    mode = _autoreset_mode(env)
    if mode is AutoresetMode.SAME_STEP:
        return After.NOTHING
    lost = _lost_restarts(env.unwrapped)
    if lost is not None:
        raise ValueError(f"{env} loses restarts. {lost}")
    obstacle = why_not_restartable(env)
    if obstacle is None:
        return After.RESTART
    if mode is AutoresetMode.DISABLED:
        raise ValueError(f"nobody restarts {env} after an episode. {obstacle}")
    if not learner_skips_dummy_steps:
        raise ValueError(
            f"{env} inserts a dummy step after every episode "
            f"(autoreset_mode={mode.value}), which this learner would take for a real "
            f"one. {obstacle}"
        )
    return After.DUMMY


def why_not_restartable(env: AnyVectorEnv) -> str | None:
    """Says why some copies of an environment can't be restarted by `restart_some`.

    They can, where Gymnasium's own `reset(options={"reset_mask": mask})` is understood:
    by SyncVectorEnv and AsyncVectorEnv, by every environment in the mode DISABLED,
    which asks for it, and by those with `metadata["reset_mask"]`. Gymnasium's
    CartPoleVectorEnv knows no mask, but what it does in a restart is done to it here.

    Every wrapper around must bear it too: those that transform observations, actions
    or rewards, whatever their function, and two that count: NormalizeObservation and
    RecordEpisodeStatistics, which are told of the restart.

    Args:
        env: a Gymnasium vector environment, in wrappers or not.

    Returns:
        None if they can be restarted; otherwise a sentence with what to do instead.
    """
    if isinstance(env, VectorWrapper):
        return _why_not_through(env) or why_not_restartable(env.env)
    known = (
        isinstance(env, SyncVectorEnv | AsyncVectorEnv)
        or _autoreset_mode(env) is AutoresetMode.DISABLED
        or bool(env.metadata.get("reset_mask", False))
        or _is_cart_pole(env)
    )
    if known:
        return None
    return (
        "It can't restart its copies one by one: make it with "
        "vectorization_mode='sync', or with AutoresetMode.SAME_STEP if it has it"
    )


def restart_some(
    env: AnyVectorEnv, mask: NDArray[np.bool_]
) -> tuple[Any, dict[str, Any]]:
    """Starts a new episode in some copies of an environment.

    Call it only where `why_not_restartable` has nothing to say.

    Args:
        env: a Gymnasium vector environment, in wrappers or not.
        mask: `[N]` bool, the copies to restart, at least one.

    Returns:
        Observations `[N, *obs_shape]`, of which those of the mask are new, and the
        infos of the restart.
    """
    if isinstance(env, VectorWrapper):
        observations, infos = restart_some(env.env, mask)
        return _through(env, observations, mask), infos
    if _is_cart_pole(env):
        return _restart_cart_poles(env, mask), {}
    return env.reset(options={"reset_mask": mask})


def _autoreset_mode(env: AnyVectorEnv) -> AutoresetMode:
    # NEXT_STEP is Gymnasium's default.
    return AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))


def _lost_restarts(base: AnyVectorEnv) -> str | None:
    """Says why it can't be known where an environment's dummy steps are.

    A worker of Gymnasium's AsyncVectorEnv without shared memory still does the restart
    that is due after an end when it has been reset in the meantime: the first step of
    the new episode is then a dummy, and leads to another episode.
    """
    if (
        isinstance(base, AsyncVectorEnv)
        and base.autoreset_mode is AutoresetMode.NEXT_STEP
        and not (base.shared_memory and base.worker is None)
    ):
        return (
            "Without shared memory, or with a worker of one's own, AsyncVectorEnv "
            "restarts once more after a reset: leave shared_memory at True and worker "
            "at None, or pass autoreset_mode=AutoresetMode.SAME_STEP"
        )
    return None


def _is_cart_pole(env: AnyVectorEnv) -> bool:
    return isinstance(env, CartPoleVectorEnv) and (
        (type(env).reset, type(env).step)
        == (CartPoleVectorEnv.reset, CartPoleVectorEnv.step)
    )


def _restart_cart_poles(
    env: Any,  # noqa: ANN401
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Does at once what CartPoleVectorEnv does in the step after an end."""
    env.state[:, mask] = env.np_random.uniform(
        low=env.low, high=env.high, size=(4, mask.sum())
    )
    env.steps[mask] = 0
    # Nothing is left to do for its next step.
    env.prev_done[mask] = False
    observations: NDArray[np.float32] = env.state.T.astype(np.float32)
    return observations


def _why_not_through(wrapper: VectorWrapper[Any, Any, Any, Any, Any]) -> str | None:
    kind = type(wrapper)
    if isinstance(wrapper, NormalizeReward):
        return (
            f"{kind.__name__} can't be told of a restart: leave it out, and put "
            "stable_baselines3's VecNormalize around as_vec_env(...) instead"
        )
    if kind in (NormalizeObservation, RecordEpisodeStatistics):
        return None
    if {kind.reset.__module__, kind.step.__module__} <= set(_STATELESS):
        return None
    return (
        f"{kind.__name__} has a reset() or step() of its own and can't be told of a "
        "restart: leave it out, wrap the single environments instead, or pass "
        "AutoresetMode.SAME_STEP if the environment has it"
    )


def _through(
    wrapper: VectorWrapper[Any, Any, Any, Any, Any],
    observations: Any,  # noqa: ANN401
    mask: NDArray[np.bool_],
) -> Any:  # noqa: ANN401
    """Returns what a wrapper makes of observations after a restart, and tells it."""
    if isinstance(wrapper, RecordEpisodeStatistics):
        wrapper.episode_returns[mask] = 0.0
        wrapper.episode_lengths[mask] = 0
        wrapper.episode_start_times[mask] = time.perf_counter()
        wrapper.prev_dones[mask] = False
    if isinstance(wrapper, NormalizeObservation):
        return _normalize(wrapper, observations, mask)
    if isinstance(wrapper, VectorObservationWrapper):
        return wrapper.observations(observations)
    return observations


def _normalize(
    wrapper: NormalizeObservation[Any, Any],
    observations: NDArray[Any],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Normalizes; only what has been restarted has not been counted in the step."""
    counts = wrapper.update_running_mean
    if counts:
        wrapper.obs_rms.update(observations[mask])  # type: ignore[no-untyped-call]
    wrapper.update_running_mean = False
    normalized = wrapper.observations(observations)
    wrapper.update_running_mean = counts
    return normalized
