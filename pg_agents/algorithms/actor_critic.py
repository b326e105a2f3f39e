"""Advantage actor-critic (A2C) with TD, n-step or GAE advantages."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.algorithms.config import GradientsName, PolicyGradientConfig
from pg_agents.common.checks import check_choice, check_positive
from pg_agents.learning.losses import CriticLoss
from pg_agents.rollout.buffer import TrajectoryBuffer

CriticEstimator = Literal["td", "n_step", "gae"]


class ActorCritic(PolicyGradientAlgorithm):
    r"""Advantage actor-critic with SB3's interface and, by default, A2C's settings.

    Each action is weighted by its estimated advantage, and the critic is fitted to
    advantage plus value. The estimators differ in the number of rewards before they
    bootstrap from the critic:

    - `"td"`: one step, `r_t + gamma V(s_{t+1}) - V(s_t)`;
    - `"n_step"`: `td_steps` steps, or those up to the end of the rollout;
    - `"gae"`: an average of all n, weighted by powers of `gae_lambda`. With 1, the
      default, all steps up to the end of the rollout, as in A2C.

    The classic one-step actor-critic is `n_steps=1, estimator="td"`. A truncated
    episode is bootstrapped from the value of its final observation, a terminated one is
    not.

    Reference: Sutton and Barto (2018), section 13.5; Mnih et al. (2016), "Asynchronous
    methods for deep reinforcement learning"; Schulman et al. (2016), "High-dimensional
    continuous control using generalized advantage estimation".

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"` (images), `"MultiInputPolicy"` (`Dict`
            observations), `"TabularPolicy"` (`Discrete` observations) or a class of SB3
            policies.
        env: environment, id such as `"pg_envs:PGToy-Sequence-v0"`, SB3 vector
            environment or Gymnasium vector environment.
        learning_rate: step size, or a schedule: a function of the remaining progress,
            from 1 to 0.
        n_steps: steps per environment and update; 5 unless `n_episodes` is passed.
        gamma: discount factor in [0, 1].
        gae_lambda: lambda of `estimator="gae"`, in [0, 1].
        ent_coef: weight of the entropy in the objective, or a schedule.
        vf_coef: weight of the value loss.
        max_grad_norm: maximum norm of the gradient; None for no clipping.
        rms_prop_eps: epsilon of RMSprop.
        use_rms_prop: whether to use RMSprop with A2C's settings, or the policy's
            default optimiser; not used if `policy_kwargs` has an `optimizer_class`.
        use_sde: whether to explore with gSDE, for continuous actions.
        sde_sample_freq: steps between new gSDE noise; -1 for once per rollout.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        normalize_advantage: whether advantages are standardised over the batch.
        stats_window_size: number of episodes in the logged means.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: arguments of the policy. With `{"critic": "shared"}` actor and
            critic share their hidden layers (`net_arch` is then a list); the default is
            `"separate"`.
        verbose: 0 for no output, 1 for information, 2 for debugging.
        seed: seeds Python, NumPy, torch, the action space and the environments.
        device: `"auto"` or a device of torch.
        _init_setup_model: whether to build the networks now.
        estimator: `"td"`, `"n_step"` or `"gae"`, see above.
        td_steps: n of `estimator="n_step"`, at least 1.
        n_episodes: whole episodes per environment and update, instead of `n_steps`.
        standardize_returns: whether the critic's targets are standardised over the
            batch before the value is subtracted.
        weight_by_gamma_t: whether step t of an episode is weighted by gamma^t, as in
            the gradient of the discounted return; most implementations omit it.
        bootstrap_truncated: whether truncated episodes are bootstrapped from the value
            of their final observation. If not, a time limit counts as termination, as
            in many older implementations.
        max_episode_steps: number of steps after which an episode is truncated, with a
            warning; used with `n_episodes` only.
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
        replay: batches from the replay memory. `"v_trace"`: a whole rollout, corrected
            by V-trace with `gae_lambda`. `"returns"`: `batch_size` random steps with
            their original advantages; biased, because the policy has changed since.
        rho_clip: maximum weight of a temporal difference in V-trace.
        c_clip: maximum trace-cutting weight in V-trace.
        gradients: `"auto"`: in closed form for stock policies and losses on the CPU, by
            autograd otherwise; `"closed_form"`, an error where it does not apply; or
            `"autograd"`. `model.explain_gradients()` says which, and why.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> from pg_agents import ActorCritic
        >>> model = ActorCritic("MlpPolicy", "CartPole-v1", seed=0)
        >>> model = model.learn(20_000)
    """

    accepted: ClassVar = {
        "estimator": ("estimator", ("td", "n_step", "gae")),
        "replay": ("replay", ("v_trace", "returns")),
    }

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
        gradients: GradientsName = "auto",
    ) -> None:
        check_choice("estimator", estimator, self.accepted["estimator"][1])
        check_choice("replay", replay, self.accepted["replay"][1])
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

    def _default_policy_kwargs(self) -> dict[str, Any]:
        defaults = super()._default_policy_kwargs()
        if self.use_rms_prop and "optimizer_class" not in self.policy_kwargs:
            defaults |= {
                "optimizer_class": torch.optim.RMSprop,
                "optimizer_kwargs": {"alpha": 0.99, "eps": self.rms_prop_eps},
            }
        return defaults
