"""Where actions, evaluations and gradients come from.

A gradient source draws the actions of a rollout, evaluates the policy on its steps,
fills the gradients of a batch, and steps the optimiser. `Autograd` works for every
policy, loss and device; `ClosedForm`, for stock policies and losses on the CPU, is
several times as fast. `why_autograd` decides.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import Tensor, nn

from pg_agents.common.memory import keep_freed_memory
from pg_agents.common.tree import Observation, Rows, as_arrays, leaves, zeros_like
from pg_agents.learning import closed_form
from pg_agents.learning.closed_form import Array, Derivatives, Layer, Network
from pg_agents.learning.optimizers import FlatParameters
from pg_agents.policies.base import (
    NoCritic,
    PolicyGradientPolicy,
    has_hooks,
    is_stock,
    methods_in_use,
    overridden_method,
)
from pg_agents.policies.distributions import (
    BoxGaussian,
    MultiBinaryBernoulli,
    ShiftedCategorical,
    ShiftedMultiCategorical,
)
from pg_agents.policies.features import ScaledExtractor
from pg_agents.policies.policies import SharedBody
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.data import Batch

if TYPE_CHECKING:
    from pg_agents.algorithms.config import PolicyGradientConfig

# Steps of a block: their activations fit the processor's cache.
_BLOCK = 1024
# Largest number of activations that a rollout keeps for its update, 1 GiB of float32.
# If it has more, they are computed again.
MAX_ACTIVATIONS = 2**28
# Environments from which on the activations of acting serve the update. Fewer rows are
# faster in one forward pass on the whole rollout.
_MIN_REUSED = 256
# Steps for each pair of observation and action from which on the pairs are evaluated in
# place of the steps, where both are discrete.
_MIN_STEPS_A_PAIR = 8
# Exponential numbers from which on NumPy's logarithm is faster than torch's.
_MIN_LOGARITHMS = 128
_INPUT_SPACES = (
    spaces.Box,
    spaces.Discrete,
    spaces.MultiDiscrete,
    spaces.MultiBinary,
)
_ACTIVATIONS: dict[type[nn.Module], type[closed_form.Tanh] | type[closed_form.ReLU]] = {
    nn.Tanh: closed_form.Tanh,
    nn.ReLU: closed_form.ReLU,
}
_LAYERS = (nn.Linear, nn.LayerNorm, nn.Identity, NoCritic, *_ACTIVATIONS)
_DISTRIBUTIONS = (
    CategoricalDistribution,
    MultiCategoricalDistribution,
    BernoulliDistribution,
    DiagGaussianDistribution,
    ShiftedCategorical,
    ShiftedMultiCategorical,
    MultiBinaryBernoulli,
    BoxGaussian,
)

# Actions `[N, *action_shape]`, and values and log-probabilities `[N]` if computed.
Actions = tuple[Rows, Tensor | None, Tensor | None]
# Values `[B, 1]`, log-probabilities `[B]`, and entropies `[B]` or None.
Evaluation = tuple[Tensor, Tensor, Tensor | None]
# The loss, a scalar, and its terms by logger key.
Loss = tuple[Tensor, dict[str, Tensor]]
# The same as numbers, or as tensors without gradient.
Terms = dict[str, Any]


class GradientSource(Protocol):
    """Draws actions, evaluates steps, computes gradients and takes optimiser steps.

    Attributes:
        uses_arrays: whether rollouts and batches are NumPy arrays, not tensors.
    """

    uses_arrays: bool

    def is_bound(self) -> bool:
        """Whether the policy's parameters are still those that it computes with."""

    def begin_rollout(
        self, updates_whole_rollouts: bool, weights_may_change: bool = True
    ) -> None:
        """Prepares a rollout by the current policy.

        Args:
            updates_whole_rollouts: whether the update will be on the whole rollout.
            weights_may_change: whether a callback may change weights before the update.
        """

    def act(self, obs: Observation) -> Actions:
        """Draws actions for observations `[N, *obs_shape]`, without gradient."""

    def evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Rows | None, Rows | None]:
        """Returns values and log-probabilities `[B]` of the recorded steps.

        None where `act` has returned them.
        """

    def values(self, policy: ActorCriticPolicy, obs: Observation) -> Rows:
        """Returns V of observations `[B, *obs_shape]`, without gradient, `[B]`.

        Args:
            policy: the policy, or its target network.
            obs: the observations.
        """

    def evaluate(self, batch: Batch) -> Evaluation:
        """Returns values, log-probabilities and entropies of a batch, with gradient.

        Args:
            batch: the data, as tensors.
        """

    def gradient(
        self,
        batch: Batch,
        loss: Callable[[Batch], Loss],
        config: PolicyGradientConfig,
        coefficients: Mapping[str, float],
    ) -> Terms:
        """Sets `.grad` of the policy's parameters to the gradient of the loss.

        Args:
            batch: the data.
            loss: the algorithm's loss.
            config: settings of the loss.
            coefficients: current `ent_coef`, `clip_range` and `clip_range_vf`.

        Returns:
            The terms of the loss, and the loss as `"loss"`.
        """

    def clip(self, max_norm: float) -> Any:  # noqa: ANN401
        """Scales the gradient to a norm of at most `max_norm`; returns its norm."""

    def step(self) -> None:
        """Takes a step of the optimiser."""

    def weight_norm(self) -> Any:  # noqa: ANN401
        """Returns the norm of all parameters; not finite if one of them is not."""


