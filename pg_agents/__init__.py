"""REINFORCE and actor-critic agents with the Stable-Baselines3 API.

`check_policy_gradient` is loaded when it is first asked for: it brings `pg_envs` and
SciPy with it, which learning does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pg_agents.actor_critic import ActorCritic
from pg_agents.buffers import TrajectoryBuffer
from pg_agents.cloning.clone import clone_behaviour
from pg_agents.cloning.demonstrations import Demonstrations, record_demonstrations
from pg_agents.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from pg_agents.random_agent import RandomAgent
from pg_agents.random_policy import RandomPolicy
from pg_agents.reinforce import REINFORCE
from pg_agents.saving.weights import load_weights, save_weights
from pg_agents.tabular_policy import TabularPolicy
from pg_agents.vec_env import as_vec_env

if TYPE_CHECKING:
    from pg_agents.checker.check import check_policy_gradient

__all__ = [
    "REINFORCE",
    "ActorCritic",
    "CnnPolicy",
    "Demonstrations",
    "MlpPolicy",
    "MultiInputPolicy",
    "RandomAgent",
    "RandomPolicy",
    "TabularPolicy",
    "TrajectoryBuffer",
    "as_vec_env",
    "check_policy_gradient",
    "clone_behaviour",
    "load_weights",
    "record_demonstrations",
    "save_weights",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Loads the gradient checker when it is first asked for (PEP 562)."""
    if name == "check_policy_gradient":
        from pg_agents.checker.check import check_policy_gradient

        return check_policy_gradient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
