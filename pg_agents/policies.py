"""Policies: networks with a choice of critic, a table of logits, and uniform chance."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from pg_agents.checks import check_choice, check_positive

Critic = Literal["separate", "shared", "none"]


class MlpPolicy(ActorCriticPolicy):
    """Stable-Baselines3's network policy with a choice of critic.

    Args:
        observation_space: observation space.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        critic: `"separate"`: a value network of its own (SB3's way). `"shared"`: one
            body, with a head for the policy and one for the value. `"none"`: no value
            network and no parameters for it; values are 0.
        **kwargs: as SB3's `ActorCriticPolicy`: `net_arch`, `activation_fn`,
            `ortho_init`, `optimizer_class`, `optimizer_kwargs` and so on. With a shared
            critic `net_arch` must be a list: one body.

    Raises:
        ValueError: if `critic` is unknown, or shared with two bodies in `net_arch`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        critic: Critic = "separate",
        **kwargs: Any,
    ) -> None:
        check_choice("critic", critic, get_args(Critic))
        net_arch = kwargs.get("net_arch")
        if critic == "shared" and isinstance(net_arch, dict):
            raise ValueError(
                "critic='shared' has one body for policy and value: net_arch must be a "
                f"list of layer widths, got {net_arch!r}"
            )
        self._critic = critic
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    @property
    def has_critic(self) -> bool:
        """Whether there is a value function to learn."""
        return self._critic != "none"

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "critic": self._critic}

    def _build_mlp_extractor(self) -> None:
        if self._critic == "separate":
            super()._build_mlp_extractor()
            return
        given = self.net_arch
        body = given["pi"] if isinstance(given, dict) else given
        # What a saved policy is made again from.
        self.net_arch = body
        extractor = _SharedBody if self._critic == "shared" else MlpExtractor
        self.mlp_extractor = extractor(
            self.features_dim,
            net_arch={"pi": body, "vf": []},
            activation_fn=self.activation_fn,
            device=self.device,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self._critic == "none":
            self.value_net = _NoCritic()  # type: ignore[assignment]
            # Made again without the parameters that are gone.
            self.optimizer = self.optimizer_class(
                self.parameters(),
                lr=lr_schedule(1),  # type: ignore[call-arg]
                **self.optimizer_kwargs,
            )


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


class _NoCritic(nn.Module):
    """Stands where a value head would: values are 0."""

    def forward(self, latent: Tensor) -> Tensor:
        return latent.new_zeros((len(latent), 1))


class TabularPolicy(ActorCriticPolicy):
    """A table of logits, one row per observation; the policy is their softmax.

    `pi(a | s) = exp(theta[s, a]) / sum_b exp(theta[s, b])`

    After every update the logits are clamped to `[-max_logit, max_logit]`, so that no
    probability ever becomes exactly 0 for good.

    Reference: Sutton and Barto (2018), equation 13.2 with tabular preferences.

    Args:
        observation_space: a `Discrete` space.
        action_space: a `Discrete` space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        critic: `"separate"`: a table of values beside it. `"none"`: values are 0.
        max_logit: bound of the logits' magnitude, in nats.
        optimizer_class: plain gradient descent by default: a step size is then the
            textbook's.
        **kwargs: as SB3's `ActorCriticPolicy`; what concerns networks is not used.

    Raises:
        ValueError: if a space is not `Discrete`, or an argument is out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        critic: Literal["separate", "none"] = "separate",
        max_logit: float = 100.0,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.SGD,
        **kwargs: Any,
    ) -> None:
        for name, space in (
            ("observation", observation_space),
            ("action", action_space),
        ):
            if not isinstance(space, spaces.Discrete):
                raise ValueError(
                    f"TabularPolicy needs a Discrete {name} space to have a finite "
                    f"table, got {space}"
                )
        check_choice("critic", critic, ("separate", "none"))
        check_positive("max_logit", max_logit)
        self._critic = critic
        self.max_logit = max_logit
        kwargs = {**kwargs, "optimizer_class": optimizer_class}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    action_net: nn.Linear

    @property
    def has_critic(self) -> bool:
        """Whether there is a value table to learn."""
        return self._critic != "none"

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"critic": self._critic, "max_logit": self.max_logit}
        return {**super()._get_constructor_parameters(), **own}

    def _build(self, lr_schedule: Schedule) -> None:
        # One-hot observations (SB3's preprocessing) times a matrix: a look-up.
        n_states, n_actions = self.features_dim, int(self.action_space.n)  # type: ignore[attr-defined]
        self.net_arch = {"pi": [], "vf": []}
        self._build_mlp_extractor()
        self.action_net = nn.Linear(n_states, n_actions, bias=False)
        nn.init.zeros_(self.action_net.weight)
        value_net = nn.Linear(n_states, 1, bias=False)
        self.value_net = value_net if self.has_critic else _NoCritic()  # type: ignore[assignment]
        for table in self.value_net.parameters():
            nn.init.zeros_(table)
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        self.optimizer.register_step_post_hook(self._clamp)

    @property
    def logits(self) -> Tensor:
        """The table, `[S, A]`, a view of the parameters, in nats."""
        return self.action_net.weight.detach().T

    def _clamp(self, *_: object) -> None:
        with torch.no_grad():
            self.action_net.weight.clamp_(-self.max_logit, self.max_logit)


class RandomPolicy(BasePolicy):
    """Uniform random actions, whatever is observed.

    Args:
        observation_space: any observation space.
        action_space: any action space; `action_space.seed` makes it repeatable.
        lr_schedule: not used.
        **kwargs: as SB3's `BasePolicy`; nothing here is learnt.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions `[N, ...]`, values of 0 `[N, 1]` and log-probs of 0 `[N]`.

        What a uniform action's density is depends on the space, and nobody asks.
        """
        actions = self._predict(obs, deterministic)
        zeros = torch.zeros(len(actions))
        return actions, zeros[:, None], zeros

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        some = (
            next(iter(observation.values()))
            if isinstance(observation, dict)
            else observation
        )
        actions = [self.action_space.sample() for _ in range(len(some))]
        return torch.as_tensor(np.stack(actions))
