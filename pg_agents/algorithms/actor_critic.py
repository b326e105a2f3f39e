"""Advantage actor-critic (A2C) with TD, n-step or GAE advantages."""

from __future__ import annotations

from typing import Any, Literal

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.common.checks import check_choice, check_positive
from pg_agents.learning.losses import CriticLoss
from pg_agents.rollout.buffer import TrajectoryBuffer

CriticEstimator = Literal["td", "n_step", "gae"]


class ActorCritic(PolicyGradientAlgorithm):
    r"""Advantage actor-critic with SB3's interface and, by default, A2C's settings.

    The weight of an action is its estimated advantage, and the critic is fitted to
    advantage plus value. Three estimators differ in where the observed rewards end and
    the critic's value begins:

    - `"td"`: after one step, `r_t + gamma V(s_{t+1}) - V(s_t)`;
    - `"n_step"`: after `td_steps` steps, or at the end of the rollout;
    - `"gae"`: an average of all of them, weighted by powers of `gae_lambda`; with 1, as
      by default, at the end of the rollout, as in A2C.

    The classic one-step actor-critic is `n_steps=1, estimator="td"`. Where an episode
    is truncated, the value of what was truly seen last stands for the rest; where it
    terminates, nothing does.

    Reference: Sutton and Barto (2018), section 13.5; Mnih et al. (2016), "Asynchronous
    methods for deep reinforcement learning"; Schulman et al. (2016), "High-dimensional
    continuous control using generalized advantage estimation".

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"` (images), `"MultiInputPolicy"` (`Dict`
            observations), `"TabularPolicy"` (`Discrete` observations) or a class of SB3
            policies.
        env: environment, id such as `"pg_envs:PGToy-Sequence-v0"`, SB3 vector
            environment or Gymnasium vector environment.
        learning_rate: step size, or a function of the remaining progress, 1 to 0.
        n_steps: steps per environment and update; 5 unless `n_episodes` is given.
        gamma: discount factor in [0, 1].
        gae_lambda: lambda of `estimator="gae"`, in [0, 1].
        ent_coef: weight of the entropy in the objective, or a schedule.
        vf_coef: weight of the value loss.
        max_grad_norm: largest norm of the gradient; None for no bound.
        rms_prop_eps: epsilon of RMSprop.
        use_rms_prop: whether to use RMSprop with A2C's settings unless `policy_kwargs`
            names an `optimizer_class`; the policy's default optimiser otherwise.
        use_sde: whether to explore by gSDE, for continuous actions.
        sde_sample_freq: steps between new gSDE noise; -1 for once per rollout.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        normalize_advantage: whether advantages are standardised over the batch.
        stats_window_size: episodes that the logged means are taken over.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: arguments of the policy. `{"critic": "shared"}` gives policy and
            value one body (`net_arch` is then a list), `"separate"` is the default.
        verbose: 0 for silence, 1 for information, 2 for debugging.
        seed: seeds Python, NumPy, torch, the action space and the environments.
        device: `"auto"`, `"cpu"`, `"cuda"` or the like.
        _init_setup_model: whether to build the networks now.
        estimator: `"td"`, `"n_step"` or `"gae"`, see above.
        td_steps: n of `estimator="n_step"`, at least 1.
        n_episodes: whole episodes per environment and update, instead of `n_steps`.
        standardize_returns: whether the critic's targets are standardised over the
            batch before the value is subtracted.
        weight_by_gamma_t: whether step t of an episode counts gamma^t as much, as the
            gradient of the discounted return demands and hardly anybody does.
        bootstrap_truncated: whether what was seen last of a truncated episode is valued
            by the critic. If not, a time limit counts as the task's own end, as in many
            older implementations.
        max_episode_steps: an episode still running after this many steps is cut off
            there, as by a time limit, with a warning; used with `n_episodes` only.
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
        replay: what is learnt from the memory. `"v_trace"`: at each step one remembered
            rollout, corrected by V-trace with `gae_lambda`. `"returns"`: `batch_size`
            random steps with the advantages they had then, as if the policy had not
            changed since: biased.
        rho_clip: largest weight of a temporal difference in V-trace.
        c_clip: largest weight of what lies beyond it in V-trace.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> from pg_agents import ActorCritic
        >>> model = ActorCritic("MlpPolicy", "CartPole-v1", seed=0)
        >>> model = model.learn(20_000)
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        learning_rate: float | Schedule = 7e-4,
        n_steps: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float | None = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[TrajectoryBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        normalize_advantage: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        estimator: CriticEstimator = "gae",
        td_steps: int = 1,
        n_episodes: int | None = None,
        standardize_returns: bool = False,
        weight_by_gamma_t: bool = False,
        bootstrap_truncated: bool = True,
        max_episode_steps: int = 10_000,
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
        replay: Literal["v_trace", "returns"] = "v_trace",
        rho_clip: float = 1.0,
        c_clip: float = 1.0,
    ) -> None:
        check_choice("estimator", estimator, ("td", "n_step", "gae"))
        check_choice("replay", replay, ("v_trace", "returns"))
        check_choice("use_rms_prop", use_rms_prop, (True, False))
        check_positive("rms_prop_eps", rms_prop_eps)
        self.use_rms_prop, self.rms_prop_eps = use_rms_prop, rms_prop_eps
        if n_steps is None and n_episodes is None:
            n_steps = 5
        config = PolicyGradientConfig(
            n_steps=n_steps,
            n_episodes=n_episodes,
            baseline="value",
            max_episode_steps=max_episode_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            estimator=estimator,
            td_steps=td_steps,
            bootstrap_truncated=bootstrap_truncated,
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
            rho_clip=rho_clip,
            c_clip=c_clip,
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

    def _default_policy_kwargs(self) -> dict[str, Any]:
        defaults = super()._default_policy_kwargs()
        if self.use_rms_prop and "optimizer_class" not in self.policy_kwargs:
            defaults |= {
                "optimizer_class": torch.optim.RMSprop,
                "optimizer_kwargs": {"alpha": 0.99, "eps": self.rms_prop_eps},
            }
        return defaults
