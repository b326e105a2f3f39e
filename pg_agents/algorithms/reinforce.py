"""REINFORCE: whole episodes, Monte-Carlo returns, one update for each batch of them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from pg_agents.algorithms.base import PolicyGradientAlgorithm, Setting
from pg_agents.algorithms.config import BaselineName, PolicyGradientConfig
from pg_agents.common.checks import check_choice
from pg_agents.learning.losses import CriticLoss
from pg_agents.rollout.buffer import TrajectoryBuffer

ReturnName = Literal["reward_to_go", "full_return"]


class REINFORCE(PolicyGradientAlgorithm):
    r"""REINFORCE, the Monte-Carlo policy gradient, with SB3's interface.

    It follows the gradient of the expected return per episode,
    `(1/E) sum_e sum_t (G_t - b_t) grad log pi(a_t | s_t)`, a sum over the steps of E
    episodes divided by E.

    Exact, for the expected discounted return, are: `returns="full_return"`;
    `returns="reward_to_go"` with `weight_by_gamma_t=True`, or with `gamma=1`. Dropping
    gamma^t, as nearly everybody does and as is the default here, gives step t
    `1 / gamma^t` times too much weight: a good direction, not a gradient. Baselines
    `"none"` and `"leave_one_out"` leave the expectation as it is; `"mean"` scales it by
    exactly `1 - 1/N` for N episodes, because every return is compared with a mean that
    it is part of. Standardising divides by a number that depends on the data: biased.

    Reference: Williams (1992), "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning"; Sutton and Barto (2018), section 13.3.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"` (images), `"MultiInputPolicy"` (`Dict`
            observations), `"TabularPolicy"` (`Discrete` observations) or a class of SB3
            policies.
        env: environment, id such as `"pg_envs:PGToy-Sequence-v0"`, SB3 vector
            environment or Gymnasium vector environment.
        learning_rate: step size, or a function of the remaining progress, 1 to 0.
        n_episodes: whole episodes per environment and update, unless `n_steps` is
            given; 1 by default. Every environment contributes exactly `n_episodes`:
            taking the first to finish would over-sample short episodes. See the log's
            `rollout/idle_fraction`.
        n_steps: steps per environment and update instead, for tasks that never end.
            Returns stop, or are bootstrapped, at the end of these steps, and the
            gradient is a mean over steps.
        gamma: discount factor in [0, 1].
        returns: `"reward_to_go"`: an action counts for what came after it.
            `"full_return"`: for the whole episode.
        baseline: `"none"`, `"mean"` or `"leave_one_out"` (of the other episodes at the
            same step; two episodes per update at least), or `"value"` (learnt).
        bootstrap: whether a return goes on with the learned value where an episode is
            cut off by a time limit or the end of `n_steps`; needs `baseline="value"`.
            Without it a time limit is part of the task.
        standardize_returns: whether returns are standardised over the batch (within the
            episode, if that is one). A single number stays as it is.
        normalize_advantage: whether the differences to the baseline are, likewise.
        weight_by_gamma_t: whether step t counts gamma^t as much, see above.
        max_episode_steps: an episode still running after this many steps is cut off
            there, as by a time limit, with a warning; not used with `n_steps`.
        ent_coef: weight of the entropy in the objective, or a schedule; like the return
            it is summed over an episode, and so is the logged `train/entropy_loss`.
        vf_coef: weight of the value loss; used with `baseline="value"`.
        max_grad_norm: largest norm of the gradient; None for no bound, which keeps it
            unbiased.
        use_sde: whether to explore by gSDE, for continuous actions.
        sde_sample_freq: steps between new gSDE noise; -1 for once per rollout.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        stats_window_size: episodes that the logged means are taken over.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: arguments of the policy, such as `{"net_arch": [64, 64]}` or
            `{"critic": "shared"}`; without `baseline="value"` there is no critic.
        verbose: 0 for silence, 1 for information, 2 for debugging.
        seed: seeds Python, NumPy, torch, the action space and the environments.
        device: `"auto"`, `"cpu"`, `"cuda"` or the like.
        _init_setup_model: whether to build the networks now.
        n_epochs: passes over each rollout. Without `clip_range` only the first step
            follows the gradient: the data grow old.
        batch_size: steps of a mini-batch, drawn without replacement; None for the whole
            rollout at once.
        clip_range: epsilon of PPO's clipped surrogate, or a schedule; None for the
            plain policy gradient.
        clip_range_vf: likewise for the values, in units of reward; None for none.
        target_kl: epochs stop where the KL divergence from the policy that took the
            actions exceeds 1.5 times this, in nats; None for no bound.
        critic_loss: `"squared"` or `"huber"` (smooth L1).
        critic_learning_rate: step size of the critic's own parameters, or a schedule;
            None for `learning_rate`.
        target_update_interval: updates between two of a target network, a slow copy of
            the critic that values the states that follow; None for none.
        tau: share of the critic that each such update takes over; 1 copies it.
        memory_size: steps of earlier rollouts to remember and to learn from instead of
            the last rollout alone; None for no memory.
        learning_starts: steps that the memory must hold before the first update.
        gradient_steps: steps of the optimiser after each rollout, with a memory.
        replay: what is learnt from the memory. `"importance"`: at each step one
            remembered rollout, weighted by the ratios of the policies' probabilities,
            which keeps the estimate exact for whole episodes, at a price in variance.
            `"returns"`: `batch_size` random steps with the advantages they had then, as
            if the policy had not changed since: biased.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> from pg_agents import REINFORCE
        >>> model = REINFORCE("MlpPolicy", "pg_envs:PGToy-Sequence-v0", seed=0)
        >>> model = model.learn(20_000)
    """

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
    ) -> None:
        check_choice("returns", returns, ("reward_to_go", "full_return"))
        check_choice("replay", replay, ("importance", "returns"))
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
