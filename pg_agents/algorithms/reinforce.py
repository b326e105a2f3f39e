"""REINFORCE, the Monte-Carlo policy gradient."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from pg_agents.algorithms.base import PolicyGradientAlgorithm, Setting
from pg_agents.algorithms.config import (
    BaselineName,
    GradientsName,
    PolicyGradientConfig,
)
from pg_agents.common.checks import check_choice
from pg_agents.learning.losses import CriticLoss
from pg_agents.rollout.buffer import TrajectoryBuffer

ReturnName = Literal["reward_to_go", "full_return"]


class REINFORCE(PolicyGradientAlgorithm):
    r"""REINFORCE, the Monte-Carlo policy gradient, with SB3's interface.

    It collects whole episodes and estimates the gradient of the expected return by
    `(1/E) sum_e sum_t (G_t - b_t) grad log pi(a_t | s_t)`, a sum over the steps of E
    episodes divided by E.

    The estimate of the gradient of the expected discounted return is unbiased with
    `returns="full_return"`, and with `returns="reward_to_go"` if
    `weight_by_gamma_t=True` or `gamma=1`. The default drops gamma^t, as most
    implementations do, and so weights step t by `1 / gamma^t` too much: the expectation
    is not the gradient of that return. The baselines `"none"` and `"leave_one_out"` do
    not change the expectation. `"mean"` scales it by exactly `1 - 1/N` for N episodes,
    because each return is part of the mean that it is compared with. Standardisation
    biases it, because the divisor depends on the data.

    Reference: Williams (1992), "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning"; Sutton and Barto (2018), section 13.3.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"` (images), `"MultiInputPolicy"` (`Dict`
            observations), `"TabularPolicy"` (`Discrete` observations) or a class of SB3
            policies.
        env: environment, id such as `"pg_envs:PGToy-Sequence-v0"`, SB3 vector
            environment or Gymnasium vector environment.
        learning_rate: step size, or a schedule: a function of the remaining progress,
            from 1 to 0.
        n_episodes: whole episodes per environment and update, unless `n_steps` is
            passed; 1 by default. Each environment contributes exactly `n_episodes`;
            taking the first ones to finish would over-sample short episodes. The share
            of idle steps is logged as `rollout/idle_fraction`.
        n_steps: steps per environment and update, in place of `n_episodes`, for tasks
            without end. Returns end, or are bootstrapped, at the last of these steps,
            and the gradient is a mean over steps.
        gamma: discount factor in [0, 1].
        returns: weight of an action: `"reward_to_go"`, the rewards from it onwards, or
            `"full_return"`, those of the whole episode.
        baseline: `"none"`; `"mean"` or `"leave_one_out"`, the mean return of all or of
            the other episodes at the same step (at least two episodes per update); or
            `"value"`, a learned critic.
        bootstrap: whether returns continue with the critic's value where an episode is
            truncated by a time limit or the end of `n_steps`; needs `baseline="value"`.
            Otherwise the time limit counts as termination.
        standardize_returns: whether returns are standardised over the batch, before the
            baseline is subtracted. A single number is unchanged.
        normalize_advantage: whether advantages are standardised in the same way.
        weight_by_gamma_t: whether step t is weighted by gamma^t, see above.
        max_episode_steps: number of steps after which an episode is truncated, with a
            warning; not used with `n_steps`.
        ent_coef: weight of the entropy in the objective, or a schedule. The entropy,
            also in the logged `train/entropy_loss`, is summed over an episode, like the
            return.
        vf_coef: weight of the value loss; used with `baseline="value"`.
        max_grad_norm: maximum norm of the gradient; None for no clipping, which keeps
            the gradient unbiased.
        use_sde: whether to explore with gSDE, for continuous actions.
        sde_sample_freq: steps between new gSDE noise; -1 for once per rollout.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        stats_window_size: number of episodes in the logged means.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: arguments of the policy, such as `{"net_arch": [64, 64]}` or
            `{"critic": "shared"}`; there is a critic only with `baseline="value"`.
        verbose: 0 for no output, 1 for information, 2 for debugging.
        seed: seeds Python, NumPy, torch, the action space and the environments.
        device: `"auto"` or a device of torch.
        _init_setup_model: whether to build the networks now.
        n_epochs: passes over each rollout. Without `clip_range` only the first step
            follows the gradient; later ones use off-policy data without correction.
        batch_size: steps of a mini-batch, drawn without replacement; None for the whole
            rollout.
        clip_range: epsilon of PPO's clipped surrogate, or a schedule; None for the
            plain policy gradient.
        clip_range_vf: the same for values, in units of reward; None for no clipping.
        target_kl: epochs stop when the KL divergence from the policy that took the
            actions exceeds 1.5 times this, in nats; None for no limit.
        critic_loss: `"squared"` or `"huber"` (smooth L1).
        critic_learning_rate: step size of the critic's own parameters, or a schedule;
            None for `learning_rate`.
        target_update_interval: updates between two updates of the target network, a
            slow copy of the critic that values successor states; None for no target
            network.
        tau: step size of the target network's update; 1 copies the critic.
        memory_size: maximum number of steps in the replay memory, from which updates
            sample instead of using the last rollout; None for none.
        learning_starts: steps in the replay memory before the first update.
        gradient_steps: updates after each rollout, with a replay memory.
        replay: batches from the replay memory. `"importance"`: a whole rollout with
            importance weights; unbiased for whole episodes, with a larger variance.
            `"returns"`: `batch_size` random steps with their original advantages;
            biased, because the policy has changed since.
        gradients: `"auto"`: in closed form for stock policies and losses on the CPU, by
            autograd otherwise; `"closed_form"`, an error where it does not apply; or
            `"autograd"`. `model.explain_gradients()` says which, and why.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> from pg_agents import REINFORCE
        >>> model = REINFORCE("MlpPolicy", "pg_envs:PGToy-Sequence-v0", seed=0)
        >>> model = model.learn(20_000)
    """

    accepted: ClassVar = {
        "returns": ("estimator", ("reward_to_go", "full_return")),
        "replay": ("replay", ("importance", "returns")),
    }
    returns = Setting[ReturnName]("estimator")

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        learning_rate: float | Schedule = 3e-3,
        n_episodes: int | None = None,
        n_steps: int | None = None,
        gamma: float = 0.99,
        returns: ReturnName = "reward_to_go",
        baseline: BaselineName = "none",
        bootstrap: bool = False,
        standardize_returns: bool = False,
        normalize_advantage: bool = False,
        weight_by_gamma_t: bool = False,
        max_episode_steps: int = 10_000,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float | None = None,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[TrajectoryBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        n_epochs: int = 1,
        batch_size: int | None = None,
        clip_range: float | Schedule | None = None,
        clip_range_vf: float | Schedule | None = None,
        target_kl: float | None = None,
        critic_loss: CriticLoss = "squared",
        critic_learning_rate: float | Schedule | None = None,
        target_update_interval: int | None = None,
        tau: float = 1.0,
        memory_size: int | None = None,
        learning_starts: int = 1,
        gradient_steps: int = 1,
        replay: Literal["importance", "returns"] = "importance",
        gradients: GradientsName = "auto",
    ) -> None:
        check_choice("returns", returns, self.accepted["returns"][1])
        check_choice("replay", replay, self.accepted["replay"][1])
        config = PolicyGradientConfig(
            n_steps=n_steps,
            n_episodes=n_episodes,
            estimator=returns,
            max_episode_steps=max_episode_steps,
            gamma=gamma,
            baseline=baseline,
            bootstrap=bootstrap,
            standardize_returns=standardize_returns,
            normalize_advantage=normalize_advantage,
            weight_by_gamma_t=weight_by_gamma_t,
            learning_rate=learning_rate,
            critic_learning_rate=critic_learning_rate,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            n_epochs=n_epochs,
            batch_size=batch_size,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            target_kl=target_kl,
            critic_loss=critic_loss,
            target_update_interval=target_update_interval,
            tau=tau,
            memory_size=memory_size,
            learning_starts=learning_starts,
            gradient_steps=gradient_steps,
            replay=replay,
            gradients=gradients,
        )
        super().__init__(
            policy,
            env,
            config=config,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )
