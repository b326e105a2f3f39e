"""Small Gymnasium environments whose right answers are known exactly.

Importing this package registers them with Gymnasium. It loads neither torch nor pygame:
names that need torch or Gymnasium's CartPole are loaded on first use.
"""

from typing import TYPE_CHECKING

import gymnasium
import lazy_loader

from pg_envs import bandit, pixelcopter, sequence
from pg_envs.bandit import BanditEnv, bandit_mdp
from pg_envs.mdp import TabularMDP
from pg_envs.pixelcopter import (
    PixelcopterEnv,
    PixelcopterVectorEnv,
    TorchPixelcopterVectorEnv,
)
from pg_envs.rendering.scene import WindowClosed
from pg_envs.sequence import SequenceEnv, sequence_mdp
from pg_envs.tabular import TabularEnv
from pg_envs.toy_text import mdp_from_env, mdp_from_transitions
from pg_envs.vector.tabular import TabularVectorEnv, TorchTabularVectorEnv

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pg_envs import oracle as oracle
    from pg_envs import rendering as rendering
    from pg_envs.make import make_numpy_vec, make_torch_vec
    from pg_envs.vector.cartpole import CartPoleVectorEnv, TorchCartPoleVectorEnv

__all__ = [
    "BanditEnv",
    "CartPoleVectorEnv",
    "PixelcopterEnv",
    "PixelcopterVectorEnv",
    "SequenceEnv",
    "TabularEnv",
    "TabularMDP",
    "TabularVectorEnv",
    "TorchCartPoleVectorEnv",
    "TorchPixelcopterVectorEnv",
    "TorchTabularVectorEnv",
    "WindowClosed",
    "bandit_mdp",
    "make_numpy_vec",
    "make_torch_vec",
    "mdp_from_env",
    "mdp_from_transitions",
    "sequence_mdp",
]

gymnasium.register(
    id=bandit.ID,
    entry_point="pg_envs.bandit:BanditEnv",
    vector_entry_point="pg_envs.bandit:make_vector_env",
    max_episode_steps=bandit.MAX_EPISODE_STEPS,
)
gymnasium.register(
    id=sequence.ID,
    entry_point="pg_envs.sequence:SequenceEnv",
    vector_entry_point="pg_envs.sequence:make_vector_env",
    max_episode_steps=sequence.MAX_EPISODE_STEPS,
    reward_threshold=sequence.REWARD_THRESHOLD,
)
gymnasium.register(
    id=pixelcopter.ID,
    entry_point="pg_envs.pixelcopter:PixelcopterEnv",
    vector_entry_point="pg_envs.pixelcopter:PixelcopterVectorEnv",
)
gymnasium.register(
    id=pixelcopter.TIME_LIMIT_ID,
    entry_point="pg_envs.pixelcopter:PixelcopterEnv",
    vector_entry_point="pg_envs.pixelcopter:PixelcopterVectorEnv",
    max_episode_steps=pixelcopter.MAX_EPISODE_STEPS,
)

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "make": ["make_numpy_vec", "make_torch_vec"],
        "vector.cartpole": ["CartPoleVectorEnv", "TorchCartPoleVectorEnv"],
    },
)