@dataclass(frozen=True)
class _Forward:
    """A forward pass on a rollout, with its graph.

    Attributes:
        inputs: parameters, observations and actions, referenced so that their ids stay
            theirs.
        versions: versions of the inputs.
        weights: copy of the parameters, on the CPU: a change of `.data` has no version.
        evaluation: values, log-probabilities and entropies.
    """

    inputs: list[Tensor]
    versions: list[tuple[int, int]]
    weights: Tensor | None
    evaluation: Evaluation


class Autograd:
    """Gradients by automatic differentiation.

    Policies of pg_agents without overridden methods, hooks or layers such as dropout
    draw their actions without the critic. One forward pass at the end of the rollout
    then gives its values and log-probabilities, and its graph serves the update if that
    is on the same tensors and neither they nor the parameters have changed. Every other
    policy runs its full `forward` at each step, as in SB3.

    Args:
        policy: the policy that acts and learns.
    """

    uses_arrays = False

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self.policy = policy
        self._has_modes = (
            not isinstance(policy, PolicyGradientPolicy) or policy.has_train_eval_modes
        )
        self._acts_without_critic = False
        self._forward: _Forward | None = None
        self._versions_at_start: list[tuple[int, int]] = []

    def is_bound(self) -> bool:
        """See `GradientSource`: it computes with whatever the policy has."""
        return True

    def begin_rollout(
        self, updates_whole_rollouts: bool, weights_may_change: bool = True
    ) -> None:
        """See `GradientSource`."""
        policy = self.policy
        self._acts_without_critic = (
            updates_whole_rollouts
            and not self._has_modes
            and isinstance(policy, PolicyGradientPolicy)
            and policy.uses_default_forward
        )
        self._forward = None
        self._versions_at_start = _versions(parameters_of(policy))

    def act(self, obs: Observation) -> Actions:
        """See `GradientSource`."""
        with torch.no_grad():
            if self._acts_without_critic:
                return self.policy.act(obs), None, None  # type: ignore[operator]
            actions, values, log_probs = self.policy(obs)
        return actions, values.flatten(), log_probs

    def evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        """See `GradientSource`."""
        if not self._acts_without_critic:
            return None, None
        parameters = parameters_of(self.policy)
        if _versions(parameters) != self._versions_at_start:
            _warn_of_changed_weights()
        obs, actions = buffer.stored_steps()
        evaluation = evaluate_actions(self.policy, obs, actions)
        inputs = [*parameters, *leaves(obs), actions]
        weights = _copied_weights(parameters)
        self._forward = _Forward(inputs, _versions(inputs), weights, evaluation)
        values, log_probs, _ = evaluation
        return values.detach().flatten(), log_probs.detach()

    def evaluate(self, batch: Batch) -> Evaluation:
        """See `GradientSource`."""
        policy, obs, actions = self.policy, batch.observations, batch.actions
        forward, self._forward = self._forward, None
        if forward is not None:
            # Callbacks may have changed the policy or the rollout.
            inputs = [*parameters_of(policy), *leaves(obs), actions]
            weights = _copied_weights(parameters_of(policy))
            same = weights is None or torch.equal(weights, forward.weights)  # type: ignore[arg-type]
            if same and forward.versions == _versions(inputs):
                return forward.evaluation
        return evaluate_actions(policy, obs, actions)

    def values(self, policy: ActorCriticPolicy, obs: Observation) -> Rows:
        """See `GradientSource`."""
        with torch.no_grad():
            return policy.predict_values(obs).flatten()

    def gradient(
        self,
        batch: Batch,
        loss: Callable[[Batch], Loss],
        config: PolicyGradientConfig,
        coefficients: Mapping[str, float],
    ) -> Terms:
        """See `GradientSource`."""
        self.policy.set_training_mode(True)
        self.policy.optimizer.zero_grad()
        value, terms = loss(batch)
        value.backward()
        # The loss last, and that of an override under any name.
        terms = {**terms, "loss": value}
        return {name: term.detach() for name, term in terms.items()}

    def clip(self, max_norm: float) -> Tensor:
        """See `GradientSource`."""
        parameters = parameters_of(self.policy)
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def step(self) -> None:
        """See `GradientSource`."""
        self.policy.optimizer.step()

    def weight_norm(self) -> Tensor | float:
        """See `GradientSource`."""
        parameters = parameters_of(self.policy)
        if not parameters:
            return 0.0
        # One vector: a norm for each of many small tensors is slower.
        return torch.linalg.vector_norm(_flat(parameters))


