"""The policies of R learners: parameters `[R, P]`, gradients and optimiser steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from pg_agents.common.memory import keep_freed_memory
from pg_agents.learning import closed_form
from pg_agents.learning.closed_form import Derivatives
from pg_agents.learning.gradients import (
    Forward,
    PolicyFunctions,
    features_function,
    parameters_of,
)
from pg_agents.learning.optimizers import RULES
from pg_agents.policies.tabular import TabularPolicy

Array = NDArray[Any]
# The values and the gradient of a parameter.
Pair = tuple[Array, Array]
# Learners up to which networks with copies of their parameters are kept: making them
# takes as long as a small update.
_MAX_COPIES = 16
# Rows of `[R, ...]`; a slice where they are consecutive, which needs no copy.
Rows = slice | NDArray[np.int64]

# Rows of parameters start at multiples of 64 bytes, as torch's memory does.
_ALIGNMENT = 16


class Networks:
    """K policies that compute with the rows of `[K, P]` arrays.

    Args:
        policy: a policy of the same architecture.
        pair: returns values `[K, *shape]` and gradient of a parameter of the policy.
    """

    def __init__(
        self, policy: ActorCriticPolicy, pair: Callable[[Tensor], Pair]
    ) -> None:
        self._functions = PolicyFunctions(policy, pair)

    def sample(self, features: Array, draw: closed_form.Draw) -> Array:
        """Draws actions `[K, B, *action_shape]` for features `[K, B, D]`."""
        return self._functions.distribution.sample(self.outputs(features), draw)

    def outputs(self, features: Array) -> Array:
        """Returns the distribution's parameters `[K, B, ...]`, such as logits."""
        return self._functions.actor(self._functions.body(features))

    def values(self, features: Array) -> Array:
        """Returns V `[K, B]`; 0 without a critic."""
        body, critic = self._functions.body, self._functions.critic
        if critic is None:
            return np.zeros(features.shape[:-1], features.dtype)
        values: Array = critic(body(features))[..., 0]
        return values

    def forward(self, features: Array, actions: Array) -> Forward:
        """Evaluates actions `[K, B, *action_shape]`."""
        return self._functions.forward(self._functions.activations(features), actions)

    def backward(self, forward: Forward, derivatives: Derivatives) -> None:
        """Adds the gradient of each loss to that of the parameters."""
        self._functions.backward(forward, derivatives)


