"""Base class of the policies: SB3's `ActorCriticPolicy` for any action space."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from pg_agents.common.nonfinite import check_policy
from pg_agents.common.spaces import nearest_actions, scaled, unscaled
from pg_agents.common.tree import tree_map
from pg_agents.policies.distributions import (
    ActionDistribution,
    BoxGaussian,
    Categorical,
    Gaussian,
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
_BYPASSED = (
    "__call__",
    "forward",
    "evaluate_actions",
    "predict_values",
    "get_distribution",
    "extract_features",
    "_get_action_dist_from_latent",
    "act",
)
_BYPASSED_IN_EXTRACTOR = ("__call__", "forward", "forward_actor", "forward_critic")


class _CountsFromZero(BaseModel):
    """Shifts discrete observations so that the one-hot code counts from 0.

    It stands behind `ActorCriticPolicy` in the order of inheritance: that is where all
    of SB3's methods, `forward` as well as `predict_values`, come to for the features.
    """

    @cached_property
    def _sees_features(self) -> bool:
        """Whether observations are their features: nothing to scale or to flatten."""
        space = self.observation_space
        plain = isinstance(space, spaces.Box) and len(space.shape) == 1
        extractors = [m for m in self.modules() if isinstance(m, BaseFeaturesExtractor)]
        return plain and all(type(m) is FlattenExtractor for m in extractors)

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor
    ) -> Tensor:
        if self._sees_features and getattr(obs, "dtype", None) is torch.float32:
            return obs  # type: ignore[return-value]
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
        features: Any = self._features(obs, self.pi_features_extractor)
        latent = self.mlp_extractor.forward_actor(features)
        return self._shaped(self._distribution(latent).sample())

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draws actions `[N, *action_shape]`.

        Returns:
            Actions, values `[N, 1]` and log-probabilities `[N]`.
        """
        if deterministic or not self._overrides_nothing:
            return super().forward(obs, deterministic)  # type: ignore[arg-type]
        latent_pi, latent_vf = self._latents(obs)
        distribution = self._distribution(latent_pi)
        actions = distribution.sample()
        log_prob = distribution.log_prob(actions)
        return self._shaped(actions), self.value_net(latent_vf), log_prob

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values `[B, 1]`, log-probabilities `[B]` and entropies `[B]`."""
        if not self._overrides_nothing:
            return super().evaluate_actions(obs, actions)
        latent_pi, latent_vf = self._latents(obs)
        distribution = self._distribution(latent_pi)
        log_prob = distribution.log_prob(actions)
        return self.value_net(latent_vf), log_prob, distribution.entropy()

    @property
    def uses_default_forward(self) -> bool:
        """Whether `act` and `evaluate_actions` replace `forward` unnoticed.

        They do not if a subclass or the instance overrides a method, or if a hook would
        be called a different number of times.
        """
        return self._overrides_nothing and not has_hooks(self)

    @property
    def _overrides_nothing(self) -> bool:
        """Whether neither class nor instance has a method of another package."""
        kind: Any = type(self)
        inner: Any = type(self.mlp_extractor)
        own, its = vars(self), vars(self.mlp_extractor)
        return (
            _are_stock(tuple([getattr(kind, name) for name in _BYPASSED]))
            and _are_stock(
                tuple([getattr(inner, n, None) for n in _BYPASSED_IN_EXTRACTOR])
            )
            and not any([name in own for name in _BYPASSED])
            and not any([name in its for name in _BYPASSED_IN_EXTRACTOR])
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

    def _features(self, obs: PyTorchObs, extractor: BaseFeaturesExtractor) -> Tensor:
        # ActorCriticPolicy's own method returns a pair, and warns.
        return super(ActorCriticPolicy, self).extract_features(obs, extractor)

    def _latents(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Returns the inputs of the last layers of actor and critic, `[B, D]` each."""
        extractor = self.mlp_extractor
        for_policy: Any = self._features(obs, self.pi_features_extractor)
        if self.share_features_extractor:
            pair: tuple[Tensor, Tensor] = extractor(for_policy)
            return pair
        for_critic: Any = self._features(obs, self.vf_features_extractor)
        return extractor.forward_actor(for_policy), extractor.forward_critic(for_critic)

    def _distribution(self, latent: Tensor) -> ActionDistribution:
        """Returns the distribution over actions, `[B]`."""
        if type(self.action_dist) is ShiftedCategorical:
            return Categorical(self.action_net(latent), self.action_dist.start)
        if type(self.action_dist) is BoxGaussian:
            return Gaussian(self.action_net(latent), self.log_std)
        return self._get_action_dist_from_latent(latent)

    def _shaped(self, actions: Tensor) -> Tensor:
        """Returns actions `[N, *action_shape]`."""
        shape: Any = self.action_space.shape
        return actions if actions.shape[1:] == shape else actions.reshape(-1, *shape)

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


@lru_cache
def _are_stock(methods: tuple[Any, ...]) -> bool:
    return all(
        method is None or method.__module__.split(".")[0] in _TRUSTED
        for method in methods
    )


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