# Activations of the body, and of the actor.
Activations = tuple[list[Array], list[Array]]


@dataclass
class Forward:
    """A forward pass of a policy in closed form.

    Attributes:
        values: `[..., B]`; 0 without a critic.
        evaluation: log-probabilities and entropies of the actions.
        body: activations of the common layers.
        actor: activations of the policy's other layers.
        critic: activations of the value's other layers; none without a critic.
    """

    values: Array
    evaluation: closed_form.Evaluation
    body: list[Array]
    actor: list[Array]
    critic: list[Array]


class PolicyFunctions:
    """A stock policy as functions of arrays.

    Args:
        policy: a policy for which `why_autograd` returns None.
        pair: returns a parameter, and its gradient, as arrays that the functions read,
            and add gradients to.

    Attributes:
        features: from observations `[B, *obs_shape]` to inputs `[B, D]`.
        body: the layers that actor and critic share, if any.
        actor: the other layers of the policy.
        critic: those of the value function; None without a critic.
        distribution: over actions, as a function of the actor's outputs.
    """

    def __init__(
        self, policy: ActorCriticPolicy, pair: Callable[[Tensor], tuple[Array, Array]]
    ) -> None:
        self._pair = pair
        self.features = features_function(policy)
        extractor = policy.mlp_extractor
        shared = isinstance(extractor, SharedBody)
        policy_net = self._layers(extractor.policy_net)
        value_net = [] if shared else self._layers(extractor.value_net)
        self.body = Network(policy_net if shared else [])
        actor = [] if shared else policy_net
        self.actor = Network(actor + self._layers(policy.action_net))
        head = self._layers(policy.value_net)
        self.critic = Network(value_net + head) if head else None
        self.distribution = self._distribution(policy)

    def activations(self, features: Array) -> Activations:
        """Returns those of body and actor for features `[..., B, D]`."""
        body = self.body.activations(features)
        return body, self.actor.activations(body[-1])

    def forward(self, activations: Activations, actions: Array) -> Forward:
        """Evaluates actions `[..., B, *action_shape]`.

        Args:
            activations: what the method of this name returned.
            actions: the actions.
        """
        body, actor = activations
        critic = self.critic.activations(body[-1]) if self.critic else []
        evaluation = self.distribution.evaluate(actor[-1], actions)
        values = critic[-1][..., 0] if critic else zeros_like(evaluation.log_prob)
        return Forward(values, evaluation, body, actor, critic)

    def backward(
        self, forward: Forward, derivatives: Derivatives, adds: bool = True
    ) -> None:
        """Sets the gradients of the parameters to those of a loss.

        Args:
            forward: what the method of this name returned; it is overwritten.
            derivatives: of the loss, at the same steps.
            adds: whether to add to the gradients that are there.
        """
        has_body = len(forward.body) > 1
        d_outputs = self.distribution.gradient(
            forward.evaluation, derivatives.log_prob, derivatives.entropy
        )
        to_body: Any = self.actor.backward(forward.actor, d_outputs, has_body, adds)
        if self.critic is not None and derivatives.values is not None:
            d_values = derivatives.values[..., None]
            from_critic = self.critic.backward(forward.critic, d_values, has_body, adds)
            if has_body:
                to_body += from_critic
        if has_body:
            self.body.backward(forward.body, to_body, adds=adds)

    def values(self, obs: Observation) -> Array:
        """Returns V of observations `[B, *obs_shape]`, `[B]`; 0 without a critic."""
        x = self.features(obs)
        values = np.zeros(len(x), x.dtype)
        if self.critic is not None:
            for start in range(0, len(x), _BLOCK):
                steps = slice(start, start + _BLOCK)
                values[steps] = self.critic(self.body(x[steps]))[:, 0]
        return values

    def _layers(self, module: nn.Module) -> list[Layer]:
        """Returns layers that compute in the memory of a module's parameters."""
        if isinstance(module, nn.Sequential):
            return [layer for part in module for layer in self._layers(part)]
        if isinstance(module, nn.Linear):
            bias = None if module.bias is None else self._pair(module.bias)
            return [closed_form.Linear(self._pair(module.weight), bias)]
        if isinstance(module, nn.LayerNorm):
            weight, bias = self._pair(module.weight), self._pair(module.bias)
            return [closed_form.LayerNorm(weight, bias, module.eps)]
        return [_ACTIVATIONS[type(module)]()] if type(module) in _ACTIVATIONS else []

    def _distribution(self, policy: ActorCriticPolicy) -> closed_form.Distribution:
        space = policy.action_space
        # SB3's own policies count from 0.
        start: Any = getattr(policy.action_dist, "start", 0)
        if isinstance(space, spaces.Discrete):
            return closed_form.Categorical(start)
        if isinstance(space, spaces.MultiDiscrete):
            starts = np.broadcast_to(start, space.nvec.shape)
            return closed_form.MultiCategorical(space.nvec.tolist(), starts.tolist())
        if isinstance(space, spaces.MultiBinary):
            return closed_form.Bernoulli()
        log_std: Tensor = policy.log_std
        return closed_form.Gaussian(self._pair(log_std), space.shape)  # type: ignore[arg-type]


