"""The settings of the ablation: a plain actor-critic, all improvements, and each alone.

An improvement is added to the plain agent, and taken out of the one that has them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

Arguments = dict[str, Any]

# One step of Adam on 32 steps of each of 8 environments, and a critic.
PLAIN: Arguments = {
    "learning_rate": 1e-3,
    "n_steps": 32,
    "max_grad_norm": None,
    "use_rms_prop": False,
    "bootstrap_truncated": False,
    "policy_kwargs": {"ortho_init": False},
}
EPOCHS: Arguments = {"n_epochs": 10, "batch_size": 64}


@dataclass(frozen=True)
class Improvement:
    """An argument that can be there or not.

    Attributes:
        name: of the row.
        argument: as a user writes it.
        added: what makes it, in the plain agent.
        removed: what undoes it, in the agent that has all.
    """

    name: str
    argument: str
    added: Arguments
    removed: Arguments


IMPROVEMENTS = (
    Improvement(
        "layer normalisation",
        'policy_kwargs={"layer_norm": True}',
        {"policy_kwargs": {"layer_norm": True}},
        {"policy_kwargs": {"layer_norm": False}},
    ),
    Improvement(
        "orthogonal initialisation",
        'policy_kwargs={"ortho_init": True} (the default)',
        {"policy_kwargs": {"ortho_init": True}},
        {"policy_kwargs": {"ortho_init": False}},
    ),
    Improvement(
        "target network",
        "target_update_interval=10",
        {"target_update_interval": 10},
        {"target_update_interval": None},
    ),
    Improvement(
        "epochs of mini-batches",
        "n_epochs=10, batch_size=64",
        EPOCHS,
        {"n_epochs": 1, "batch_size": None},
    ),
    Improvement(
        "clipped surrogate, with the epochs",
        "clip_range=0.2",
        EPOCHS | {"clip_range": 0.2},
        {"clip_range": None},
    ),
    Improvement(
        "target KL, with the epochs",
        "target_kl=0.02",
        EPOCHS | {"target_kl": 0.02},
        {"target_kl": None},
    ),
    Improvement(
        "entropy bonus", "ent_coef=0.01", {"ent_coef": 0.01}, {"ent_coef": 0.0}
    ),
    Improvement(
        "gradient clipping",
        "max_grad_norm=0.5",
        {"max_grad_norm": 0.5},
        {"max_grad_norm": None},
    ),
    Improvement(
        "advantage standardisation",
        "normalize_advantage=True",
        {"normalize_advantage": True},
        {"normalize_advantage": False},
    ),
    Improvement(
        "generalised advantage estimation",
        "gae_lambda=0.95",
        {"gae_lambda": 0.95},
        {"gae_lambda": 1.0},
    ),
    Improvement(
        "separate step sizes",
        "critic_learning_rate=3e-3",
        {"critic_learning_rate": 3e-3},
        {"critic_learning_rate": None},
    ),
    Improvement(
        "Huber critic loss",
        'critic_loss="huber"',
        {"critic_loss": "huber"},
        {"critic_loss": "squared"},
    ),
    Improvement(
        "truncation told from termination",
        "bootstrap_truncated=True (the default)",
        {"bootstrap_truncated": True},
        {"bootstrap_truncated": False},
    ),
    Improvement(
        "step size that falls to 0",
        "learning_rate=LinearSchedule(1e-3, 0, 1)",
        {"learning_rate": LinearSchedule(1e-3, 0.0, 1.0)},
        {"learning_rate": 1e-3},
    ),
)


def merged(*parts: Arguments) -> Arguments:
    """Returns all arguments; `policy_kwargs` are put together too."""
    whole: Arguments = {}
    for part in parts:
        policy = whole.get("policy_kwargs", {}) | part.get("policy_kwargs", {})
        whole = whole | part | {"policy_kwargs": policy}
    return whole


ALL = merged(PLAIN, *(each.added for each in IMPROVEMENTS))

# ActorCritic, by name of the setting.
SETTINGS: dict[str, Arguments] = {
    "plain": PLAIN,
    "all": ALL,
    **{f"plain + {i.name}": merged(PLAIN, i.added) for i in IMPROVEMENTS},
    **{f"all - {i.name}": merged(ALL, i.removed) for i in IMPROVEMENTS},
    "plain + memory, V-trace": merged(
        PLAIN, {"memory_size": 2048, "gradient_steps": 4}
    ),
    "plain + memory, uncorrected": merged(
        PLAIN,
        {
            "memory_size": 2048,
            "gradient_steps": 4,
            "batch_size": 256,
            "replay": "returns",
        },
    ),
}

# REINFORCE, one episode per update; row reinforce-memory and what corrects it.
MEMORIES: dict[str, Arguments] = {
    "no memory": {},
    "memory of transitions": {
        "memory_size": 512,
        "learning_starts": 256,
        "gradient_steps": 2,
        "batch_size": 256,
        "replay": "returns",
    },
    "memory of episodes, importance weights": {
        "memory_size": 512,
        "learning_starts": 256,
        "gradient_steps": 2,
        "replay": "importance",
    },
}
