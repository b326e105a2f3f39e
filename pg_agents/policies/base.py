"""Base class of the policies: SB3's `ActorCriticPolicy` for more spaces."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from pg_agents.common.checks import is_defined_in
from pg_agents.common.nonfinite import check_finite_policy
from pg_agents.common.spaces import nearest_actions, scaled, unscaled
from pg_agents.common.tree import leaves, tree_map
from pg_agents.policies.distributions import BoxGaussian, ShiftedCategorical, for_space

# Layers of torch that behave differently in training.
_MODE_DEPENDENT = (
    nn.modules.dropout._DropoutNd,
    nn.modules.batchnorm._NormBase,
    nn.RReLU,
    nn.MultiheadAttention,
)
# Packages whose classes `act` and `evaluate_actions` support.
_TRUSTED = ("torch", "stable_baselines3", "pg_agents")
# Methods that `act` and `evaluate_actions` skip, or call differently from SB3's
# `forward` and `evaluate_actions`: an override would be missed.
_METHODS = (
    "__call__",
    "forward",
    "evaluate_actions",
    "predict_values",
    "get_distribution",
    "extract_features",
    "_get_action_dist_from_latent",
    "act",
)
_EXTRACTOR_METHODS = ("__call__", "forward", "forward_actor", "forward_critic")
_DISTRIBUTION_METHODS = (
    "proba_distribution",
    "sample",
    "get_actions",
    "log_prob",
    "entropy",
)


class _CountsFromZero(BaseModel):
    """Shifts discrete observations to start at 0, as their one-hot encoding expects.

    A base class after `ActorCriticPolicy`: all of SB3's methods call this
    `extract_features` through `super()`.
    """

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor
    ) -> Tensor:
        space = self.observation_space
        starts: Any = getattr(space, "start", 0)
        if isinstance(space, spaces.Dict):
            starts = {k: getattr(part, "start", 0) for k, part in space.items()}
        if any(np.any(start) for start in leaves(starts)):
            obs = tree_map(_subtract, obs, starts)
        return super().extract_features(obs, features_extractor)


class PolicyGradientPolicy(ActorCriticPolicy, _CountsFromZero):  # type: ignore[misc]
    """SB3's `ActorCriticPolicy` with support for more spaces.

    Discrete spaces may start at any number: all methods, and the distributions of
    `get_distribution`, use the environment's actions, where SB3 counts from 0. Actions
    may have any dtype; `predict` returns that of the space. The distribution of a
    squashed policy is over [-1, 1], as in SB3; `scale_action` converts actions of
    `predict` to this range. Subclasses that build distributions without `action_dist`
    have to use the environment's actions in them. `save` and `load` keep every
    constructor argument.

    Args:
        observation_space: observation space.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        **kwargs: as SB3's `ActorCriticPolicy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        # SB3 does not store these without gSDE.
        self._gsde = {
            "full_std": kwargs.get("full_std", True),
            "use_expln": kwargs.get("use_expln", False),
        }
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)
        self.action_dist = for_space(self.action_dist, action_space)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            **self._gsde,
            "squash_output": self.squash_output,
            "share_features_extractor": self.share_features_extractor,
        }

    def save(self, path: str) -> None:
        """Saves weights and arguments of the constructor, as SB3's policies do.

        Args:
            path: name of the file.

        Raises:
            NonFiniteError: (a ValueError) if a parameter is NaN or infinite; existing
                files are unchanged.
        """
        check_finite_policy(self)
        super().save(path)

    def act(self, obs: PyTorchObs) -> Tensor:
        """Samples actions `[N, *action_shape]` as `forward`, without the critic."""
        actions = self.get_distribution(obs).sample()
        return actions.reshape(-1, *self.action_space.shape)  # type: ignore[misc]

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        # A copy: SB3's tensors in the shared distribution make deepcopy fail.
        distribution = copy(self.action_dist)
        if isinstance(distribution, ShiftedCategorical):
            return distribution.proba_distribution(self.action_net(latent_pi))
        if isinstance(distribution, BoxGaussian):
            means = self.action_net(latent_pi)
            return distribution.proba_distribution(means, self.log_std)
        return super()._get_action_dist_from_latent(latent_pi)

    @property
    def uses_default_forward(self) -> bool:
        """Whether calling `act` and `evaluate_actions` is equivalent to `forward`.

        It is not if a user's subclass or the instance overrides a method, or if hooks,
        which would be called a different number of times, are registered.
        """
        return overridden_method(self) is None and not has_hooks(self)

    @property
    def has_train_eval_modes(self) -> bool:
        """Whether a layer may behave differently in training, as dropout does.

        This is assumed of layers from unknown packages.
        """
        return any(
            isinstance(module, _MODE_DEPENDENT)
            or type(module).__module__.split(".")[0] not in _TRUSTED
            for module in self.modules()
        )

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """As SB3's, but actions have the dtype of their space (SB3: often float32)."""
        actions, state = super().predict(
            observation, state, episode_start, deterministic
        )
        if actions.dtype != self.action_space.dtype or self.squash_output:
            actions = nearest_actions(actions, self.action_space)
        return actions, state

    def scale_action(self, action: NDArray[Any]) -> NDArray[Any]:
        """Maps actions of a Box, of any dtype, from its bounds to [-1, 1]."""
        assert isinstance(self.action_space, spaces.Box), "only a Box has bounds"
        return scaled(action, self.action_space)

    def unscale_action(self, scaled_action: NDArray[Any]) -> NDArray[Any]:
        """Maps numbers from [-1, 1] to the bounds of a Box."""
        assert isinstance(self.action_space, spaces.Box), "only a Box has bounds"
        return unscaled(scaled_action, self.action_space)