def _distinct_steps(policy: ActorCriticPolicy) -> _DistinctSteps | None:
    """Returns the pairs of observation and action of a policy with finite spaces."""
    observations, actions = policy.observation_space, policy.action_space
    if not (
        isinstance(observations, spaces.Discrete)
        and isinstance(actions, spaces.Discrete)
    ):
        return None
    # SB3's own policies count actions from 0.
    first: Any = getattr(policy.action_dist, "start", 0)
    return _DistinctSteps(observations, int(actions.n), int(first))


def _frozen(policy: ActorCriticPolicy) -> PolicyFunctions:
    """Returns the functions of a policy that does not learn."""
    return PolicyFunctions(
        policy, lambda p: (p.detach().numpy(), np.empty(p.shape, np.float32))
    )


@dataclass
class _Block:
    """A forward pass on steps of a batch.

    Attributes:
        steps: the steps, consecutive ones of the batch.
        forward: the forward pass.
        rows: `[B]`, each step's row of the forward pass, if several share one; None if
            each has its own.
    """

    steps: slice
    forward: Forward
    rows: Array | None = None

    def numbers(self) -> tuple[Array, Array, Array]:
        """Returns values, log-probabilities and entropies of the steps."""
        values, evaluation = self.forward.values, self.forward.evaluation
        log_prob, entropy, rows = evaluation.log_prob, evaluation.entropy, self.rows
        if rows is None:
            return values, log_prob, entropy
        # `take` is several times as fast as an index.
        return values.take(rows), log_prob.take(rows), entropy.take(rows)

    def derivatives(self, of_batch: Derivatives) -> Derivatives:
        """Returns those of the forward pass's rows: sums over the steps of each row."""
        log_prob = of_batch.log_prob[self.steps]
        entropy, values = of_batch.entropy, of_batch.values
        values = None if values is None else values[self.steps]
        if self.rows is None:
            return Derivatives(log_prob, entropy, values)
        if entropy is not None:
            entropy = self._sums(np.full(len(log_prob), entropy, log_prob.dtype))
        values = None if values is None else self._sums(values)
        return Derivatives(self._sums(log_prob), entropy, values)

    def _sums(self, of_steps: Array) -> Array:
        rows: Any = self.rows
        sums = np.bincount(rows, of_steps, len(self.forward.values))
        return sums.astype(of_steps.dtype)


# Values, log-probabilities and entropies `[B]`, and the blocks of steps.
_Forwarded = tuple[Array, Array, Array, Iterable[_Block]]


class _DistinctSteps:
    """The S x A pairs of an observation and an action, where both are Discrete.

    Many steps share few pairs: a forward pass on the pairs serves all of them.

    Args:
        space: the observation space, of S observations.
        n_actions: A.
        first_action: the action that the policy's first output belongs to.

    Attributes:
        states: `[S]`, all observations.
        steps: observations and actions of the pairs, `[S * A]`.
    """

    def __init__(
        self, space: spaces.Discrete, n_actions: int, first_action: int
    ) -> None:
        self._n_actions, self._first = n_actions, int(space.start)
        self._first_action = first_action
        self.states: Array = np.arange(space.n) + self._first
        actions = np.tile(np.arange(n_actions) + first_action, len(self.states))
        self.steps = np.repeat(self.states, n_actions), actions

    def serve(self, n_steps: int) -> bool:
        """Whether a forward pass on the pairs is faster than one on the steps."""
        return n_steps >= _MIN_STEPS_A_PAIR * len(self.states) * self._n_actions

    def state_rows(self, observations: Observation) -> Array:
        """Returns the index in `states` of observations `[B]`."""
        rows: Array = np.asarray(observations).reshape(-1) - self._first
        return rows

    def rows(self, observations: Observation, actions: Array) -> Array:
        """Returns the index of pairs `[B]`."""
        rows: Array = self.state_rows(observations) * self._n_actions
        return rows + (actions.reshape(-1) - self._first_action)


