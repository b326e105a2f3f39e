"""The base of REINFORCE and ActorCritic: SB3's interface to collector and learner."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.algorithms.arguments import (
    build_policy,
    check_buffer_class,
    check_can_learn,
    check_env,
    check_has_spaces,
    check_is_env,
    check_learn,
    check_mapping,
    check_policy,
    check_policy_kwargs,
    check_sb3_arguments,
    check_spaces,
    closed_on_error,
    describe_model,
    make_buffer,
    make_env,
    plain_integers,
)
from pg_agents.algorithms.config import (
    SETTINGS,
    BaselineName,
    EstimatorName,
    GradientsName,
    PolicyGradientConfig,
    ReplayName,
)
from pg_agents.callbacks.progress import ProgressCallback
from pg_agents.callbacks.watching import (
    Variables,
    only_watches,
    variables_read,
)
from pg_agents.checkpoint.state import (
    POSITION,
    TrainingState,
    drop_training_state,
    is_loading,
    load_checkpoint,
    restore_training_state,
    save_checkpoint,
)
from pg_agents.common.checks import check_choice, checked_timesteps
from pg_agents.learning.critic import (
    has_critic_group,
    set_critic_group,
)
from pg_agents.learning.gradients import (
    Autograd,
    ClosedForm,
    GradientSource,
    Loss,
    why_autograd,
)
from pg_agents.learning.learner import Learner, current_value
from pg_agents.learning.losses import CriticLoss
from pg_agents.learning.replay import ReplayMemory
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.policies.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from pg_agents.policies.tabular import TabularPolicy
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.collector import Collector
from pg_agents.rollout.data import Batch, Rollout
from pg_agents.vec_env.adapter import VectorEnvAdapter

Value = TypeVar("Value")


class Setting(Generic[Value]):
    """A field of `model.config` as an attribute of the model.

    Assigning it replaces the config, which checks itself again.

    Args:
        field: name of the field; that of the attribute by default.
    """

    def __init__(self, field: str | None = None) -> None:
        self._field = field

    def __set_name__(self, owner: type, name: str) -> None:
        """Takes the name of the attribute."""
        self._field = self._field or name

    @overload
    def __get__(self, model: None, owner: type) -> Setting[Value]: ...

    @overload
    def __get__(self, model: PolicyGradientAlgorithm, owner: type) -> Value: ...

    def __get__(
        self, model: PolicyGradientAlgorithm | None, owner: type
    ) -> Setting[Value] | Value:
        """Returns the field's value."""
        if model is None:
            return self
        value: Value = getattr(model.config, str(self._field))
        return value

    def __set__(self, model: PolicyGradientAlgorithm, value: Value) -> None:
        """Replaces the config."""
        # SB3's constructor assigns what the config holds.
        if value is not getattr(model.config, str(self._field)):
            model.change_settings(**{str(self._field): value})


class Delegated:
    """An attribute of SB3's algorithms that a part of the model owns.

    Args:
        part: attribute of the model.
        name: attribute of the part.
    """

    def __init__(self, part: str, name: str) -> None:
        self._part, self._name = part, name

    def __get__(self, model: object, owner: type | None = None) -> Any:  # noqa: ANN401
        """Returns the part's attribute."""
        return (
            self if model is None else getattr(getattr(model, self._part), self._name)
        )

    def __set__(self, model: object, value: Any) -> None:  # noqa: ANN401
        """Sets the part's attribute."""
        setattr(getattr(model, self._part), self._name, value)


def wrap_env(
    env: GymEnv | VectorEnv[Any, Any, Any],
    verbose: int = 0,
    monitor_wrapper: bool = True,
) -> VecEnv:
    """Returns an environment as an SB3 vector environment, as SB3's `_wrap_env`.

    Args:
        env: environment, SB3 vector environment or Gymnasium vector environment.
        verbose: 1 reports the wrappers.
        monitor_wrapper: whether to wrap single environments in a Monitor.
    """
    check_is_env(env)
    if isinstance(env, VectorEnv):
        env = VectorEnvAdapter(env, learner_skips_dummy_steps=True)
    return OnPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)


