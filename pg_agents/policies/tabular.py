"""A policy that is a table of logits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from pg_agents.common.checks import check_choice, check_positive
from pg_agents.policies.base import NoCritic, PolicyGradientPolicy


class TabularPolicy(PolicyGradientPolicy):
    """A table of logits, one row per observation; the policy is their softmax.

    `pi(a | s) = exp(theta[s, a]) / sum_b exp(theta[s, b])`

    After every update the logits are clamped to `[-max_logit, max_logit]`, so that
    every action keeps a positive probability.

    Reference: Sutton and Barto (2018), equation 13.2 with tabular preferences.

    Args:
        observation_space: a `Discrete` space.
        action_space: a `Discrete` space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        critic: `"separate"`: a table of values. `"none"`: values are 0.
        max_logit: bound of the logits' magnitude, in nats.
        optimizer_class: plain gradient descent by default, as in the textbook's update.
        **kwargs: as SB3's `ActorCriticPolicy`; arguments for networks are not used.

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
                    f"policy TabularPolicy needs a Discrete {name} space to have a "
                    f"finite table, got {space}"
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
        """Whether values are learnt."""
        return self._critic != "none"

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "critic": self._critic,
            "max_logit": self.max_logit,
        }

    def _build(self, lr_schedule: Schedule) -> None:
        # SB3's preprocessing makes observations one-hot: the product looks up a row.
        n_states, n_actions = self.features_dim, int(self.action_space.n)  # type: ignore[attr-defined]
        self.net_arch = {"pi": [], "vf": []}
        self._build_mlp_extractor()
        self.action_net = nn.Linear(n_states, n_actions, bias=False)
        nn.init.zeros_(self.action_net.weight)
        value_net = nn.Linear(n_states, 1, bias=False)
        self.value_net = value_net if self.has_critic else NoCritic()  # type: ignore[assignment]
        for table in self.value_net.parameters():
            nn.init.zeros_(table)
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        self.optimizer.register_step_post_hook(self.clamp_logits)

    @property
    def logits(self) -> Tensor:
        """The table `[S, A]`, in nats; a view of the parameters."""
        return self.action_net.weight.detach().T

    def clamp_logits(self, *_: object) -> None:
        """Clamps the logits to their bounds; a hook for steps of an optimiser."""
        self.action_net.weight.detach().clamp_(-self.max_logit, self.max_logit)