class ClosedForm:
    """Gradients in closed form, in NumPy, in the parameters' own memory.

    The policy's parameters become views of one vector, and their gradients of another;
    torch sees and changes the same numbers. Actions are those that `Autograd` draws
    from the same state of torch's generator.

    Args:
        policy: a policy for which `why_autograd` returns None.
    """

    uses_arrays = True

    def __init__(self, policy: ActorCriticPolicy) -> None:
        keep_freed_memory()
        self.policy = policy
        self._parameters = FlatParameters(policy.optimizer)
        # What `applies_to` compares, with callbacks before every rollout.
        modules = list(policy.modules())
        self._attributes = [vars(m) for m in modules]
        self._tables = [
            table for m in modules for table in (m._modules, m._parameters, m._buffers)
        ]
        self._parts = list(_entries(self._tables))
        self._norms = [m for m in modules if isinstance(m, nn.LayerNorm)]
        self._epsilons = [m.eps for m in self._norms]
        self._hooks = [
            hooks
            for m in modules
            for hooks in (
                m._forward_hooks,
                m._forward_pre_hooks,
                m._backward_hooks,
                m._backward_pre_hooks,
            )
        ]
        self._learnt = list(policy.parameters())
        # Of one step: the outputs of every linear layer.
        self._n_activations = sum(p.shape[0] for p in self._learnt if p.dim() == 2)
        self._modules = modules
        self._forwards = [type(m).forward for m in modules]
        self._methods = methods_in_use(policy)
        self._distribution = policy.action_dist
        flat = self._parameters
        self._functions = PolicyFunctions(
            policy, lambda p: (flat.value(p), flat.gradient(p))
        )
        self._distinct = _distinct_steps(policy)
        self._draw = TorchDraws()
        # Observations, actions, weights and the forward pass on them.
        self._kept: tuple[Observation, Array, bytes, _Forwarded] | None = None
        self._keeps = False
        # Activations of body and actor, by block, of the actions of this rollout.
        self._acted: list[Activations] = []
        self._n_acted = 0
        self._weights_may_change = True
        # Whether parameters and optimizer were verified since users' code last ran.
        self._is_verified = False
        self._at_start = self._weights()

    def is_bound(self) -> bool:
        """See `GradientSource`."""
        flat, optimizer = self._parameters, self.policy.optimizer
        replaced = optimizer is not flat.optimizer or "zero_grad" in vars(optimizer)
        return not replaced and flat.is_bound()

    def applies_to(self, policy: ActorCriticPolicy) -> bool:
        """Whether this is the closed form of a policy as it is now.

        It is not once a layer, a parameter, a method, the optimizer or the distribution
        has been replaced, or a hook been added.
        """
        if (
            policy is not self.policy
            or policy.action_dist is not self._distribution
            or any(self._hooks)
            or _have_hooks(self._learnt)
            or nn.modules.module._has_any_global_hook()
            or methods_in_use(policy) != self._methods
            or [type(m).forward for m in self._modules] != self._forwards
            or any(["forward" in attributes for attributes in self._attributes])
            or [m.eps for m in self._norms] != self._epsilons
        ):
            return False
        parts = list(_entries(self._tables))
        if len(parts) != len(self._parts) or not all(map(is_, parts, self._parts)):
            return False
        self._is_verified = False
        return self.is_bound()

    def begin_rollout(
        self, updates_whole_rollouts: bool, weights_may_change: bool = True
    ) -> None:
        """See `GradientSource`."""
        self._keeps = updates_whole_rollouts
        self._kept = None
        self._acted, self._n_acted = [], 0
        self._weights_may_change = weights_may_change
        self._is_verified = self._is_verified and not weights_may_change
        self._at_start = self._weights()

    @np.errstate(all="ignore")
    def act(self, obs: Observation) -> Actions:
        """See `GradientSource`."""
        policy, distinct = self._functions, self._distinct
        if self._keeps and distinct is not None and distinct.serve(len(obs)):
            table = policy.actor(policy.body(policy.features(distinct.states)))
            outputs = table.take(distinct.state_rows(obs), axis=0)
            return policy.distribution.sample(outputs, self._draw), None, None
        x = policy.features(obs)
        if not self._keeps:
            return self._act_and_evaluate(x)
        self._n_acted += len(x)
        if len(x) < _MIN_REUSED or not self._can_keep(self._n_acted):
            outputs = policy.actor(policy.body(x))
        else:
            # A copy, to compare with what is recorded after callbacks have run.
            x, starts = x.copy(), range(0, len(x), _BLOCK)
            passes = [policy.activations(x[i : i + _BLOCK]) for i in starts]
            if self._weights() == self._at_start:
                self._acted += passes
            outputs = np.concatenate([actor[-1] for _, actor in passes])
        return policy.distribution.sample(outputs, self._draw), None, None

    def _act_and_evaluate(self, x: Array) -> Actions:
        """Returns actions, values and log-probabilities, for updates in mini-batches.

        The probabilities are those of the weights that act, as PPO's ratios need them.
        """
        policy, distribution = self._functions, self._functions.distribution
        body = policy.body(x)
        outputs = policy.actor(body)
        actions = distribution.sample(outputs, self._draw)
        log_probs = distribution.evaluate(outputs, actions).log_prob
        values = zeros_like(log_probs)
        if policy.critic is not None:
            values = policy.critic(body)[:, 0]
        return actions, torch.from_numpy(values), torch.from_numpy(log_probs)

    def values(self, policy: ActorCriticPolicy, obs: Observation) -> Rows:
        """See `GradientSource`."""
        functions = self._functions if policy is self.policy else _frozen(policy)
        distinct = self._distinct
        if distinct is None or not distinct.serve(len(obs)):
            return functions.values(obs)
        return functions.values(distinct.states).take(distinct.state_rows(obs))

    def evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Rows | None, Rows | None]:
        """See `GradientSource`."""
        if not self._keeps:
            return None, None
        weights = self._weights()
        is_changed = weights != self._at_start
        if is_changed:
            _warn_of_changed_weights()
        obs, actions = buffer.stored_steps()
        acted, self._acted = self._acted, []
        n_acted = sum(len(actor[-1]) for _, actor in acted)
        if is_changed or n_acted != len(actions):
            acted = []
        forward = self._forward(obs, actions, acted)
        self._kept = obs, actions, weights, forward
        return forward[0], forward[1]

    def evaluate(self, batch: Batch) -> Evaluation:
        """See `GradientSource`."""
        return evaluate_actions(self.policy, batch.observations, batch.actions)

    def gradient(
        self,
        batch: Batch,
        loss: Callable[[Batch], Loss],
        config: PolicyGradientConfig,
        coefficients: Mapping[str, float],
    ) -> Terms:
        """See `GradientSource`; `loss` is that of `Learner`, and not called."""
        if isinstance(batch.actions, Tensor):
            batch = as_arrays(batch)
        values, log_prob, entropy, blocks = self._kept_forward(batch)
        terms, derivatives = closed_form.loss_and_derivatives(
            batch, log_prob, entropy, values, config, coefficients
        )
        self._parameters.gradients.fill(0.0)
        for i, block in enumerate(blocks):
            part = block.derivatives(derivatives)
            self._functions.backward(block.forward, part, adds=i > 0)
        if not self._is_verified:
            self._parameters.attach_gradients()
        return terms

    def clip(self, max_norm: float) -> float:
        """See `GradientSource`."""
        return self._parameters.clip(max_norm)

    def step(self) -> None:
        """See `GradientSource`."""
        self._parameters.step(verify=not self._is_verified)
        self._is_verified = not self._weights_may_change

    def weight_norm(self) -> float:
        """See `GradientSource`."""
        values = self._parameters.values
        return math.sqrt(np.dot(values, values))

    def _can_keep(self, n_steps: int) -> bool:
        return n_steps * self._n_activations <= MAX_ACTIVATIONS

    def _weights(self) -> bytes:
        """Returns all weights, to compare; nothing if they can't have changed."""
        return self._parameters.values.tobytes() if self._weights_may_change else b""

    def _kept_forward(self, batch: Batch) -> _Forwarded:
        """Returns the forward pass of the rollout if it is that of the batch."""
        kept, self._kept = self._kept, None
        obs, actions = batch.observations, batch.actions
        if kept is not None:
            kept_obs, kept_actions, weights, forward = kept
            # Callbacks may have changed the policy or the rollout.
            same = obs is kept_obs and actions is kept_actions
            if same and weights == self._weights():
                return forward
        return self._forward(obs, actions)

    def _forward(
        self, obs: Observation, actions: Array, acted: Sequence[Activations] = ()
    ) -> _Forwarded:
        """Returns values, log-probabilities, entropies and blocks.

        The blocks of many steps are computed again when they are iterated over.

        Args:
            obs: observations `[B, *obs_shape]`.
            actions: `[B, *action_shape]`.
            acted: activations of body and actor of all steps, if they are known.
        """
        policy, distinct, steps = self._functions, self._distinct, (obs, actions)
        rows = None
        if distinct is not None and distinct.serve(len(actions)):
            rows, steps = distinct.rows(*steps), distinct.steps
        if rows is not None or (len(actions) <= _BLOCK and not acted):
            activations = policy.activations(policy.features(steps[0]))
            forward = policy.forward(activations, steps[1])
            block = _Block(slice(None), forward, rows)
            return *block.numbers(), [block]
        if not self._can_keep(len(actions)):
            parts = [block.numbers() for block in self._blocks(obs, actions)]
            blocks: Iterable[_Block] = self._blocks(obs, actions)
        else:
            blocks = list(self._blocks(obs, actions, acted))
            parts = [block.numbers() for block in blocks]
        values, log_prob, entropy = (
            np.concatenate(p) for p in zip(*parts, strict=True)
        )
        return values, log_prob, entropy, blocks

    def _blocks(
        self, obs: Observation, actions: Array, acted: Sequence[Activations] = ()
    ) -> Iterator[_Block]:
        """Yields forward passes on blocks of steps, which fit the processor's cache."""
        policy = self._functions
        sizes = [len(actor[-1]) for _, actor in acted]
        if not acted:
            n_blocks, rest = divmod(len(actions), _BLOCK)
            sizes = [_BLOCK] * n_blocks + [rest] * (rest > 0)
        start = 0
        for i, size in enumerate(sizes):
            steps = slice(start, start + size)
            start += size
            x = policy.features(obs[steps])
            known = acted and np.array_equal(acted[i][0][0], x)
            activations = acted[i] if known else policy.activations(x)
            yield _Block(steps, policy.forward(activations, actions[steps]))