class Policies:
    """The policies and optimisers of R learners.

    Args:
        policy: a policy for which `why_autograd` returns None; all have its
            architecture and its optimiser's options.
        n_learners: R.

    Attributes:
        n_outputs: numbers that the distribution of one action needs, K.
        values: `[R, P]`, parameters in the order of the optimiser's groups.
        moments: arrays `[R, P]` of the optimiser's state by name.
        n_steps: `[R, 1]`, steps of the optimiser.
        networks: all policies.
    """

    def __init__(self, policy: ActorCriticPolicy, n_learners: int) -> None:
        keep_freed_memory()
        self._policy, self._optimizer = policy, policy.optimizer
        self._features = features_function(policy)
        self._parameters = parameters_of(policy)
        ends = np.cumsum([parameter.numel() for parameter in self._parameters])
        slices = [
            slice(int(end) - parameter.numel(), int(end))
            for end, parameter in zip(ends, self._parameters, strict=True)
        ]
        self._slices = dict(zip(map(id, self._parameters), slices, strict=True))
        self._size = int(ends[-1])
        self._dtype = self._parameters[0].dtype
        groups = policy.optimizer.param_groups
        sizes = [sum(p.numel() for p in group["params"]) for group in groups]
        self._parts = [
            slice(int(end) - size, int(end))
            for end, size in zip(np.cumsum(sizes), sizes, strict=True)
        ]
        self._rule = RULES[type(policy.optimizer)]
        self._options = [
            {name: group[name] for name in self._rule.options if name in group}
            for group in groups
        ]
        self.values = self._array(n_learners)
        self.moments: dict[str, Array] = {}
        for options, part in zip(self._options, self._parts, strict=True):
            for name, initial in self._rule.moments(options).items():
                moment = self.moments.setdefault(name, self._array(n_learners))
                moment[:, part] = initial
        self.n_steps = np.zeros((n_learners, 1))
        self._work = self._array(n_learners), self._array(n_learners)
        self._gradients = self._array(n_learners)
        self._bound: dict[tuple[int, int, int], tuple[Networks, Array]] = {}
        # Networks with copies of parameters and gradients, by number of learners.
        self._copies: dict[int, tuple[Networks, Array, Array]] = {}
        self.networks, _ = self.at(slice(None))
        # A table of logits is clamped after every step.
        self._clamped = slice(0, 0)
        self._max_logit = 0.0
        if isinstance(policy, TabularPolicy):
            self._clamped = self._slices[id(policy.action_net.weight)]
            self._max_logit = policy.max_logit
        space = policy.action_space
        self.n_outputs = spaces.flatdim(space)

    def features(self, observations: Array) -> Array:
        """Returns inputs of networks `[K, B, D]` for `[K, B, *obs_shape]`."""
        shape = observations.shape
        flat = observations.reshape(shape[0] * shape[1], *shape[2:])
        inputs = self._features(flat)
        return inputs.reshape(shape[0], shape[1], -1)

    def at(self, rows: Rows) -> tuple[Networks, Array]:
        """Returns networks of some learners, and their gradients `[K, P]`, which are 0.

        The networks have the parameters of now: those of rows that are no slice do not
        follow a step, and the next call for K such rows can overwrite them.
        """
        if isinstance(rows, slice):
            # Views, which are the same every time.
            key = rows.indices(len(self.values))
            if key not in self._bound:
                gradients = self._gradients[rows]
                self._bound[key] = self._bind(self.values[rows], gradients), gradients
            networks, gradients = self._bound[key]
            gradients[:] = 0.0
            return networks, gradients
        n_rows = len(rows)
        copies = self._copies.get(n_rows)
        if copies is None:
            values, gradients = self._array(n_rows), self._array(n_rows)
            copies = self._bind(values, gradients), values, gradients
            if n_rows <= _MAX_COPIES:
                self._copies[n_rows] = copies
        networks, values, gradients = copies
        values[:] = self.values[rows]
        gradients[:] = 0.0
        return networks, gradients

    def step(
        self, rows: Rows, gradients: Array, rates: Sequence[float | Array]
    ) -> None:
        """Takes a step of each optimiser.

        Args:
            rows: the learners.
            gradients: `[K, P]`.
            rates: step size of each parameter group, a number or `[K, 1]`.
        """
        self.n_steps[rows] += 1.0
        values, n_steps = self.values[rows], self.n_steps[rows]
        moments = {name: moment[rows] for name, moment in self.moments.items()}
        work = [array[rows] for array in self._work] if isinstance(rows, slice) else []
        for options, part, rate in zip(self._options, self._parts, rates, strict=True):
            arguments = {**options, "lr": rate}
            if self._rule.reads_steps:
                arguments["steps"] = n_steps
            self._rule.step(
                values[:, part],
                gradients[:, part],
                {name: moments[name][:, part] for name in self._rule.moments(options)},
                (work[0][:, part], work[1][:, part]) if work else None,
                **arguments,
            )
        if self._max_logit:
            table = values[:, self._clamped]
            table.clip(-self._max_logit, self._max_logit, out=table)
        if not isinstance(rows, slice):
            self.values[rows] = values
            for name, moment in moments.items():
                self.moments[name][rows] = moment

    def read(self, i: int, policy: ActorCriticPolicy) -> None:
        """Takes the parameters of learner i from a policy of the same architecture."""
        names = {id(p): name for name, p in self._policy.named_parameters()}
        found = dict(policy.named_parameters())
        for parameter in self._parameters:
            key = id(parameter)
            array = found[names[key]].detach().numpy().reshape(-1)
            self.values[i, self._slices[key]] = array

    def write(self, i: int, policy: ActorCriticPolicy) -> None:
        """Copies parameters and optimiser state of learner i to a policy of its own."""
        names = {id(p): name for name, p in self._policy.named_parameters()}
        targets = dict(policy.named_parameters())
        n_steps = int(self.n_steps[i, 0])
        pairs = zip(self._options, self._optimizer.param_groups, strict=True)
        for options, group in pairs:
            moments = self._rule.moments(options)
            for parameter in group["params"]:
                target = targets[names[id(parameter)]]
                part = self._slices[id(parameter)]
                with torch.no_grad():
                    target.copy_(_tensor(self.values[i, part], target))
                # Before the first step torch has no state.
                if n_steps == 0 or (self._rule.counts is None and not moments):
                    continue
                state = policy.optimizer.state[target]
                if self._rule.counts is int:
                    state["step"] = n_steps
                elif self._rule.counts is Tensor:
                    state["step"] = torch.tensor(float(n_steps), dtype=torch.float32)
                for name in moments:
                    state[name] = _tensor(self.moments[name][i, part], target)

    def _array(self, n: int) -> Array:
        width = -(-self._size // _ALIGNMENT) * _ALIGNMENT
        array: Array = torch.zeros(n, width, dtype=self._dtype).numpy()[:, : self._size]
        return array

    def _bind(self, values: Array, gradients: Array) -> Networks:
        def pair(parameter: Tensor) -> Pair:
            part, shape = self._slices[id(parameter)], tuple(parameter.shape)
            return (
                values[:, part].reshape(len(values), *shape),
                gradients[:, part].reshape(len(gradients), *shape),
            )

        return Networks(self._policy, pair)


def _tensor(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(values.copy()).reshape(like.shape)
