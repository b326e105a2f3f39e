"""The critic's parameter group in the optimiser, and its target network.

Values themselves come from `Learner.complete`.
"""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn


def make_target(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """Returns a frozen copy of a policy, for `update_target`."""
    # With gSDE the distribution holds tensors computed from parameters, which PyTorch
    # can't deep-copy. A shallow copy suffices: distributions replace these tensors and
    # never change them in place.
    distribution = getattr(policy, "action_dist", None)
    target = deepcopy(policy, {id(distribution): copy(distribution)})
    target.requires_grad_(False)
    target.set_training_mode(False)
    return target


def update_target(
    target: ActorCriticPolicy, policy: ActorCriticPolicy, tau: float
) -> None:
    """Updates a target network in place, `target += tau * (policy - target)`.

    Reference: Mnih et al. (2015), "Human-level control through deep reinforcement
    learning", with tau 1; Lillicrap et al. (2016), "Continuous control with deep
    reinforcement learning", with tau < 1 (Polyak averaging).
    """
    source = policy.state_dict()
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            # Integers, such as the counters of batch norm, can't be averaged.
            if tau == 1.0 or not tensor.is_floating_point():
                tensor.copy_(source[name])
            else:
                tensor.lerp_(source[name], tau)


def split_critic(policy: ActorCriticPolicy) -> None:
    """Moves the critic's own parameters to a second parameter group of the optimiser.

    Parameters that the critic shares with the actor stay in the first group. The
    optimiser keeps its state and hooks.

    Raises:
        ValueError: if the critic has no parameters of its own.
    """
    actor = {id(p) for p in policy.action_net.parameters()}
    modules = _critic_modules(policy)
    params = [p for module in modules for p in module.parameters()]
    critic_params = [p for p in params if id(p) not in actor]
    if not critic_params:
        raise ValueError(
            "critic_learning_rate needs a critic with parameters of its own, and "
            f"{type(policy).__name__} has none here"
        )
    ids = {id(p) for p in critic_params}
    (group,) = policy.optimizer.param_groups
    critic_group = {**group, "params": critic_params, "is_critic": True}
    group["params"] = [p for p in group["params"] if id(p) not in ids]
    policy.optimizer.add_param_group(critic_group)


def join_critic(policy: ActorCriticPolicy) -> None:
    """Moves the critic's own parameters back to the optimiser's first group."""
    group, critic_group = policy.optimizer.param_groups
    ids = {id(p) for p in (*group["params"], *critic_group["params"])}
    # In the order in which SB3 passed them to the optimiser.
    group["params"] = [p for p in policy.parameters() if id(p) in ids]
    policy.optimizer.param_groups.remove(critic_group)


def set_critic_group(policy: ActorCriticPolicy, has_own: bool) -> None:
    """Gives the critic's own parameters a group of their own, or none."""
    if has_own == has_critic_group(policy.optimizer.param_groups):
        return
    if has_own:
        split_critic(policy)
    else:
        join_critic(policy)


def has_critic_group(groups: list[dict[str, Any]]) -> bool:
    """Returns whether parameter groups of an optimiser contain the critic's own."""
    return any(group.get("is_critic", False) for group in groups)


def critic_names(policy: ActorCriticPolicy) -> set[str]:
    """Returns the entries of `policy.state_dict()` that only the critic uses."""
    modules = (policy.action_net, policy.mlp_extractor.policy_net)
    actor = {id(t) for m in modules for t in _tensors(m).values()}
    critic = {id(t) for m in _critic_modules(policy) for t in _tensors(m).values()}
    return {n for n, t in _tensors(policy).items() if id(t) in critic - actor}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # keep_vars: the tensors themselves, since several names may share one.
    return module.state_dict(keep_vars=True)


def _critic_modules(policy: ActorCriticPolicy) -> list[nn.Module]:
    modules = [policy.value_net, policy.mlp_extractor.value_net]
    if not policy.share_features_extractor:
        modules.append(policy.vf_features_extractor)
    return modules