def why_autograd(policy: ActorCriticPolicy) -> str | None:
    """Returns why gradients of a policy can't be in closed form; None if they can.

    Methods, layers, distribution and optimiser have to be those of pg_agents, SB3 and
    torch, on the CPU and without hooks: nothing that a user overrides or observes is
    then left out.
    """
    overridden = overridden_method(policy)
    if overridden is not None:
        return f"{overridden} is overridden"
    if has_hooks(policy):
        return "a layer has a hook"
    if _have_hooks(policy.parameters()):
        return "a parameter has a hook"
    return (
        _other_input(policy)
        or _other_layer(policy)
        or _other_distribution(policy)
        or _other_optimizer(policy)
    )


def _entries(tables: list[dict[str, Any]]) -> Iterator[Any]:
    """Returns the values of dictionaries, one after the other."""
    return chain.from_iterable(map(dict.values, tables))


def _have_hooks(parameters: Iterable[Tensor]) -> bool:
    """Returns whether gradients of parameters are observed or changed."""
    return any([p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters])


def _other_input(policy: ActorCriticPolicy) -> str | None:
    """Returns why observations do not become vectors in a known way."""
    space = policy.observation_space
    if not isinstance(space, _INPUT_SPACES):
        return f"observations are in a {type(space).__name__} space"
    if is_image_space(space) and policy.normalize_images:
        return "observations are images"
    extractors = {type(policy.features_extractor)}
    if not policy.share_features_extractor:
        extractors |= {type(policy.pi_features_extractor)}
        extractors |= {type(policy.vf_features_extractor)}
    known = extractors in ({FlattenExtractor}, {ScaledExtractor})
    if not known or not all(is_stock(kind.forward) for kind in extractors):
        names = ", ".join(sorted(kind.__name__ for kind in extractors))
        return f"the features extractor is a {names}"
    return None


