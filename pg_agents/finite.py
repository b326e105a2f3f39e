"""Environments with few different observations: what is to be known, once for each.

A policy's distribution depends on what is observed. Where thousands of environments
show a dozen observations between them, it is computed a dozen times in a rollout, and
the loss, a sum over steps, becomes a sum over (observation, action): the same terms,
collected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from pg_agents.advantages import Facts
from pg_agents.batches import Batch
from pg_agents.columns import Column
from pg_agents.observations import LookedUp
from pg_agents.our_policy import OurPolicy

# Name of the column of numbers of (observation, action).
PAIRS = "pairs"


class _Found:
    """A column that follows from the pairs."""

    def __init__(self, table: Tensor, pairs: Column) -> None:
        self._table, self._pairs = table, pairs

    def tensor(self, device: torch.device) -> LookedUp:
        """Returns `[T, N, ...]`, to be looked up."""
        return LookedUp(self._table, self._pairs.tensor(device))


class _Integers:
    """Integers, uniform on [0, 2^31), many at a time.

    On the CPU from a NumPy generator that torch's seeds: several times as fast as
    torch's own, whose numbers they still follow from.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cpu":
            seed = int(torch.randint(2**62, ()))
            self._generator = np.random.Generator(np.random.SFC64(seed))

    def draw(self, n: int) -> Tensor:
        """Returns `[n]` int32."""
        if self._device.type != "cpu":
            empty = torch.empty(n, dtype=torch.int32, device=self._device)
            return empty.random_()
        # 64 bits are two numbers of 32, of which the sign is left out.
        bits = self._generator.bit_generator.random_raw((n + 1) // 2)
        return torch.from_numpy(bits.view(np.int32))[:n] & 0x7FFFFFFF


class FinitePolicy:
    """What a policy does in every place that there is.

    Args:
        policy: with a distribution over finitely many actions.
        table: `[S, *obs_shape]`, all the observations.

    Attributes:
        table: likewise.
        log_probs: `[S, A]`, log pi(a | s), in nats.
        values: `[S]`, V(s).
    """

    def __init__(self, policy: OurPolicy, table: Tensor) -> None:
        self.table = table
        space = policy.action_space
        assert isinstance(space, spaces.Discrete), "fits() has looked"
        self._n_actions, self._start = int(space.n), int(space.start)
        with torch.no_grad():
            self.log_probs = policy.all_log_probs(table)
            self.values = policy.predict_values(table).flatten()
        n_states, n_actions = self.log_probs.shape
        state = torch.arange(n_states, device=table.device).repeat_interleave(n_actions)
        action = torch.arange(n_actions, device=table.device).repeat(n_states)
        self._by_pair = {
            "observations": table[state],
            "actions": action + self._start,
            "values": self.values[state],
            "log_probs": self.log_probs.flatten(),
        }
        below = self.log_probs.double().exp().cumsum(-1)
        # Of 1 exactly: what rounding leaves over would be drawn as the last action, be
        # it an impossible one. That action needs no bound.
        bounds = (below / below[:, -1:])[:, :-1].T * 2.0**31
        self._bounds = (bounds.round() - 1.0).clamp(max=2.0**31 - 1.0).int().unbind()
        self._integers = _Integers(table.device)

    @staticmethod
    def fits(policy: OurPolicy, table: Tensor, n_steps: int) -> bool:
        """Whether a rollout of so many steps is done sooner this way."""
        space = policy.action_space
        # SB3's policy takes one action of a finite number, or several numbers.
        return isinstance(space, spaces.Discrete) and (
            len(table) * int(space.n) <= n_steps
        )

    def act(self, index: Tensor) -> Tensor:
        """Draws actions by inverting the distribution, `[N]` int64.

        Action a is drawn where an integer, uniform on [0, 2^31), lies between the
        bounds `2^31 P(action < a)` and `2^31 P(action <= a)`.

        Args:
            index: `[N]` int64, which row of the table is seen.
        """
        draws = self._integers.draw(len(index))
        actions = torch.zeros_like(draws)
        for bound in self._bounds:
            # The sign of a difference, -1 or 0: much quicker than a comparison.
            actions -= (bound.index_select(0, index) - draws) >> 31
        return actions.long() + self._start

    def pairs(self, index: Tensor, actions: Tensor) -> Tensor:
        """Returns numbers of (observation, action), `s * A + a`, int32.

        Args:
            index: `[N]` int64, which row of the table was seen.
            actions: `[N]` int64, as the environment counts them.
        """
        if self._start:
            actions = actions - self._start
        # Half as wide, a rollout of them is read twice as fast.
        return torch.add(actions, index, alpha=self._n_actions).int()

    def columns(self, pairs: Column) -> dict[str, Any]:
        """Returns the columns of an empty rollout: `PAIRS`, and what follows from them.

        Args:
            pairs: the former, empty.
        """
        found = {name: _Found(table, pairs) for name, table in self._by_pair.items()}
        return {PAIRS: pairs, **found}

    def batch(
        self,
        facts: Facts,
        returns: Tensor,
        advantages: Tensor,
        *,
        by_sign: bool,
        critic: bool,
    ) -> Batch:
        """Returns a batch with the same loss as all the steps of a rollout.

        A row stands for all steps of one observation and action. Every loss of a policy
        is linear in the advantages of such steps, PPO's for those of one sign: then the
        positive ones have rows of their own.

        Args:
            facts: of the rollout; all of its steps are recorded.
            returns: `[T, N]`, targets of the critic.
            advantages: `[T, N]`, weights of the actions.
            by_sign: whether to keep positive advantages apart.
            critic: whether there is a critic that learns from the returns.
        """
        kept: LookedUp = facts.observations
        key, weights = kept.index.flatten(), advantages.flatten()
        n_pairs = self.log_probs.numel()
        pair = torch.arange(n_pairs, device=key.device)
        if by_sign:
            key, pair = key + n_pairs * (weights > 0.0), pair.repeat(2)

        def total(of: Tensor | None) -> Tensor:
            # In double: single precision loses count of a million small numbers.
            each = None if of is None else of.double()
            return torch.bincount(key, each, minlength=len(pair))

        counts = total(None)
        means, spread = torch.zeros_like(counts, dtype=torch.double), None
        if critic:
            targets = returns.flatten()
            means = total(targets) / counts.clamp(min=1)
            squares = targets.double().square().sum()
            spread = (squares - (counts * means.square()).sum()) / len(key)
        of_pair = {name: table[pair] for name, table in self._by_pair.items()}
        return Batch(
            observations=of_pair["observations"],
            actions=of_pair["actions"],
            advantages=total(weights).float(),
            returns=means.float(),
            old_values=of_pair["values"],
            old_log_prob=of_pair["log_probs"],
            n_samples=facts.n_episodes or len(key),
            counts=counts.float(),
            spread=None if spread is None else spread.float(),
        )
