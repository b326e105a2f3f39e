"""Network policies: Stable-Baselines3's, with a choice of critic and layer norm."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    MlpExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from pg_agents.checks import check_choice
from pg_agents.observations import map_observation

Critic = Literal["separate", "shared", "none"]


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
            map_observation(_minus, obs, starts), features_extractor
        )


class OurPolicy(ActorCriticPolicy, _CountsFromZero):  # type: ignore[misc]
    """What the policies of pg_agents share beyond Stable-Baselines3's.

    Discrete spaces may start at any number: actions are taken, returned and evaluated
    as the environment counts them (SB3 counts from 0, whatever the space says). `save`
    and `load` keep every argument of the constructor.

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
        start = _start(action_space)
        self._action_start = start if np.any(start) else None
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            **self._gsde,
            "squash_output": self.squash_output,
            "share_features_extractor": self.share_features_extractor,
        }

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions `[N, ...]`, values `[N, 1]` and log-probabilities `[N]`."""
        actions, values, log_prob = super().forward(obs, deterministic)  # type: ignore[arg-type]
        return self._counted(actions, 1), values, log_prob

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values `[B, 1]`, log-probabilities `[B]` and entropies `[B]`."""
        return super().evaluate_actions(obs, self._counted(actions, -1))

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """As SB3's, but binary actions have the dtype of their space (SB3: float)."""
        actions, state = super().predict(
            observation, state, episode_start, deterministic
        )
        if isinstance(self.action_space, spaces.MultiBinary):
            actions = actions.astype(self.action_space.dtype)
        return actions, state

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self._counted(super()._predict(observation, deterministic), 1)

    def _counted(self, actions: Tensor, sign: int) -> Tensor:
        """Returns the environment's numbers (sign 1), or the network's (sign -1)."""
        if self._action_start is None:
            return actions
        return actions + sign * torch.as_tensor(self._action_start).to(actions)


class MlpPolicy(OurPolicy):
    """Stable-Baselines3's network policy with a choice of critic.

    Args:
        observation_space: observation space.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        critic: `"separate"`: a value network of its own (SB3's way). `"shared"`: one
            body, with a head for the policy and one for the value. `"none"`: no value
            network and no parameters for it; values are 0.
        layer_norm: whether each hidden layer is normalised before its activation (Ba,
            Kiros and Hinton, 2016, "Layer normalization").
        **kwargs: as SB3's `ActorCriticPolicy`: `net_arch`, `activation_fn`,
            `ortho_init`, `optimizer_class`, `optimizer_kwargs` and so on. With a shared
            critic `net_arch` must be a list: one body.

    Raises:
        ValueError: if `critic` is unknown, or does not go with another argument.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        critic: Critic = "separate",
        layer_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        check_choice("critic", critic, get_args(Critic))
        check_choice("layer_norm", layer_norm, (True, False))
        net_arch = kwargs.get("net_arch")
        # SB3 still takes [{"pi": ..., "vf": ...}], its way before 1.8.
        parts = net_arch if isinstance(net_arch, list) else [net_arch]
        if critic == "shared" and any(isinstance(part, dict) for part in parts):
            raise ValueError(
                "critic='shared' has one body for policy and value: net_arch must be a "
                f"list of layer widths, got {net_arch!r}"
            )
        if critic == "shared" and not kwargs.get("share_features_extractor", True):
            raise ValueError(
                "share_features_extractor=False gives the critic an extractor of its "
                "own and needs critic='separate', got critic='shared'"
            )
        if critic == "none":
            # Nobody would use an extractor of the critic's.
            kwargs = {**kwargs, "share_features_extractor": True}
        self._critic = critic
        self._layer_norm = layer_norm
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    @property
    def has_critic(self) -> bool:
        """Whether there is a value function to learn."""
        return self._critic != "none"

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"critic": self._critic, "layer_norm": self._layer_norm}
        return {**super()._get_constructor_parameters(), **own}

    def _build_mlp_extractor(self) -> None:
        if self._critic == "separate":
            super()._build_mlp_extractor()
        else:
            given = self.net_arch
            body = given.get("pi", []) if isinstance(given, dict) else given
            # What a saved policy is made again from.
            self.net_arch = body
            extractor = _SharedBody if self._critic == "shared" else MlpExtractor
            self.mlp_extractor = extractor(
                self.features_dim,
                net_arch={"pi": body, "vf": []},
                activation_fn=self.activation_fn,
                device=self.device,
            )
        if self._layer_norm:
            for name in ("policy_net", "value_net"):
                plain = getattr(self.mlp_extractor, name)
                setattr(self.mlp_extractor, name, _normalized(plain))

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self._critic == "none":
            self.value_net = NoCritic()  # type: ignore[assignment]
            # Made again without the parameters that are gone.
            self.optimizer = self.optimizer_class(
                self.parameters(),
                lr=lr_schedule(1),  # type: ignore[call-arg]
                **self.optimizer_kwargs,
            )


class CnnPolicy(MlpPolicy):
    """`MlpPolicy` for images: a convolutional network in front (Mnih et al., 2015).

    Args:
        observation_space: a `Box` of images, uint8 in [0, 255].
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        features_extractor_class: what is in front.
        **kwargs: as `MlpPolicy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,
    ) -> None:
        kwargs = {**kwargs, "features_extractor_class": features_extractor_class}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)


class MultiInputPolicy(MlpPolicy):
    """`MlpPolicy` for `Dict` observations: an extractor for each entry, side by side.

    Args:
        observation_space: a `Dict` of arrays and images.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        features_extractor_class: what is in front.
        **kwargs: as `MlpPolicy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f"policy MultiInputPolicy needs a Dict observation space, got "
                f"{observation_space}"
            )
        kwargs = {**kwargs, "features_extractor_class": features_extractor_class}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)


class _SharedBody(MlpExtractor):
    """One body whose output goes to both heads, computed once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latent_dim_vf = self.latent_dim_pi

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.policy_net(features)
        return latent, latent

    def forward_critic(self, features: Tensor) -> Tensor:
        return self.forward_actor(features)


class NoCritic(nn.Module):
    """Stands where a value head would: values are 0."""

    def forward(self, latent: Tensor) -> Tensor:
        """Returns zeros `[B, 1]`."""
        return latent.new_zeros((len(latent), 1))


def _normalized(layers: nn.Sequential) -> nn.Sequential:
    """Returns the same layers with a layer norm behind each linear one."""
    parts: list[nn.Module] = []
    for layer in layers:
        parts.append(layer)
        if isinstance(layer, nn.Linear):
            parts.append(nn.LayerNorm(layer.out_features, device=layer.weight.device))
    return nn.Sequential(*parts)


def _start(space: spaces.Space[Any]) -> Any:  # noqa: ANN401
    """Returns the first number of a discrete space, or their array; 0 elsewhere."""
    return getattr(space, "start", 0)


def _minus(observations: Tensor, start: Any) -> Tensor:  # noqa: ANN401
    if not np.any(start):
        return observations
    return observations - torch.as_tensor(start).to(observations)