def _other_layer(policy: ActorCriticPolicy) -> str | None:
    """Returns which layer is not one of those with a derivative here."""
    extractor = policy.mlp_extractor
    if type(extractor) not in (MlpExtractor, SharedBody):
        return f"the networks are a {type(extractor).__name__}"
    heads = [policy.action_net], [policy.value_net]
    for layers in (extractor.policy_net, extractor.value_net, *heads):
        previous: type | None = None
        for layer in layers:
            kind = type(layer)
            if kind not in _LAYERS or not is_stock(kind.forward):
                return f"a layer is a {kind.__name__}"
            # Without weights, or over several axes, it is another function.
            if isinstance(layer, nn.LayerNorm) and (
                layer.bias is None or len(layer.normalized_shape) != 1
            ):
                return f"a layer is {layer}"
            # It is computed in place of what it is applied to.
            if kind in _ACTIVATIONS and previous not in (nn.Linear, nn.LayerNorm):
                return f"a {kind.__name__} does not follow a linear layer"
            previous = previous if kind is nn.Identity else kind
    return None


def _other_distribution(policy: ActorCriticPolicy) -> str | None:
    distribution = type(policy.action_dist)
    if policy.squash_output or distribution not in _DISTRIBUTIONS:
        return f"the distribution of actions is a {distribution.__name__}"
    return None


def _other_optimizer(policy: ActorCriticPolicy) -> str | None:
    """Returns why the optimiser's steps are not known, or not on the policy alone."""
    reason = FlatParameters.unsupported(policy.optimizer)
    if reason is not None:
        return f"the optimizer is not supported: {reason}"
    if "zero_grad" in vars(policy.optimizer):
        return "the optimizer's zero_grad is overridden"
    learnt, parameters = parameters_of(policy), list(policy.parameters())
    if set(map(id, learnt)) != set(map(id, parameters)):
        return "the optimizer has other parameters than the policy"
    if any(parameter.dtype is not torch.float32 for parameter in parameters):
        return "the policy is not of float32"
    return None


