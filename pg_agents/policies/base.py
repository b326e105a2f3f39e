"""Base class of the policies: SB3's `ActorCriticPolicy` for any action space."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from pg_agents.common.nonfinite import check_policy
from pg_agents.common.spaces import nearest_actions, scaled, unscaled
from pg_agents.common.tree import tree_map
from pg_agents.policies.distributions import (
    BoxGaussian,
    ShiftedCategorical,
    for_space,
)

# Layers of torch that behave differently in training.
_MODE_DEPENDENT = (
    nn.modules.dropout._DropoutNd,
    nn.modules.batchnorm._NormBase,
    nn.RReLU,
    nn.MultiheadAttention,
)
# Packages whose overrides `act` and `evaluate_actions` take into account.
_TRUSTED = ("torch", "stable_baselines3", "pg_agents")
# Methods that `act` and `evaluate_actions` do not call, or call in another way than
# SB3's `forward` and `evaluate_actions`.
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


class _CountsFromZero(BaseModel):
    """Shifts discrete observations so that the one-hot code counts from 0.

    It stands behind `ActorCriticPolicy` in the order of inheritance: that is where all
    of SB3's methods, `forward` as well as `predict_values`, come to for the features.
    """

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor
    ) -> Tensor:
        space = self.observation_space
        starts: Any = _start(space)
        if isinstance(space, spaces.Dict):
            starts = {key: _start(part) for key, part in space.spaces.items()}
            if not any(np.any(start) for start in starts.values()):
                return super().extract_features(obs, features_extractor)
        elif not np.any(starts):
            return super().extract_features(obs, features_extractor)
        return super().extract_features(
            tree_map(_minus, obs, starts), features_extractor
        )


class PolicyGradientPolicy(ActorCriticPolicy, _CountsFromZero):  # type: ignore[misc]
    """SB3's `ActorCriticPolicy` with support for more spaces.

    Discrete spaces may start at any number: actions are those of the environment (SB3
    counts from 0), also in the distributions of `get_distribution`. Actions may have
    any dtype; `predict` returns that of the space. The distribution of a squashed
    policy is over [-1, 1], as in SB3: `scale_action` converts what `predict` returns.
    A subclass that builds distributions itself, without `action_dist`, has to use the
    environment's numbers in them. `save` and `load` keep every constructor argument.

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
        # SB3 forgets these where gSDE is off.
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
            NonFiniteError: (a ValueError) if a parameter is NaN or infinite; an old
                file of that name is as it was.
        """
        check_policy(self)
        super().save(path)

    def act(self, obs: PyTorchObs) -> Tensor:
        """Draws the actions of `forward`, `[N, *action_shape]`, without the critic."""
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

        It is not if a subclass or the instance overrides a method, or if a hook would
        be called a different number of times.
        """
        return (
            _are_stock(self, _METHODS)
            and _are_stock(self.mlp_extractor, _EXTRACTOR_METHODS)
            and not has_hooks(self)
        )

    @property
    def has_train_eval_modes(self) -> bool:
        """Whether a layer may behave differently in training, as dropout does.

        Layers of unknown packages may.
        """
        return any(
            isinstance(module, _MODE_DEPENDENT)
            or type(module).__module__.split(".")[0]
            not in ("torch", "stable_baselines3", "pg_agents")
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
        """Returns actions of a Box, of any dtype, as numbers in [-1, 1]."""
        assert isinstance(self.action_space, spaces.Box), "others have no bounds"
        return scaled(action, self.action_space)

    def unscale_action(self, scaled_action: NDArray[Any]) -> NDArray[Any]:
        """Returns numbers in [-1, 1] as numbers within the bounds of a Box."""
        assert isinstance(self.action_space, spaces.Box), "others have no bounds"
        return unscaled(scaled_action, self.action_space)


def _are_stock(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Returns whether no method is overridden by a user's class or on the instance."""
    kind, attributes = type(module), vars(module)
    for name in names:
        package = getattr(kind, name, _are_stock).__module__.split(".")[0]
        if name in attributes or package not in _TRUSTED:
            return False
    return True


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook is registered on a module, on one inside it, or on all modules."""
    if nn.modules.module._has_any_global_hook():
        return True
    # By hand: `modules()` takes several times as long, which small rollouts feel.
    inside: list[nn.Module | None] = [module]
    while inside:
        each = inside.pop()
        if each is None:
            continue
        if (
            each._forward_hooks
            or each._forward_pre_hooks
            or each._backward_hooks
            or each._backward_pre_hooks
        ):
            return True
        inside += each._modules.values()
    return False


def _start(space: spaces.Space[Any]) -> Any:  # noqa: ANN401
    """Returns the first number of a discrete space, or their array; 0 elsewhere."""
    return getattr(space, "start", 0)


def _minus(observations: Tensor, start: Any) -> Tensor:  # noqa: ANN401
    if not np.any(start):
        return observations
    return observations - torch.as_tensor(start).to(observations)
