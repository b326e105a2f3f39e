"""The settings of REINFORCE and ActorCritic: a frozen dataclass that checks itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from stable_baselines3.common.type_aliases import Schedule

from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_schedule,
    check_unit_interval,
)
from pg_agents.learning.losses import CriticLoss

EstimatorName = Literal["reward_to_go", "full_return", "td", "n_step", "gae"]
BaselineName = Literal["none", "mean", "leave_one_out", "value"]
ReplayName = Literal["returns", "importance", "v_trace"]
GradientsName = Literal["auto", "closed_form", "autograd"]

# Settings that only a learned value uses.
_NEED_CRITIC = (
    "clip_range_vf",
    "critic_learning_rate",
    "target_update_interval",
    "critic_loss",
)


@dataclass(frozen=True)
class PolicyGradientConfig:
    """Every setting of a policy-gradient algorithm, except SB3's general arguments.

    A rollout is either `n_steps` steps or `n_episodes` whole episodes of every
    environment. Estimator, baseline, loss and data are independent choices.

    Attributes:
        n_steps: steps per environment and rollout; None with `n_episodes`.
        n_episodes: whole episodes per environment and rollout; None with `n_steps`, and
            1 if neither is given.
        max_episode_steps: with `n_episodes`, number of steps after which an episode is
            truncated.
        gamma: discount factor in [0, 1].
        estimator: the return, see `pg_agents.learning.returns`.
        baseline: subtracted from the return, see `pg_agents.learning.baselines`.
        gae_lambda: lambda of `"gae"`, in [0, 1].
        td_steps: n of `"n_step"`.
        bootstrap: whether returns continue with the critic's value where the data end
            before the episode does. `"td"`, `"n_step"` and `"gae"` always do.
        bootstrap_truncated: whether this includes truncated episodes; if not, a time
            limit counts as termination.
        standardize_returns: whether returns are standardised over the batch before the
            baseline is subtracted.
        normalize_advantage: whether advantages are standardised.
        weight_by_gamma_t: whether step t of an episode is weighted by gamma^t.
        learning_rate: step size, or a schedule.
        critic_learning_rate: step size of the critic's own parameters, or a schedule;
            None for `learning_rate`.
        ent_coef: weight of the entropy loss, or a schedule.
        vf_coef: weight of the value loss.
        max_grad_norm: maximum norm of the gradient; None for no clipping.
        n_epochs: passes over each rollout.
        batch_size: steps of a mini-batch; None for the whole rollout.
        clip_range: epsilon of PPO's clipped surrogate, or a schedule; None for the
            plain policy gradient.
        clip_range_vf: the same for values; None for no clipping.
        target_kl: epochs stop when the KL divergence from the policy that collected the
            rollout exceeds 1.5 times this, in nats; None for no limit.
        critic_loss: `"squared"` or `"huber"`.
        target_update_interval: updates between two updates of the target network, which
            values successor states; None for no target network.
        tau: step size of the target network's update; 1 copies the critic.
        memory_size: maximum number of steps in the replay memory; None for none.
        learning_starts: steps in the replay memory before the first update.
        gradient_steps: updates after each rollout, with a replay memory.
        replay: `"returns"`: random steps with their original advantages.
            `"importance"`: whole rollouts with importance weights. `"v_trace"`: whole
            rollouts with V-trace.
        rho_clip: maximum weight of a temporal difference in V-trace.
        c_clip: maximum trace-cutting weight in V-trace.
        gradients: where gradients come from, see `pg_agents.learning.gradients`.

    Raises:
        ValueError: if a setting is out of range, or two do not fit together.
    """

    n_steps: int | None = None
    n_episodes: int | None = None
    max_episode_steps: int = 10_000
    gamma: float = 0.99
    estimator: EstimatorName = "reward_to_go"
    baseline: BaselineName = "none"
    gae_lambda: float = 1.0
    td_steps: int = 1
    bootstrap: bool = False
    bootstrap_truncated: bool = True
    standardize_returns: bool = False
    normalize_advantage: bool = False
    weight_by_gamma_t: bool = False
    learning_rate: float | Schedule = 7e-4
    critic_learning_rate: float | Schedule | None = None
    ent_coef: float | Schedule = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float | None = None
    n_epochs: int = 1
    batch_size: int | None = None
    clip_range: float | Schedule | None = None
    clip_range_vf: float | Schedule | None = None
    target_kl: float | None = None
    critic_loss: CriticLoss = "squared"
    target_update_interval: int | None = None
    tau: float = 1.0
    memory_size: int | None = None
    learning_starts: int = 1
    gradient_steps: int = 1
    replay: ReplayName = "importance"
    rho_clip: float = 1.0
    c_clip: float = 1.0
    gradients: GradientsName = "auto"

    def __post_init__(self) -> None:
        """Checks all settings."""
        for field in fields(self):
            value = getattr(self, field.name)
            # NumPy's integers overflow, and torch does not accept them as sizes.
            if isinstance(value, np.integer):
                object.__setattr__(self, field.name, int(value))
        if self.n_steps is None and self.n_episodes is None:
            object.__setattr__(self, "n_episodes", 1)
        self._check_data()
        self._check_advantages()
        self._check_update()
        if not callable(self.learning_rate):
            # SB3 accepts Python's numbers only.
            object.__setattr__(self, "learning_rate", float(self.learning_rate))
        self._check_critic()
        self._check_replay()

    @property
    def bootstraps(self) -> bool:
        """Whether returns use the values of successor states."""
        return self.bootstrap or self.estimator in ("td", "n_step", "gae")

    @property
    def compares_trajectories(self) -> bool:
        """Whether the baseline is a mean over trajectories."""
        return self.baseline in ("mean", "leave_one_out")

    @property
    def standardizes_mini_batches(self) -> bool:
        """Whether advantages are standardised in each mini-batch, as in PPO."""
        mini_batches = self.batch_size is not None and self.memory_size is None
        return self.normalize_advantage and mini_batches

    @property
    def updates_whole_rollouts(self) -> bool:
        """Whether each gradient is of the last rollout as a whole."""
        return self.batch_size is None and self.memory_size is None

    def check_n_trajectories(self, n_envs: int) -> None:
        """Raises a ValueError if a baseline over trajectories has only one."""
        n_trajectories = n_envs * (self.n_episodes or 1)
        if self.compares_trajectories and n_trajectories < 2:
            raise ValueError(
                f"baseline={self.baseline!r} compares trajectories and needs at least "
                f"2 per update, got n_envs={n_envs} and n_episodes={self.n_episodes}: "
                "use more environments or episodes, or baseline='none' or 'value'"
            )

    def _check_data(self) -> None:
        if self.n_steps is not None and self.n_episodes is not None:
            raise ValueError(
                "give either n_steps or n_episodes, the amount of data per environment "
                f"and update; got n_steps={self.n_steps!r} and "
                f"n_episodes={self.n_episodes!r}"
            )
        if self.n_steps is not None:
            check_count("n_steps", self.n_steps)
        if self.n_episodes is not None:
            check_count("n_episodes", self.n_episodes)
        check_count("max_episode_steps", self.max_episode_steps)

    def _check_advantages(self) -> None:
        check_unit_interval("gamma", self.gamma)
        check_unit_interval("gae_lambda", self.gae_lambda)
        check_choice("estimator", self.estimator, get_args(EstimatorName))
        check_choice("baseline", self.baseline, get_args(BaselineName))
        check_count("td_steps", self.td_steps)
        for name in (
            "bootstrap",
            "bootstrap_truncated",
            "standardize_returns",
            "normalize_advantage",
            "weight_by_gamma_t",
        ):
            check_choice(name, getattr(self, name), (True, False))
        estimator = self._estimator_argument
        if self.bootstraps and self.baseline != "value":
            what = "bootstrap=True" if self.bootstrap else estimator
            raise ValueError(
                f"{what} bootstraps from a learned value and needs baseline='value', "
                f"got baseline={self.baseline!r}"
            )
        if self.td_steps != 1 and self.estimator != "n_step":
            raise ValueError(
                f"td_steps={self.td_steps} belongs to estimator='n_step', got "
                f"{estimator}"
            )
        if self.gae_lambda != 1.0 and self.estimator != "gae":
            raise ValueError(
                f"gae_lambda={self.gae_lambda} belongs to estimator='gae', got "
                f"{estimator}"
            )
        if self.weight_by_gamma_t and self.estimator == "full_return":
            raise ValueError(
                "weight_by_gamma_t=True with returns='full_return' would discount "
                "twice: the returns of full episodes are exact without it"
            )

    def _check_update(self) -> None:
        check_schedule("learning_rate", self.learning_rate, check_not_negative)
        if self.critic_learning_rate is not None:
            check_schedule(
                "critic_learning_rate", self.critic_learning_rate, check_not_negative
            )
        check_schedule("ent_coef", self.ent_coef, check_not_negative)
        check_count("n_epochs", self.n_epochs)
        for name in ("batch_size", "target_update_interval"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in ("clip_range", "clip_range_vf"):
            if getattr(self, name) is not None:
                check_schedule(name, getattr(self, name), check_positive)
        if self.target_kl is not None:
            check_positive("target_kl", self.target_kl)
        if self.max_grad_norm is not None:
            check_positive("max_grad_norm", self.max_grad_norm, or_infinite=True)
        check_choice("critic_loss", self.critic_loss, get_args(CriticLoss))
        check_choice("gradients", self.gradients, get_args(GradientsName))
        check_not_negative("vf_coef", self.vf_coef)
        check_unit_interval("tau", self.tau)
        check_positive("tau", self.tau)
        if self.tau != 1.0 and self.target_update_interval is None:
            raise ValueError(
                f"tau={self.tau} belongs to a target network, got "
                "target_update_interval=None"
            )
        if self.standardizes_mini_batches and self.weight_by_gamma_t:
            raise ValueError(
                "normalize_advantage=True with batch_size standardises every "
                "mini-batch, which would undo weight_by_gamma_t=True: choose two of "
                "the three"
            )

    def _check_critic(self) -> None:
        if self.baseline != "value":
            for name in _NEED_CRITIC:
                value = getattr(self, name)
                if value != getattr(type(self), name):
                    raise ValueError(
                        f"{name}={value!r} needs a critic, baseline='value', got "
                        f"baseline={self.baseline!r}"
                    )
        elif self.target_update_interval is not None and not self.bootstraps:
            raise ValueError(
                f"target_update_interval={self.target_update_interval} is for a critic "
                "that values successor states: it needs bootstrap=True, got "
                f"bootstrap={self.bootstrap}"
            )

    def _check_replay(self) -> None:
        check_choice("replay", self.replay, get_args(ReplayName))
        for name in ("learning_starts", "gradient_steps"):
            check_count(name, getattr(self, name))
        for name in ("rho_clip", "c_clip"):
            check_positive(name, getattr(self, name), or_infinite=True)
        if self.memory_size is None:
            for name in ("learning_starts", "gradient_steps"):
                if getattr(self, name) != 1:
                    raise ValueError(
                        f"{name}={getattr(self, name)} belongs to a replay memory, got "
                        "memory_size=None"
                    )
            return
        check_count("memory_size", self.memory_size)
        if self.learning_starts > self.memory_size:
            raise ValueError(
                f"learning_starts must be at most memory_size={self.memory_size}, got "
                f"{self.learning_starts}"
            )
        for name in ("clip_range", "clip_range_vf", "target_kl"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs on-policy data and can't be "
                    f"used with memory_size={self.memory_size}"
                )
        if self.n_epochs != 1:
            raise ValueError(
                f"n_epochs={self.n_epochs} passes over one rollout; with "
                f"memory_size={self.memory_size} use gradient_steps"
            )
        if self.replay != "returns":
            self._check_off_policy_correction()

    def _check_off_policy_correction(self) -> None:
        what = f"replay={self.replay!r} with memory_size={self.memory_size}"
        if self.batch_size is not None:
            raise ValueError(
                f"{what} learns from whole rollouts and has no mini-batches, got "
                f"batch_size={self.batch_size}"
            )
        if self.standardize_returns:
            raise ValueError(f"{what} can't be used with standardize_returns=True")
        got = f"got {self._estimator_argument}"
        if self.replay == "v_trace" and self.estimator not in ("gae", "td"):
            raise ValueError(
                f"{what} bootstraps from a critic and needs estimator='gae' or 'td', "
                f"{got}"
            )
        if self.replay == "importance" and (
            self.estimator != "reward_to_go" or self.baseline not in ("none", "value")
        ):
            raise ValueError(
                f"{what} needs returns='reward_to_go', and baseline='none' or "
                f"'value', {got} and baseline={self.baseline!r}"
            )

    @property
    def _estimator_argument(self) -> str:
        """The estimator as passed: REINFORCE calls the argument `returns`."""
        monte_carlo = self.estimator in ("reward_to_go", "full_return")
        return f"{'returns' if monte_carlo else 'estimator'}={self.estimator!r}"


SETTINGS = tuple(field.name for field in fields(PolicyGradientConfig))
