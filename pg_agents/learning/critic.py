"""The critic's own step size, and its target network.

Values themselves come from `Learner.complete`.
"""

from __future__ import annotations

from copy import copy, deepcopy

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn


def make_target(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """Returns a copy of a policy for `update_target`: nothing else trains it.

    Args:
        policy: the one that learns.
    """
    # gSDE's noise is computed from parameters, and PyTorch refuses a deep copy of what
    # is. A shallow one will do: distributions replace their tensors, they do not write
    # to them.
    distribution = getattr(policy, "action_dist", None)
    target = deepcopy(policy, {id(distribution): copy(distribution)})
    target.requires_grad_(False)
    target.set_training_mode(False)
    return target


def update_target(
    target: ActorCriticPolicy, policy: ActorCriticPolicy, tau: float
) -> None:
    """Moves the slow copy towards the policy: `target += tau * (policy - target)`.

    Reference: Mnih et al. (2015), "Human-level control through deep reinforcement
    learning", with tau 1; Lillicrap et al. (2016), "Continuous control with deep
    reinforcement learning", with tau below (Polyak averaging).

    Args:
        target: the copy, changed in place.
        policy: the one that learns.
        tau: in (0, 1]; 1 copies it.
    """
    source = policy.state_dict()
    with torch.no_grad():
        for name, slow in target.state_dict().items():
            # Counters, of batch norm for one, have no mean.
            if tau == 1.0 or not slow.is_floating_point():
                slow.copy_(source[name])
            else:
                slow.lerp_(source[name], tau)


def split_critic(policy: ActorCriticPolicy) -> None:
    """Gives what belongs to the critic alone a parameter group of its own, the last.

    What the critic shares with the policy, a body or an extractor, stays with the
    policy. The optimiser itself stays: its state and hooks are kept.

    Args:
        policy: one with a critic.

    Raises:
        ValueError: if nothing belongs to the critic.
    """
    actor = {id(p) for p in policy.action_net.parameters()}
    modules = _critic_modules(policy)
    own = [p for module in modules for p in module.parameters() if id(p) not in actor]
    if not own:
        raise ValueError(
            "critic_learning_rate needs a critic with parameters of its own, and "
            f"{type(policy).__name__} has none here"
        )
    ours = {id(p) for p in own}
    (group,) = policy.optimizer.param_groups
    critic_group = {**group, "params": own}
    group["params"] = [p for p in group["params"] if id(p) not in ours]
    policy.optimizer.add_param_group(critic_group)


def critic_names(policy: ActorCriticPolicy) -> set[str]:
    """Returns the names in `policy.state_dict()` of what the critic alone uses."""
    own = {id(t) for m in _critic_modules(policy) for t in _tensors(m).values()}
    modules = (policy.action_net, policy.mlp_extractor.policy_net)
    actor = {id(t) for m in modules for t in _tensors(m).values()}
    return {n for n, t in _tensors(policy).items() if id(t) in own - actor}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # The tensors themselves, which several names can stand for.
    return module.state_dict(keep_vars=True)


def _critic_modules(policy: ActorCriticPolicy) -> list[nn.Module]:
    modules = [policy.value_net, policy.mlp_extractor.value_net]
    if not policy.share_features_extractor:
        modules.append(policy.vf_features_extractor)
    return modules