class PolicyGradientAlgorithm(OnPolicyAlgorithm):
    """SB3's interface to a collector, which steps, and a learner, which updates.

    `collect_rollouts` delegates to `collector`, `train` to `learner`, which calls
    `loss`. These three methods are public, to be overridden. Every setting is an
    attribute: assigning it replaces `config`.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, `"TabularPolicy"` or
            a class of SB3 policies.
        env: environment, id, SB3 vector env or Gymnasium vector env.
        config: all settings.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        _init_setup_model: whether to build the networks now.
        **sb3_arguments: as SB3's `OnPolicyAlgorithm`.

    Attributes:
        config: all settings.
        collector: steps the environments.
        learner: updates the policy.
        training_state: state of training that the next `learn` restores; None once it
            has.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "TabularPolicy": TabularPolicy,
    }
    # Accepted values by argument of the constructor, and the name of its setting.
    accepted: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {}
    rollout_buffer: TrajectoryBuffer  # type: ignore[assignment]
    collector: Collector
    learner: Learner
    training_state: TrainingState | None = None
    # Whether there is a callback, and whether one may change model, policy and buffer
    # in mid-training.
    _has_callback = _has_users_callback = True
    # Seeds that the environment had when it was passed to load().
    seeds_at_load: tuple[int | None, ...] = ()

    n_steps = Setting[int | None]()  # type: ignore[assignment]
    n_episodes = Setting[int | None]()
    max_episode_steps = Setting[int]()
    gamma = Setting[float]()
    estimator = Setting[EstimatorName]()
    baseline = Setting[BaselineName]()
    gae_lambda = Setting[float]()
    td_steps = Setting[int]()
    bootstrap = Setting[bool]()
    bootstrap_truncated = Setting[bool]()
    standardize_returns = Setting[bool]()
    normalize_advantage = Setting[bool]()
    weight_by_gamma_t = Setting[bool]()
    learning_rate = Setting[float | Schedule]()
    critic_learning_rate = Setting[float | Schedule | None]()
    ent_coef = Setting[float | Schedule]()  # type: ignore[assignment]
    vf_coef = Setting[float]()
    max_grad_norm = Setting[float | None]()  # type: ignore[assignment]
    n_epochs = Setting[int]()
    batch_size = Setting[int | None]()
    clip_range = Setting[float | Schedule | None]()
    clip_range_vf = Setting[float | Schedule | None]()
    target_kl = Setting[float | None]()
    critic_loss = Setting[CriticLoss]()
    target_update_interval = Setting[int | None]()
    tau = Setting[float]()
    memory_size = Setting[int | None]()
    learning_starts = Setting[int]()
    gradient_steps = Setting[int]()
    replay = Setting[ReplayName]()
    rho_clip = Setting[float]()
    c_clip = Setting[float]()
    gradients = Setting[GradientsName]()

    _last_obs = Delegated("collector", "obs")
    _last_episode_starts = Delegated("collector", "episode_starts")
    _episode_steps = Delegated("collector", "episode_steps")
    target_policy = Delegated("learner", "target_policy")

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        *,
        config: PolicyGradientConfig,
        rollout_buffer_class: type[TrajectoryBuffer] | None,
        rollout_buffer_kwargs: dict[str, Any] | None,
        _init_setup_model: bool,
        **sb3_arguments: Any,
    ) -> None:
        # Checked before anything is built: a refused argument leaves no environment.
        check_policy(policy)
        check_sb3_arguments(**sb3_arguments)
        check_mapping("rollout_buffer_kwargs", rollout_buffer_kwargs)
        check_choice("_init_setup_model", _init_setup_model, (True, False))
        check_buffer_class(rollout_buffer_class)
        made = make_env(env, sb3_arguments["verbose"], self._wrap_env)
        with closed_on_error(made if isinstance(env, str) else None):
            check_env(made, policy, sb3_arguments["use_sde"])
            self.config = config
            self.collector = Collector(torch.device("cpu"))
            super().__init__(
                policy,
                made,  # type: ignore[arg-type]
                learning_rate=config.learning_rate,
                n_steps=config.n_steps,  # type: ignore[arg-type]
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                ent_coef=config.ent_coef,  # type: ignore[arg-type]
                vf_coef=config.vf_coef,
                max_grad_norm=config.max_grad_norm,  # type: ignore[arg-type]
                rollout_buffer_class=rollout_buffer_class,  # type: ignore[arg-type]
                rollout_buffer_kwargs=rollout_buffer_kwargs,
                _init_setup_model=False,
                **plain_integers(sb3_arguments),
            )
            # Stored in the checkpoint, for load() to check.
            self.algorithm = type(self).__name__
            if _init_setup_model:
                self._setup_model()

    _wrap_env = staticmethod(wrap_env)

    def __repr__(self) -> str:
        """Returns one line: policy, environment and steps of training."""
        return describe_model(self)

    @property
    def replay_memory(self) -> ReplayMemory[Batch] | ReplayMemory[Rollout] | None:
        """Earlier rollouts; None without a replay memory."""
        return self.learner.replay

    @replay_memory.setter
    def replay_memory(self, memory: ReplayMemory[Any] | None) -> None:
        if memory is not None:
            memory.to(self.device)
        self.learner.replay = memory
        self.learner.configure(self.config)

    def change_settings(self, **settings: Any) -> None:
        """Replaces the config by one with other settings, which is checked.

        Args:
            **settings: fields of `PolicyGradientConfig`.

        Raises:
            ValueError: if a setting is out of range; the old config stays.
        """
        for argument, (name, accepted) in self.accepted.items():
            if name in settings:
                check_choice(argument, settings[name], accepted)
        config = replace(self.config, **settings)
        if config == self.config:
            return
        if "learner" in vars(self):
            config.check_n_trajectories(self.n_envs)
            if config.baseline == "value" and not getattr(
                self.policy, "has_critic", True
            ):
                raise ValueError(
                    "baseline='value' needs a critic, and the policy was built without "
                    "one: make the model with baseline='value'"
                )
            self.learner.configure(config)
        self.config = config
        if "learning_rate" in settings:
            self._setup_lr_schedule()
        if "rollout_buffer" in vars(self):
            self._describe_buffer()

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            names = ", ".join(repr(name) for name in self.policy_aliases)
            raise ValueError(
                f"policy must be one of {names} or a class of SB3 policies, got "
                f"{policy_name!r}"
            )
        return self.policy_aliases[policy_name]

    def _setup_model(self) -> None:
        self._adopt_loaded_attributes()
        self._check_spaces()
        self.config.check_n_trajectories(self.n_envs)
        self._setup_lr_schedule()
        # A new dict: the caller's policy_kwargs stay as they were.
        policy_kwargs = {
            "use_sde": self.use_sde,
            **self._default_policy_kwargs(),
            **self.policy_kwargs,
        }
        spaces = self.observation_space, self.action_space
        check_policy_kwargs(
            self.policy_class, self.policy_kwargs, policy_kwargs, self.observation_space
        )
        if self.baseline == "value" and policy_kwargs.get("critic") == "none":
            raise ValueError(
                "policy_kwargs has critic='none', but the baseline is a learned value "
                "and needs a critic: accepted are 'separate' and 'shared'"
            )
        self.set_random_seed(self.seed)
        self.rollout_buffer = make_buffer(
            self.rollout_buffer_class,
            self.rollout_buffer_kwargs,
            self.observation_space,
            self.device,
        )
        self.rollout_buffer_class = type(self.rollout_buffer)  # type: ignore[assignment]
        self._describe_buffer()
        self.policy = build_policy(
            self.policy_class, *spaces, self.lr_schedule, policy_kwargs
        ).to(self.device)
        self.collector.device = self.device
        self.learner = Learner(
            self.policy, self.config, self._gradient_source(None), self.device
        )

    def _adopt_loaded_attributes(self) -> None:
        """Applies attributes that SB3's `load` has written to `__dict__`."""
        vars(self).update(plain_integers(vars(self)))
        delegated = {
            name: vars(self).pop(name)
            for name in list(vars(self))
            if hasattr(getattr(type(self), name, None), "__set__")
        }
        settings = {name: delegated.pop(name) for name in SETTINGS if name in delegated}
        self.change_settings(**settings)
        delegated.pop("replay_memory", None)
        for name, value in delegated.items():
            setattr(self, name, value)

    def explain_gradients(self) -> str:
        """Returns a sentence on where gradients come from, and why."""
        reason = self._why_autograd()
        if reason is None:
            return "closed form: the policy, the loss and the optimizer are stock ones"
        return f"autograd: {reason}"

    def _why_autograd(self) -> str | None:
        """Returns why gradients do not come from the closed form; None if they do."""
        return self._why_autograd_here() or why_autograd(self.policy)

    def _why_autograd_here(self) -> str | None:
        """Returns a reason that is in the model, not in its policy."""
        if self.config.gradients == "autograd":
            return "gradients='autograd' was passed"
        if self.device.type != "cpu":
            return f"the model is on {self.device}"
        pairs: tuple[tuple[object, dict[str, object]], ...] = (
            (self, _STOCK_METHODS),
            (self.rollout_buffer, _STOCK_METHODS_OF_BUFFER),
        )
        for owner, methods in pairs:
            own, kind = vars(owner), type(owner)
            for name, stock in methods.items():
                if name in own or getattr(kind, name) is not stock:
                    return f"{kind.__name__}.{name} is overridden"
        return None

    def _gradient_source(self, current: GradientSource | None) -> GradientSource:
        """Returns where actions, evaluations and gradients come from.

        Args:
            current: the source so far, which is returned if it still applies.
        """
        if isinstance(current, ClosedForm) and (
            not self._has_users_callback
            or (current.applies_to(self.policy) and self._why_autograd_here() is None)
        ):
            return current
        reason = self._why_autograd()
        if reason is None:
            return ClosedForm(self.policy)
        if self.gradients == "closed_form":
            raise ValueError(
                f"gradients='closed_form' does not apply, since {reason}: use 'auto' "
                "or 'autograd'"
            )
        if isinstance(current, Autograd) and current.policy is self.policy:
            return current
        return Autograd(self.policy)

    def _describe_buffer(self) -> None:
        self.rollout_buffer.set_spec(
            self.observation_space,
            self.action_space,
            self.n_envs,
            self.n_steps,
            self.gamma,
            self.gae_lambda,
        )

    def _default_policy_kwargs(self) -> dict[str, Any]:
        """Returns the policy's arguments unless the user passes others."""
        ours = issubclass(self.policy_class, PolicyGradientPolicy)
        return {"critic": "none"} if ours and self.baseline != "value" else {}

    def _check_spaces(self) -> None:
        check_has_spaces(self)
        if not hasattr(self.policy_class, "evaluate_actions"):
            raise ValueError(
                f"policy must be able to evaluate actions, as SB3's ActorCriticPolicy, "
                f"got {self.policy_class!r}"
            )
        ours = issubclass(self.policy_class, PolicyGradientPolicy)
        check_spaces(self.observation_space, self.action_space, not ours)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learns until at least `total_timesteps` steps have been taken.

        The last rollout is completed, so there can be more steps. A callback that stops
        the training stops it at once; a rollout that the same step completed is still
        learnt from.

        Args:
            total_timesteps: steps, summed over environments; 0 learns nothing.
            callback: an SB3 callback, a function, or a list of these.
            log_interval: updates between two logs; None for no logs.
            tb_log_name: name of the run in TensorBoard; the class by default.
            reset_num_timesteps: whether to restart the step count and reset the
                environment.
            progress_bar: whether to show steps, episode return and running reward.

        Returns:
            The model itself.

        Raises:
            ValueError: if an argument is out of range; the message names it.
            TypeError: if `callback` or `tb_log_name` is none of these.
            NonFiniteError: if loss, gradient or weights become NaN or infinite.
        """
        total_timesteps = checked_timesteps("total_timesteps", total_timesteps)
        check_learn(
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
        total_timesteps, callback = self._setup_learn(
            total_timesteps,
            with_progress_bar(callback, progress_bar),
            reset_num_timesteps,
            tb_log_name or type(self).__name__,
        )
        iteration, continues = 0, True
        callback.on_training_start(locals(), globals())
        assert self.env is not None
        try:
            while continues and self.num_timesteps < total_timesteps:
                continues = self.collect_rollouts(
                    self.env, callback, self.rollout_buffer, self.n_steps
                )
                if not self.rollout_buffer.full:
                    break
                iteration += 1
                self._update_current_progress_remaining(
                    self.num_timesteps, total_timesteps
                )
                # The last rollout can overrun; schedules are defined in [0, 1].
                progress = min(max(self._current_progress_remaining, 0.0), 1.0)
                self._current_progress_remaining = progress
                if log_interval is not None and iteration % log_interval == 0:
                    self.dump_logs(iteration)
                self.train()
                self.learner.check_weights(self.rollout_buffer)
        finally:
            # Whatever is called outside of `learn` can be the user's.
            self._has_callback = self._has_users_callback = True
        # The model can be saved even if learning stopped within a rollout.
        self.collector.in_rollout = False
        callback.on_training_end()
        if log_interval is not None:
            self._dump_last_logs(iteration)
        return self

    def collect_rollouts(  # type: ignore[override]
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TrajectoryBuffer,
        n_rollout_steps: int | None,
    ) -> bool:
        """Fills the buffer with one rollout by the current policy.

        Callbacks get the `locals` of SB3's `collect_rollouts`; values and
        log-probabilities are None if acting did not need them, and in the buffer at the
        end. `dones` and `infos` are those of recorded episodes: they leave out idle
        environments, and an episode truncated by `max_episode_steps` counts as done.

        Args:
            env: the training environment.
            callback: called at every step, and before and after the rollout.
            rollout_buffer: filled with the transitions; `full` afterwards if complete.
            n_rollout_steps: steps per environment; None for `n_episodes` episodes.

        Returns:
            False if a callback asked to stop.
        """
        config = self.config
        rollout_buffer.reset()
        self.collector.begin(env, n_rollout_steps, config.n_episodes)
        # As in SB3: new noise for a rollout, and every few steps from its first on.
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        # Callbacks may have added hooks or replaced methods and layers.
        gradients = self._gradient_source(self.learner.gradients)
        self.learner.gradients = gradients
        if self.policy.training or not gradients.uses_arrays:
            self.policy.set_training_mode(False)
        rollout_buffer.uses_arrays = gradients.uses_arrays
        is_whole, is_users = config.updates_whole_rollouts, self._has_users_callback
        gradients.begin_rollout(is_whole, is_users)
        callback.update_locals(
            {
                "self": self,
                "env": env,
                "callback": callback,
                "rollout_buffer": rollout_buffer,
                "n_rollout_steps": n_rollout_steps,
            }
        )

        n_envs, has_callback = env.num_envs, self._has_callback
        reads: Variables = "all"
        if not is_users:
            reads = variables_read(callback) if has_callback else "nothing"

        def on_step(variables: dict[str, Any]) -> bool:
            self.num_timesteps += n_envs
            if variables:
                callback.update_locals(variables)
            return callback.on_step() if has_callback else True

        continues = self.collector.collect(
            env,
            self.policy,
            gradients.act,
            rollout_buffer,
            on_step,
            self._update_info_buffer,
            self._stats_window_size,
            None if config.n_episodes is None else config.max_episode_steps,
            self.sde_sample_freq if self.use_sde else -1,
            gradients.uses_arrays,
            reads,
        )
        limit = self.collector.limit
        if limit.reached:
            n_episodes = None
            if config.n_episodes is not None:
                n_episodes = config.n_episodes * n_envs
                if n_envs > 1:
                    self.logger.record("rollout/idle_fraction", limit.idle_fraction)
            values = self.learner.complete(rollout_buffer, self._last_obs, n_episodes)
            if reads == "all":
                n_steps = len(rollout_buffer)
                variables = {"values": torch.as_tensor(values), "n_steps": n_steps}
                callback.update_locals(variables)
            callback.on_rollout_end()
        return continues

    def train(self) -> None:
        """Learns from the rollout, or from the replay memory that it is added to.

        Raises:
            NonFiniteError: if loss, gradient or weights become NaN or infinite.
        """
        config, progress = self.config, self._current_progress_remaining
        record = self.logger.record
        rate = current_value("learning_rate", config.learning_rate, progress)
        if callable(config.learning_rate) and rate == progress == self._n_updates == 0:
            warnings.warn(
                "the first update has the step size learning_rate(0) = 0 and changes "
                f"nothing: its rollout ended at {self.num_timesteps} timesteps, beyond "
                f"total_timesteps={self._total_timesteps}; schedules are evaluated "
                "after the rollout, as in SB3",
                stacklevel=2,
            )
        self._update_learning_rate(self.policy.optimizer)
        if config.critic_learning_rate is not None:
            name = "critic_learning_rate"
            rate = current_value(name, config.critic_learning_rate, progress)
            # The critic's parameters are the last group, see split_critic().
            self.policy.optimizer.param_groups[-1]["lr"] = rate
            record(f"train/{name}", rate)
        # Callbacks may have replaced parameters since the rollout began.
        if self._has_users_callback and not self.learner.gradients.is_bound():
            self.learner.gradients = self._gradient_source(None)
        self._n_updates, logs = self.learner.update(
            self.rollout_buffer,
            self.loss,
            self._n_updates,
            self.num_timesteps,
            progress,
        )
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, number in logs.items():
            record(f"train/{name}", number)
        for name in ("clip_range", "clip_range_vf", "ent_coef"):
            given = getattr(config, name)
            if callable(given) or (given is not None and name != "ent_coef"):
                record(f"train/{name}", current_value(name, given, progress))
        if self.learner.replay is not None:
            record("train/memory_steps", len(self.learner.replay))
        log_std = self.policy._parameters.get("log_std")
        if log_std is not None:
            record("train/std", torch.exp(log_std).mean().item())

    def loss(self, batch: Batch) -> Loss:
        """Returns the loss of a batch, and its terms by logger key.

        Args:
            batch: recorded steps of a rollout or of the replay memory.

        Returns:
            The loss, a scalar with gradient, and scalars to log as `train/...`.
        """
        return self.learner.loss(batch, self._current_progress_remaining)

    def _dump_last_logs(self, iteration: int) -> None:
        """Writes the logs of the last update, which stay readable."""
        values = dict(self.logger.name_to_value)
        excluded = dict(self.logger.name_to_excluded)
        self.dump_logs(iteration)
        self.logger.name_to_value.update(values)
        self.logger.name_to_excluded.update(excluded)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        check_can_learn(self)
        restore_training_state(self, reset_num_timesteps)
        # The user may have replaced the policy.
        self.learner.policy = self.policy
        self._has_callback = self._has_users_callback = True
        self.learner.gradients = self._gradient_source(self.learner.gradients)
        if reset_num_timesteps or self._last_obs is None:
            # SB3 resets the environments in these cases.
            self.collector.restart(self.n_envs)
        total_timesteps, made = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._has_callback = callback is not None
        # Without one, no user's code runs between rollouts that could change the rule.
        self._has_users_callback = self._has_callback and not only_watches(made)
        return total_timesteps, made

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves the model and the state of its training.

        Training continues from the file bit for bit, see `pg_agents.checkpoint.state`.
        A file appears whole or not at all.

        Args:
            path: name of the file, `.zip` being added to a name without suffix, or an
                open binary file.
            exclude: attributes to leave out; `["training_state"]` leaves out random
                generators and environment.
            include: attributes to save that are left out by default.

        Raises:
            NonFiniteError: (a ValueError) if a parameter, the state of an optimiser,
                the replay memory or the statistics of a `VecNormalize` is NaN or
                infinite; an older file of that name is unchanged.
            OSError: if it can't be written; likewise.
        """
        save_checkpoint(self, path, exclude, include)

    @classmethod
    def load(
        cls,
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | VectorEnv[Any, Any, Any] | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Loads a model that was saved by the same class; seeds and draws nothing.

        The file is unpickled, which can run any code: load only files whose origin you
        trust. `pg_agents.load_weights` reads weights without that.

        A file that is cut off or damaged, or whose weights were edited, is refused; an
        attribute that was edited or can't be unpickled is named in a warning, unless
        `custom_objects` replaces it.

        Args:
            path: name of the file, with or without `.zip`, or an open binary file.
            env: environment to train in; None to predict.
            device: as SB3.
            custom_objects: values that replace attributes of the file; where the model
                had None, such as for `clip_range`, it stays None.
            print_system_info: as SB3.
            force_reset: whether the environment is reset if its state was not saved.
                False: it is in the state in which the model was saved.
            **kwargs: attributes and settings to change. A `seed` seeds at once.

        Returns:
            The model.

        Raises:
            DamagedCheckpointError: (a ValueError) if the file is cut off, damaged or
                no zip file, or if its weights were edited.
            ValueError: if it was saved by another class, the spaces do not match, or a
                required attribute can't be read.
        """
        return load_checkpoint(
            cls,
            super().load,
            path,
            env,
            device,
            custom_objects,
            print_system_info,
            force_reset,
            **kwargs,
        )

    def set_parameters(
        self,
        load_path_or_dict: str | dict[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Sets parameters as SB3 does.

        In `load`, which can change settings, the target network and the parameter
        groups of the file need not be those of the model.

        Args:
            load_path_or_dict: name of a file, or state dicts by name.
            exact_match: whether all parameters must be given.
            device: device to load onto.
        """
        if not is_loading() or not isinstance(load_path_or_dict, dict):
            super().set_parameters(load_path_or_dict, exact_match, device)
            return
        params = dict(load_path_or_dict)
        if self.target_policy is None:
            params.pop("target_policy", None)
        else:
            params.setdefault("target_policy", params["policy"])
        saved_groups = params["policy.optimizer"]["param_groups"]
        set_critic_group(self.policy, has_critic_group(saved_groups))
        super().set_parameters(params, exact_match, device)
        self.learner.configure(self.config)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds as SB3 does; a training state from a checkpoint is dropped.

        Args:
            seed: the seed; None does nothing.
        """
        if seed is not None and not is_loading():
            drop_training_state(self)
            super().set_random_seed(seed)

    def set_env(
        self, env: GymEnv | VectorEnv[Any, Any, Any], force_reset: bool = True
    ) -> None:
        """Sets another environment, as SB3 does; it is reset.

        Args:
            env: the environment.
            force_reset: False if it is in the state that the model saw last.
        """
        super().set_env(env, force_reset)  # type: ignore[arg-type]
        if self.training_state is not None:
            self.training_state.replace_env()

    def delegated_attributes(self) -> dict[str, Any]:
        """Returns settings and position in the environment, saved as attributes."""
        return {name: getattr(self, name) for name in (*SETTINGS, *POSITION)}

    def _excluded_save_params(self) -> list[str]:
        parts = ["config", "collector", "learner", "seeds_at_load"]
        return [*super()._excluded_save_params(), *parts]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, others = super()._get_torch_save_params()
        if self.target_policy is not None:
            names = [*names, "target_policy"]
        return names, others


# What an override replaces, in a subclass, on the class or on the instance.
_STOCK_METHODS: dict[str, object] = {
    "loss": PolicyGradientAlgorithm.loss,
    "train": PolicyGradientAlgorithm.train,
}
_STOCK_METHODS_OF_BUFFER: dict[str, object] = {
    "get": TrajectoryBuffer.get,
    "batch": TrajectoryBuffer.batch,
    "add": TrajectoryBuffer.add,
}


def with_progress_bar(callback: MaybeCallback, progress_bar: bool) -> MaybeCallback:
    """Returns callbacks with our progress bar among them, if it is asked for."""
    if not progress_bar and not isinstance(callback, list):
        return callback
    callbacks = callback if isinstance(callback, list) else [callback]
    bars = [ProgressCallback()] if progress_bar else []
    return [
        c if isinstance(c, BaseCallback) else ConvertCallback(c)
        for c in (*callbacks, *bars)
        if c is not None
    ]
