"""What is done with a rollout, as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from stable_baselines3.common.type_aliases import Schedule

from pg_agents.learning.losses import CriticLoss


@dataclass(frozen=True)
class UpdateSettings:
    """What is done with a rollout.

    Attributes:
        n_epochs: passes over it.
        batch_size: steps of a mini-batch; None for the whole rollout at once.
        clip_range: epsilon of PPO's clipped surrogate, or a schedule; None for the
            plain policy gradient.
        clip_range_vf: likewise, of the values; None for no clipping.
        target_kl: the epochs stop when the KL divergence from the policy that took the
            actions exceeds 1.5 times this, in nats; None for no bound.
        critic_loss: `"squared"` or `"huber"`.
        critic_learning_rate: step size of what belongs to the critic alone, or a
            schedule; None for that of the policy.
        target_update_interval: updates between two of the target network, which values
            the states that follow; None for no target network.
        tau: share of the critic in the target network's update; 1 copies it.
        ent_coef: weight of the entropy loss, or a schedule.
        vf_coef: weight of the value loss.
        max_grad_norm: largest norm of the gradient; None for no bound.
    """

    n_epochs: int = 1
    batch_size: int | None = None
    clip_range: float | Schedule | None = None
    clip_range_vf: float | Schedule | None = None
    target_kl: float | None = None
    critic_loss: CriticLoss = "squared"
    critic_learning_rate: float | Schedule | None = None
    target_update_interval: int | None = None
    tau: float = 1.0
    ent_coef: float | Schedule = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float | None = None
