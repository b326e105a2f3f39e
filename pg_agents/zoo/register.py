"""Enters our algorithms, environments and samplers into rl_zoo3."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm

# Importing it registers the environments with Gymnasium.
import pg_envs  # noqa: F401
from pg_agents.algorithms.actor_critic import ActorCritic
from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.zoo import samplers

# What `--algo` says, and the folder of an algorithm's runs.
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "reinforce": REINFORCE,
    "actor_critic": ActorCritic,
}


def register() -> None:
    """Enters what is ours into rl_zoo3; a second call changes nothing.

    `ALGOS` and the two tables of samplers are changed in place, because rl_zoo3's
    modules take them from each other by name. `rl_zoo3.train` makes its experiments
    with our `ExperimentManager` from then on, which treats their algorithms as before.

    Importing rl_zoo3 here, other than `import rl_zoo3`, leaves Gymnasium's `TimeLimit`
    as it is.

    Raises:
        ModuleNotFoundError: if rl_zoo3 is not installed: `pip install "pgtoy[zoo]"`.
    """
    from pg_agents.zoo import rl_zoo
    from pg_agents.zoo.manager import ExperimentManager

    rl_zoo.ALGOS.update(ALGORITHMS)
    rl_zoo.HYPERPARAMS_SAMPLER.update(samplers.SAMPLERS)
    rl_zoo.HYPERPARAMS_CONVERTER.update(samplers.CONVERTERS)
    rl_zoo.train.ExperimentManager = ExperimentManager
