"""Network policies: SB3's, with a choice of critic, layer norm and initialisation."""

from __future__ import annotations

from typing import Any, Literal, get_args

from gymnasium import spaces
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    MlpExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from pg_agents.common.checks import check_choice
from pg_agents.policies.base import NoCritic, PolicyGradientPolicy

Critic = Literal["separate", "shared", "none"]


class MlpPolicy(PolicyGradientPolicy):
    """Stable-Baselines3's network policy with a choice of critic.

    Args:
        observation_space: observation space.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        critic: `"separate"`: a separate value network, as in SB3. `"shared"`: one body
            with a head for the policy and one for the value. `"none"`: no value
            network; values are 0.
        layer_norm: whether to normalise each hidden layer before its activation (Ba,
            Kiros and Hinton, 2016, "Layer normalization").
        glorot_init: whether to initialise weights uniformly within
            sqrt(6 / (inputs + outputs)) of 0, and biases to 0 (Glorot and Bengio, 2010,
            equation 16), as Keras does; instead of `ortho_init`.
        **kwargs: as SB3's `ActorCriticPolicy`: `net_arch`, `activation_fn`,
            `ortho_init`, `optimizer_class`, `optimizer_kwargs` and so on. With a shared
            critic `net_arch` must be a list of layer widths.

    Raises:
        ValueError: if `critic` is unknown, or arguments exclude each other.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        critic: Critic = "separate",
        layer_norm: bool = False,
        glorot_init: bool = False,
        **kwargs: Any,
    ) -> None:
        check_choice("critic", critic, get_args(Critic))
        check_choice("layer_norm", layer_norm, (True, False))
        check_choice("glorot_init", glorot_init, (True, False))
        if glorot_init and kwargs.get("ortho_init"):
            raise ValueError(
                "glorot_init=True and ortho_init=True are mutually exclusive"
            )
        net_arch = kwargs.get("net_arch")
        # SB3 also accepts [{"pi": ..., "vf": ...}], its format before 1.8.
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
            # A separate extractor of the critic would be unused.
            kwargs = {**kwargs, "share_features_extractor": True}
        self._critic = critic
        self._layer_norm = layer_norm
        self._glorot_init = glorot_init
        if glorot_init:
            kwargs = {**kwargs, "ortho_init": False}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    @property
    def has_critic(self) -> bool:
        """Whether values are learnt."""
        return self._critic != "none"

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "critic": self._critic,
            "layer_norm": self._layer_norm,
            "glorot_init": self._glorot_init,
        }

    def _build_mlp_extractor(self) -> None:
        if self._critic == "separate":
            super()._build_mlp_extractor()
        else:
            net_arch = self.net_arch
            body = net_arch.get("pi", []) if isinstance(net_arch, dict) else net_arch
            # As an argument, for a saved policy.
            self.net_arch = body
            extractor = SharedBody if self._critic == "shared" else MlpExtractor
            self.mlp_extractor = extractor(
                self.features_dim,
                net_arch={"pi": body, "vf": []},
                activation_fn=self.activation_fn,
                device=self.device,
            )
        if self._layer_norm:
            for name in ("policy_net", "value_net"):
                layers = getattr(self.mlp_extractor, name)
                setattr(self.mlp_extractor, name, _with_layer_norm(layers))

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self._glorot_init:
            self.apply(_init_glorot)
        if self._critic == "none":
            self.value_net = NoCritic()  # type: ignore[assignment]
            # Without the parameters of the removed value head.
            self.optimizer = self.optimizer_class(
                self.parameters(),
                lr=lr_schedule(1),  # type: ignore[call-arg]
                **self.optimizer_kwargs,
            )


class CnnPolicy(MlpPolicy):
    """`MlpPolicy` for images: a convolutional network first (Mnih et al., 2015).

    Args:
        observation_space: a `Box` of images, uint8 in [0, 255].
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        features_extractor_class: the convolutional network.
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
    """`MlpPolicy` for `Dict` observations: one features extractor per entry.

    Args:
        observation_space: a `Dict` of arrays and images.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        features_extractor_class: class of the combined extractor.
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


class SharedBody(MlpExtractor):
    """One body for both heads, computed once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latent_dim_vf = self.latent_dim_pi

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the body's outputs, twice."""
        latent = self.policy_net(features)
        return latent, latent

    def forward_critic(self, features: Tensor) -> Tensor:
        """Returns the body's outputs."""
        return self.forward_actor(features)


def _init_glorot(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _with_layer_norm(layers: nn.Sequential) -> nn.Sequential:
    """Inserts a layer norm after each linear layer."""
    parts: list[nn.Module] = []
    for layer in layers:
        parts.append(layer)
        if isinstance(layer, nn.Linear):
            parts.append(nn.LayerNorm(layer.out_features, device=layer.weight.device))
    return nn.Sequential(*parts)
