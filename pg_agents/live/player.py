"""Plays episodes by the present policy, in the viewer's process."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecTransposeImage
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from pg_agents.live.dashboard import Playing, Tables
from pg_agents.live.messages import Parameters, Setup, Update
from pg_envs import TabularEnv, oracle
from pg_envs.mdp import TabularMDP
from pg_envs.pixelcopter import PixelcopterEnv
from pg_envs.rendering.env import RenderedEnv
from pg_envs.rendering.scene import Image, Scene, Snapshot
from pg_envs.toy_text import mdp_from_env

Table = NDArray[np.float64]

# Arguments of `make_vec` that `make` does not take, and those that are set here.
_NOT_PASSED = (
    "autoreset_mode",
    "vectorization_mode",
    "vector_kwargs",
    "num_envs",
    "render_mode",
    "max_episode_steps",
)
# Names of actions that Gymnasium's environments have in their documentation alone.
_ACTION_NAMES = {
    "CartPole": ("push left", "push right"),
    "MountainCar": ("left", "nothing", "right"),
    "Acrobot": ("torque -1", "torque 0", "torque +1"),
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Taxi": ("down", "up", "right", "left", "pick up", "drop off"),
    "LunarLander": ("nothing", "left engine", "main engine", "right engine"),
}
# A tabular environment at its own four steps a second is too fast to follow.
_TABULAR_SECONDS = 0.4
_END_SECONDS = 1.0
# Updates in the means of which the cosine is shown.
_N_MEAN = 50
# Tables of larger environments take the viewer too long.
_MAX_STATES = 600
_STEP = 1e-3


def make_env(spec: Any) -> gymnasium.Env[Any, Any]:  # noqa: ANN401
    """Returns a single environment that can be drawn.

    Args:
        spec: an `EnvSpec`, of a vector environment too; or an environment.
    """
    if isinstance(spec, gymnasium.Env):
        return spec
    kwargs = {k: v for k, v in spec.kwargs.items() if k not in _NOT_PASSED}
    limit = spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
    # A Monitor counts returns, and can't be made again from a spec.
    wrappers = tuple(w for w in spec.additional_wrappers if w.name != "Monitor")
    entry = spec.entry_point
    creator: Any = load_env_creator(entry) if isinstance(entry, str) else entry
    modes = getattr(creator, "metadata", {}).get("render_modes", ())
    return gymnasium.make(
        replace(spec, kwargs=kwargs, additional_wrappers=wrappers),
        render_mode="rgb_array" if "rgb_array" in modes else None,
        max_episode_steps=-1 if limit is None else limit,
    )


def make_policy(
    policy_class: type[BasePolicy], arguments: dict[str, Any]
) -> BasePolicy:
    """Returns an untrained policy on the CPU, for inference."""
    policy = policy_class(**arguments)
    policy.set_training_mode(False)
    return policy


class Player:
    """An environment and the present policy, which plays in it.

    Args:
        env: a single environment; None shows no picture.
        policy: the policy; its weights come with `take`.
        setup: of the training.
        message: why there is no picture; "" if there is one.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | None,
        policy: BasePolicy | None,
        setup: Setup,
        message: str = "",
    ) -> None:
        self.env, self.policy, self.message = env, policy, message
        self._inner: Any = None if env is None else env.unwrapped
        self._wrappers = setup.wrappers
        self._gamma = setup.gamma
        self._statistics: tuple[Any, Any, float, float] | None = None
        self._stacks = [
            _stack(self, w) for w in setup.wrappers if w.startswith("stack")
        ]
        self._obs: Any = None
        # Q-networks and deterministic policies have none, and that of a recurrent
        # policy depends on more than the state.
        self._has_distribution = isinstance(policy, ActorCriticPolicy) and not hasattr(
            policy, "lstm_actor"
        )
        self._hidden: Any = None
        self._snapshot: Snapshot | None = None
        self._n_steps, self._return, self._is_over = 0, 0.0, True
        self.n_episodes = 0
        self._frame: Scene | Image | None = None
        self._is_stale = True
        self.mdp = None if env is None else _tables_of(env)
        self.horizon = _limit_of(env)
        self.action_names = _action_names(env)
        self._policy_table: Table | None = None
        self._gradients: tuple[Table, Table] | None = None
        self._cosine = math.nan
        self._pairs: deque[tuple[Table, Table]] = deque(maxlen=_N_MEAN)
        # Until the environment has drawn once, it may turn out to have no picture.
        self.seconds = _seconds_of(env, self.mdp)

    @property
    def has_weights(self) -> bool:
        """Whether `take` has brought weights."""
        return self._policy_table is not None or self._has_weights

    _has_weights = False

    def take(self, update: Update) -> None:
        """Takes weights, gradients and statistics of an update."""
        if update.observations is not None:
            self._statistics = update.observations
        if update.parameters is None or self.policy is None:
            return
        self._load(update.parameters)
        self._has_weights = True
        if self.mdp is None or not self._has_distribution:
            return
        self._policy_table = self._table()
        if isinstance(self._inner, TabularEnv):
            self._inner.set_action_probabilities(_normalized(self._policy_table))
            self._is_stale = True
        if update.gradients:
            self._compare(update.gradients)

    def tables(self) -> Tables | None:
        """Returns policy and gradients of a tabular environment."""
        if self._policy_table is None:
            return None
        if self._gradients is None:
            return Tables(self._policy_table)
        exact, estimate = (
            np.sum(part, axis=0) for part in zip(*self._pairs, strict=True)
        )
        return Tables(
            self._policy_table,
            *self._gradients,
            cosine=self._cosine,
            mean_cosine=cosine(exact, estimate),
            n_mean=len(self._pairs),
        )

    def best(self) -> float | None:
        """Returns the best expected undiscounted return of a tabular environment."""
        if self.mdp is None:
            return None
        try:
            values = oracle.optimal_values(self.mdp, 1.0, self.horizon).values
        except ValueError:
            return None  # It may never end.
        return float(self.mdp.initial_distribution @ values)

    def threshold(self) -> float | None:
        """Returns the return from which the environment counts as solved."""
        spec = None if self.env is None else self.env.spec
        return None if spec is None else spec.reward_threshold

    def step(self) -> float:
        """Plays a step, or starts an episode after an end.

        Returns:
            Seconds after which the next step is due.
        """
        if self.env is None or self.policy is None or not self._has_weights:
            return 0.1
        self._is_stale = True
        if self._is_over:
            self._obs, _ = self.env.reset()
            self._n_steps, self._return, self._is_over = 0, 0.0, False
            self.n_episodes += 1
            for stack in self._stacks:
                stack.reset(self._seen(self._obs, until_stack=True)[None])
            return self.seconds
        action = self._act()
        self._obs, reward, terminated, truncated, _ = self.env.step(action)
        self._n_steps, self._return = self._n_steps + 1, self._return + float(reward)
        self._is_over = terminated or truncated
        if self._stacks:
            seen = self._seen(self._obs, until_stack=True)[None]
            done = np.array([self._is_over])
            self._stacks[0].update(seen, done, [{"terminal_observation": seen[0]}])
        return _END_SECONDS if self._is_over else self.seconds

    def playing(self) -> Playing:
        """Returns the present situation; draws it if it has changed."""
        if self.env is None or self.policy is None:
            return Playing(None, self.message or "no picture")
        if not self._has_weights or self.n_episodes == 0:
            message = "waiting for the first weights"
            return Playing(None, message, action_names=self.action_names)
        if self._is_stale:
            self._frame = self._draw()
            self._is_stale = False
        end = ""
        if self._is_over:
            end = ", the end"
        caption = (
            f"episode {self.n_episodes}, step {self._n_steps}{end}: "
            f"return {self._return:.4g}"
        ).replace("-", "−")  # noqa: RUF001
        probabilities, deviations = self._distribution()
        return Playing(
            self._frame,
            self.message,
            caption,
            self.action_names,
            probabilities,
            deviations,
            isinstance(self._inner, TabularEnv),
            None if deviations is None else _limits_of(self.env.action_space),
        )

    def _draw(self) -> Scene | Image | None:
        if isinstance(self._inner, RenderedEnv):
            try:
                scene: Scene | None = self._inner.current_scene()
            except NotImplementedError:
                self.message = f"{type(self._inner).__name__} has no picture"
                return None
            return scene
        try:
            frame: Any = self.env.render()  # type: ignore[union-attr]
        except NotImplementedError:
            self.message = f"{type(self._inner).__name__} has no picture"
            return None
        # Errors of other libraries: a driver or a package that is missing.
        except Exception as error:
            self.message = f"no picture: {type(error).__name__}: {error}"
            return None
        if not isinstance(frame, np.ndarray) or frame.ndim != 3:
            self.message = "the environment draws no pictures"
            return None
        pixels = np.ascontiguousarray(frame[:, :, :3], dtype=np.uint8)
        return Image(0, 0, 1, 1, pixels.tobytes(), (frame.shape[1], frame.shape[0]))

    def _seen(self, obs: Any, until_stack: bool = False) -> Any:  # noqa: ANN401
        """Returns an observation as the policy sees it."""
        for wrapper in self._wrappers:
            if wrapper == "normalize" and self._statistics is not None:
                mean, variance, epsilon, bound = self._statistics
                scaled = (obs - mean) / np.sqrt(variance + epsilon)
                obs = np.clip(scaled, -bound, bound).astype(np.float32)
            elif wrapper == "transpose":
                obs = VecTransposeImage.transpose_image(obs)
            elif wrapper.startswith("stack"):
                if until_stack:
                    return np.asarray(obs)
                obs = self._stacks[0].stacked_obs[0]
        return obs

    def _act(self) -> Any:  # noqa: ANN401
        assert self.policy is not None, "checked by `step`"
        is_first = np.array([self._n_steps == 0])
        action, self._hidden = self.policy.predict(
            self._seen(self._obs), None if is_first else self._hidden, is_first
        )
        is_discrete = isinstance(self.policy.action_space, spaces.Discrete)
        return int(action) if is_discrete else action

    def _distribution(
        self,
    ) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """Returns probabilities of the actions, or means and deviations."""
        policy: Any = self.policy
        if not self._has_distribution:
            return None, None
        with torch.no_grad():
            obs, _ = policy.obs_to_tensor(self._seen(self._obs))
            try:
                found = policy.get_distribution(obs).distribution
            except (AttributeError, NotImplementedError):
                return None, None
        if isinstance(found, torch.distributions.Categorical):
            return tuple(found.probs[0].tolist()), None
        if isinstance(found, torch.distributions.Normal):
            return tuple(found.mean[0].tolist()), tuple(found.stddev[0].tolist())
        return None, None

    def _load(self, parameters: Parameters) -> None:
        assert self.policy is not None, "checked by `take`"
        tensors = {
            name: torch.from_numpy(np.array(a)) for name, a in parameters.items()
        }
        self.policy.load_state_dict(tensors)

    def _table(self) -> Table:
        with torch.no_grad():
            table: Table = self._probabilities().double().numpy()
        return table

    def _probabilities(self) -> torch.Tensor:
        """Probabilities of the actions in every state, `[S, A]`, with gradient."""
        assert self.mdp is not None, "checked by `take`"
        policy: Any = self.policy
        seen = np.stack([self._seen(obs) for obs in self.mdp.observations])
        obs, _ = policy.obs_to_tensor(seen)
        probabilities: torch.Tensor = policy.get_distribution(obs).distribution.probs
        return probabilities

    def _compare(self, gradients: Parameters) -> None:
        """Compares the last update's gradient with the exact one."""
        assert self.policy is not None and self.mdp is not None, "checked by `take`"
        pi = self._probabilities()
        table = _normalized(pi.detach().double().numpy())
        try:
            by_entry = oracle.return_gradient(
                self.mdp, table, self._gamma, self.horizon
            )
        except ValueError:
            return  # Its return diverges.
        named = [
            (name, p) for name, p in self.policy.named_parameters() if name in gradients
        ]
        weights = torch.as_tensor(by_entry, dtype=pi.dtype)
        found: Any = torch.autograd.grad(
            (pi * weights).sum(), [p for _, p in named], allow_unused=True
        )
        # Parameters of the critic do not move the policy.
        exact, estimate = [], []
        for (name, p), gradient in zip(named, found, strict=True):
            if gradient is None:
                continue
            exact.append((p, gradient.double().numpy()))
            estimate.append((p, -gradients[name].astype(np.float64)))
        flat = tuple(
            np.concatenate([g.ravel() for _, g in part]) for part in (exact, estimate)
        )
        self._cosine = cosine(*flat)
        self._pairs.append(flat)  # type: ignore[arg-type]
        self._gradients = self._change(exact), self._change(estimate)

    def _change(self, direction: list[tuple[torch.nn.Parameter, Table]]) -> Table:
        """Change of each probability along a direction, scaled to 1, `[S, A]`."""
        norm = math.sqrt(sum(float((d**2).sum()) for _, d in direction))
        if norm == 0:
            return np.zeros_like(self._table())
        tables = []
        for sign in (1, -1):
            scale = sign * _STEP / norm
            steps = [
                (p, torch.as_tensor(scale * d, dtype=p.dtype)) for p, d in direction
            ]
            with torch.no_grad():
                for p, step in steps:
                    p.add_(step)
            tables.append(self._table())
            with torch.no_grad():
                for p, step in steps:
                    p.sub_(step)
        change: Table = tables[0] - tables[1]
        largest = np.abs(change).max()
        return change / largest if largest > 0 else change