class NoCritic(nn.Module):
    """A value head without parameters: values are 0."""

    def forward(self, latent: Tensor) -> Tensor:
        """Returns zeros `[B, 1]`."""
        return latent.new_zeros((len(latent), 1))


def methods_in_use(policy: ActorCriticPolicy) -> list[object]:
    """Returns the functions that act and evaluate, for a comparison."""
    methods: list[object] = []
    for part, names in _parts(policy):
        own, kind = vars(part), type(part)
        methods += [own[n] if n in own else getattr(kind, n, None) for n in names]
    return methods


def overridden_method(policy: ActorCriticPolicy) -> str | None:
    """Returns the first method of acting or evaluating that a user overrides.

    It may be overridden by a subclass, on a class, or on the instance.

    Args:
        policy: of pg_agents or SB3, or of a subclass.
    """
    for part, names in _parts(policy):
        for name in names:
            method = getattr(type(part), name, None)
            if name in vars(part) or not (method is None or is_stock(method)):
                return f"{type(part).__name__}.{name}"
    return None


def is_stock(method: Any) -> bool:  # noqa: ANN401
    """Returns whether a function is defined in torch, SB3 or pg_agents."""
    return is_defined_in(method, _TRUSTED)


def _parts(policy: ActorCriticPolicy) -> tuple[tuple[Any, tuple[str, ...]], ...]:
    return (
        (policy, _METHODS),
        (policy.mlp_extractor, _EXTRACTOR_METHODS),
        (policy.action_dist, _DISTRIBUTION_METHODS),
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook is registered on a module, on one inside it, or on all modules.

    A layer whose `forward` is overridden on the instance counts as well.
    """
    if nn.modules.module._has_any_global_hook():
        return True
    # A loop, because `module.modules()` takes several times as long.
    pending: list[nn.Module | None] = [module]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        if (
            current._forward_hooks
            or current._forward_pre_hooks
            or current._backward_hooks
            or current._backward_pre_hooks
            or "forward" in vars(current)
        ):
            return True
        pending += current._modules.values()
    return False


def _subtract(obs: Tensor, start: Any) -> Tensor:  # noqa: ANN401
    return obs - torch.as_tensor(start).to(obs) if np.any(start) else obs
