"""Refusals of what is asked of the update and of the memory."""

from __future__ import annotations

from typing import get_args

from pg_agents.algorithms.agent_arguments import as_passed
from pg_agents.algorithms.update_settings import UpdateSettings
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_schedule,
    check_unit_interval,
)
from pg_agents.learning.advantages import AdvantageSettings
from pg_agents.learning.losses import CriticLoss
from pg_agents.learning.replay import MemorySettings, ReplayName


def check_update(update: UpdateSettings, settings: AdvantageSettings) -> None:
    """Raises a ValueError naming the first argument that is out of range."""
    check_count("n_epochs", update.n_epochs)
    for name in ("batch_size", "target_update_interval"):
        if getattr(update, name) is not None:
            check_count(name, getattr(update, name))
    for name in ("clip_range", "clip_range_vf"):
        if getattr(update, name) is not None:
            check_schedule(name, getattr(update, name), check_positive)
    check_schedule("ent_coef", update.ent_coef, check_not_negative)
    if update.critic_learning_rate is not None:
        check_schedule(
            "critic_learning_rate", update.critic_learning_rate, check_not_negative
        )
    if update.target_kl is not None:
        check_positive("target_kl", update.target_kl)
    if update.max_grad_norm is not None:
        check_positive("max_grad_norm", update.max_grad_norm, or_infinite=True)
    check_choice("critic_loss", update.critic_loss, get_args(CriticLoss))
    check_not_negative("vf_coef", update.vf_coef)
    check_unit_interval("tau", update.tau)
    check_positive("tau", update.tau)
    if update.tau != 1.0 and update.target_update_interval is None:
        raise ValueError(
            f"tau={update.tau} belongs to a target network, got "
            "target_update_interval=None"
        )
    _check_critic(update, settings)
    if (
        update.batch_size is not None
        and settings.normalize_advantage
        and settings.weight_by_gamma_t
    ):
        raise ValueError(
            "normalize_advantage=True with batch_size standardises every mini-batch, "
            "which would undo weight_by_gamma_t=True: choose two of the three"
        )


def _check_critic(update: UpdateSettings, settings: AdvantageSettings) -> None:
    if settings.baseline == "value":
        if update.target_update_interval is not None and not settings.looks_beyond:
            raise ValueError(
                f"target_update_interval={update.target_update_interval} is for a "
                "critic that values what follows: it needs bootstrap=True, got "
                f"bootstrap={settings.bootstrap}"
            )
        return
    unused = UpdateSettings()
    for name in (
        "clip_range_vf",
        "critic_learning_rate",
        "target_update_interval",
        "critic_loss",
    ):
        if getattr(update, name) != getattr(unused, name):
            raise ValueError(
                f"{name}={getattr(update, name)!r} needs a critic, baseline='value', "
                f"got baseline={settings.baseline!r}"
            )


def check_memory(
    memory: MemorySettings, update: UpdateSettings, settings: AdvantageSettings
) -> None:
    """Raises a ValueError naming the first argument that does not fit."""
    check_choice("replay", memory.replay, get_args(ReplayName))
    for name in ("learning_starts", "gradient_steps"):
        check_count(name, getattr(memory, name))
    for name in ("rho_clip", "c_clip"):
        check_positive(name, getattr(memory, name), or_infinite=True)
    if memory.memory_size is None:
        for name in ("learning_starts", "gradient_steps"):
            if getattr(memory, name) != 1:
                raise ValueError(
                    f"{name}={getattr(memory, name)} belongs to a memory, got "
                    "memory_size=None"
                )
        return
    check_count("memory_size", memory.memory_size)
    if memory.learning_starts > memory.memory_size:
        raise ValueError(
            f"learning_starts must be at most memory_size={memory.memory_size}, got "
            f"{memory.learning_starts}"
        )
    for name in ("clip_range", "clip_range_vf", "target_kl"):
        if getattr(update, name) is not None:
            raise ValueError(
                f"{name}={getattr(update, name)!r} compares with the policy that took "
                f"the last rollout, and memory_size={memory.memory_size} has others"
            )
    if update.n_epochs != 1:
        raise ValueError(
            f"n_epochs={update.n_epochs} passes over one rollout; with "
            f"memory_size={memory.memory_size} use gradient_steps"
        )
    if memory.replay != "returns":
        _check_correction(memory, update, settings)


def _check_correction(
    memory: MemorySettings, update: UpdateSettings, settings: AdvantageSettings
) -> None:
    what = f"replay={memory.replay!r} with memory_size={memory.memory_size}"
    if update.batch_size is not None:
        raise ValueError(
            f"{what} learns from whole rollouts and has no mini-batches, got "
            f"batch_size={update.batch_size}"
        )
    if settings.standardize_returns:
        raise ValueError(f"{what} and standardize_returns=True do not go together")
    got = f"got {as_passed(settings.estimator)}"
    if memory.replay == "v_trace" and settings.estimator not in ("gae", "td"):
        raise ValueError(
            f"{what} needs a critic that values what follows, estimator='gae' or 'td', "
            f"{got}"
        )
    if memory.replay == "importance" and (
        settings.estimator != "reward_to_go"
        or settings.baseline not in ("none", "value")
    ):
        raise ValueError(
            f"{what} needs returns='reward_to_go', and baseline='none' or 'value', "
            f"{got} and baseline={settings.baseline!r}"
        )