def cosine(a: Table, b: Table) -> float:
    """Returns the cosine of two vectors; NaN if one of them is 0."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else math.nan


def _normalized(table: Table) -> Table:
    """Returns probabilities of single precision as such of double precision."""
    normalized: Table = table / table.sum(axis=-1, keepdims=True)
    return normalized


def _stack(player: Player, wrapper: str) -> StackedObservations[Any]:
    assert player.env is not None, "only with an environment"
    n = int(wrapper.partition(":")[2])
    space: Any = player.env.observation_space
    if "transpose" in player._wrappers[: player._wrappers.index(wrapper)]:
        space = VecTransposeImage.transpose_space(space)
    return StackedObservations(1, n, space)


def _tables_of(env: gymnasium.Env[Any, Any]) -> TabularMDP | None:
    inner = env.unwrapped
    if isinstance(inner, TabularEnv):
        mdp = inner.mdp
    elif hasattr(inner, "P"):
        try:
            mdp = mdp_from_env(inner)
        except (TypeError, ValueError):
            return None
    else:
        return None
    return mdp if mdp.n_states <= _MAX_STATES else None


def _limit_of(env: gymnasium.Env[Any, Any] | None) -> int | None:
    spec = None if env is None else env.spec
    return None if spec is None else spec.max_episode_steps


def _action_names(env: gymnasium.Env[Any, Any] | None) -> tuple[str, ...]:
    if env is None:
        return ()
    inner, space = env.unwrapped, env.action_space
    if isinstance(inner, TabularEnv):
        return inner.mdp.action_names
    if isinstance(inner, PixelcopterEnv):
        return "climb", "nothing"
    if not isinstance(space, spaces.Discrete):
        n_numbers = int(np.prod(space.shape or (0,)))
        if n_numbers == 1:
            return ("action",)
        return tuple(f"action {i}" for i in range(n_numbers))
    name = "" if env.spec is None else env.spec.name
    plain = tuple(f"action {i}" for i in range(int(space.n)))
    return _ACTION_NAMES.get(name, plain)


def _limits_of(space: spaces.Space[Any]) -> tuple[tuple[float, float], ...]:
    """Returns smallest and largest value of each number; -1 and 1 where unlimited."""
    if not isinstance(space, spaces.Box):
        return ()
    pairs = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
    return tuple(
        (low, high) if 0 < high - low < math.inf else (-1.0, 1.0) for low, high in pairs
    )


def _seconds_of(env: gymnasium.Env[Any, Any] | None, mdp: TabularMDP | None) -> float:
    if env is None or mdp is not None or isinstance(env.unwrapped, TabularEnv):
        return _TABULAR_SECONDS
    return 1.0 / float(env.metadata.get("render_fps") or 30)