def features_function(policy: ActorCriticPolicy) -> Callable[[Observation], Array]:
    """Returns the function from observations `[B, *obs_shape]` to inputs `[B, D]`.

    As SB3's preprocessing: float32, and one-hot for discrete observations.
    """
    space = policy.observation_space
    if isinstance(space, spaces.Discrete):
        identity = np.eye(int(space.n), dtype=np.float32)
        start = int(space.start)
        return lambda obs: identity[np.asarray(obs).reshape(-1) - start]
    if isinstance(space, spaces.MultiDiscrete):
        tables = [np.eye(int(n), dtype=np.float32) for n in space.nvec]
        starts = space.start

        def one_hot(obs: Observation) -> Array:
            columns = (np.asarray(obs).reshape(-1, len(tables)) - starts).T
            pairs = zip(tables, columns, strict=True)
            return np.concatenate([table[column] for table, column in pairs], axis=1)

        return one_hot
    extractor = policy.features_extractor
    if isinstance(extractor, ScaledExtractor):
        centre, scale = extractor.centre.numpy(), extractor.scale.numpy()
        return lambda obs: (_rows(obs) - centre) / scale
    return _rows


def _rows(obs: Observation) -> Array:
    obs = np.asarray(obs, dtype=np.float32)
    return obs.reshape(len(obs), -1)


class TorchDraws:
    """Draws numbers from torch's generator, as torch's distributions do."""

    def __init__(self) -> None:
        self._resize((0,))

    def _resize(self, shape: tuple[int, ...]) -> None:
        self._numbers = torch.empty(shape)
        self._array: Array = self._numbers.numpy()
        self._uniform = torch.empty(shape, dtype=torch.float64)

    def __call__(self, kind: str, shape: tuple[int, ...]) -> Array:
        """Returns numbers, in an array that the next call overwrites.

        Args:
            kind: `"exponential"`, `"uniform"` or `"normal"`.
            shape: shape of the array, float32.
        """
        numbers, array = self._numbers, self._array
        if array.shape != shape:
            self._resize(shape)
            numbers, array = self._numbers, self._array
        if kind == "normal":
            numbers.normal_()
        elif kind == "uniform":
            numbers.uniform_()
        elif array.size >= _MIN_LOGARITHMS and exponentials_are_logarithms():
            # torch computes one logarithm at a time, NumPy several.
            uniform: Array = self._uniform.uniform_().numpy()
            logarithms = np.log1p(np.negative(uniform, out=uniform), out=uniform)
            np.negative(logarithms, out=array, casting="same_kind")
        else:
            numbers.exponential_()
        return array


@cache
def exponentials_are_logarithms() -> bool:
    """Whether torch's exponential numbers are `-log(1 - u)` of its uniform ones u.

    They are not where torch was built with another library's generator.
    """
    pairs = [torch.Generator().manual_seed(0) for _ in range(2)]
    drawn = torch.empty(_MIN_LOGARITHMS).exponential_(generator=pairs[0])
    uniform = torch.empty(_MIN_LOGARITHMS, dtype=torch.float64)
    logarithms = np.log1p(-uniform.uniform_(generator=pairs[1]).numpy())
    return np.array_equal(drawn.numpy(), -logarithms.astype(np.float32))


def evaluate_actions(
    policy: ActorCriticPolicy, obs: Observation, actions: Tensor
) -> Evaluation:
    """Returns values, log-probabilities and entropies of B steps."""
    if isinstance(policy.action_space, spaces.Box):
        # SB3's Gaussian is over a vector, whatever the shape of the action space.
        actions = actions.reshape(len(actions), -1)
    return policy.evaluate_actions(obs, actions)


def parameters_of(policy: ActorCriticPolicy) -> list[Tensor]:
    """Returns the parameters in the optimiser, without a walk through all modules."""
    optimizer = getattr(policy, "optimizer", None)
    groups = [] if optimizer is None else optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"]]


def _warn_of_changed_weights() -> None:
    warnings.warn(
        "a callback changed the policy's weights within a rollout: values and "
        "log-probabilities of the steps before are those of the new weights",
        stacklevel=4,
    )


def _copied_weights(parameters: list[Tensor]) -> Tensor | None:
    """Returns the parameters as one vector; None on an accelerator."""
    if not parameters or parameters[0].device.type != "cpu":
        return None
    return _flat(parameters)


def _flat(parameters: list[Tensor]) -> Tensor:
    """Returns a copy of all parameters as one vector; they need not be contiguous."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def _versions(tensors: list[Tensor]) -> list[tuple[int, int]]:
    """Returns identity and number of in-place changes of each tensor."""
    return [(id(tensor), tensor._version) for tensor in tensors]
