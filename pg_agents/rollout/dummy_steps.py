"""Steps of SB3's DummyVecEnv without what they spend on copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from pg_agents.vec_env.arrays import copied


def is_plain(env: VecEnv) -> bool:
    """Whether an environment is SB3's DummyVecEnv, as SB3 wrote it."""
    overridden = {"step", "step_async", "step_wait"} & vars(env).keys()
    return type(env) is DummyVecEnv and not overridden


def step_in_turn(env: Any, actions: Any) -> VecEnvStepReturn:  # noqa: ANN401
    """Does what `DummyVecEnv.step` does, and returns the same.

    It copies every info to the bottom of what is in it, which takes as long as a
    classic control environment takes to step. Here the dicts, lists and arrays are new;
    objects of other types are the environment's own. What was seen last of an episode
    is copied before the restart: of an environment that returns one array again and
    again, DummyVecEnv keeps what the restart has written over it.

    Args:
        env: a DummyVecEnv.
        actions: `[N, *action_shape]`, within the action space.
    """
    infos = []
    for i, one in enumerate(env.envs):
        seen, reward, terminated, truncated, info = one.step(actions[i])
        # Most steps of most environments say nothing.
        info = copied(info) if info else {}
        info["TimeLimit.truncated"] = truncated and not terminated
        env.buf_rews[i], env.buf_dones[i] = reward, terminated or truncated
        if env.buf_dones[i]:
            info["terminal_observation"] = copied(seen)
            seen, env.reset_infos[i] = one.reset()
        env._save_obs(i, seen)
        infos.append(info)
    env.buf_infos = infos
    # The arrays are written over in the next step.
    seen = np.copy(env.buf_obs[None]) if env.keys == [None] else env._obs_from_buf()
    return seen, np.copy(env.buf_rews), np.copy(env.buf_dones), infos
