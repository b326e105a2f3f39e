"""A step of a native vector environment, in its own arrays or tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from pg_agents.common.tree import Observation, Rows

Info = dict[str, Any]


class ArrayStep(NamedTuple):
    """What followed the actions of N environments.

    Attributes:
        observations: `[N, *obs_shape]`, what is seen next, after any restart.
        final_observations: `[N, *obs_shape]`, what was seen before any restart.
        rewards: `[N]`.
        terminated: `[N]` bool.
        truncated: `[N]` bool, whatever `terminated` says.
        dones: `[N]` bool, one or the other.
        dummy: `[N]` bool, whose step is to be skipped; None if nobody's is.
        returns: `[N]`, sum of the rewards of the episode so far, this one included.
        lengths: `[N]` integers, steps of the episode so far, likewise.
        infos: as the environment gave them.
    """

    observations: Observation
    final_observations: Observation
    rewards: Rows
    terminated: Rows
    truncated: Rows
    dones: Rows
    dummy: Rows | None
    returns: Rows
    lengths: Rows
    infos: dict[str, Any]


class LazyInfos(Sequence[Info]):
    """SB3's infos, a dict per environment, made when somebody looks at them.

    Args:
        n_envs: number of environments, N.
        make: returns all of them.
    """

    def __init__(self, n_envs: int, make: Callable[[], list[Info]]) -> None:
        self._n_envs, self._make = n_envs, make

    @cached_property
    def made(self) -> list[Info]:
        """The list of N dicts."""
        return self._make()

    def __len__(self) -> int:
        """Number of environments, N."""
        return self._n_envs

    @overload
    def __getitem__(self, index: int) -> Info: ...

    @overload
    def __getitem__(self, index: slice) -> list[Info]: ...

    def __getitem__(self, index: int | slice) -> Info | list[Info]:
        """Returns the info of an environment, or a list of some."""
        return self.made[index]

    def __iter__(self) -> Iterator[Info]:
        """Goes through the infos of all environments."""
        return iter(self.made)


def newest_results(
    rewards: Tensor,
    ended: Tensor,
    before: tuple[Tensor, Tensor],
    n: int,
) -> list[tuple[float, int]]:
    """Returns returns and lengths of the last episodes that ended in a rollout.

    Only of these anything is summed, and it is done once, when the rollout is over.

    Args:
        rewards: `[T, N]`.
        ended: `[T, N]` bool, whose episode ended in a step.
        before: `[N]` each, return and length, in the episodes that the rollout began
            in, up to there.
        n: number of episodes, at most.

    Returns:
        A pair for each, oldest first.
    """
    newest: list[tuple[Tensor, Tensor]] = []
    n_left = n
    for t in reversed(range(len(ended))):
        # The last row of thousands of environments has enough, as a rule.
        envs = ended[t].nonzero().flatten().flip(0)[:n_left]
        newest.append((torch.full_like(envs, t), envs))
        n_left -= len(envs)
        if n_left == 0:
            break
    if n_left == n:
        return []
    last, envs = (torch.cat(each).flip(0) for each in zip(*newest, strict=True))
    row = torch.arange(len(ended), device=ended.device)[:, None]
    # The row in which the episode began: behind the end of the one before it.
    begin = ((row + 1) * (ended[:, envs] & (row < last))).amax(0)
    own = (row >= begin) & (row <= last)
    began_before = begin == 0
    returns = torch.where(own, rewards[:, envs].double(), 0.0).sum(0)
    returns += torch.where(began_before, before[0][envs].double(), 0.0)
    lengths = own.sum(0) + before[1][envs].long() * began_before
    return list(zip(returns.tolist(), lengths.tolist(), strict=True))


def zero_where(mask: Rows, values: Rows) -> Rows:
    """Returns `[N]` values, with 0 where a mask `[N]` bool is True.

    Not by multiplying: 0 times an infinite number is none.
    """
    if isinstance(values, Tensor):
        zeroed: Rows = values.masked_fill(torch.as_tensor(mask), 0)
        return zeroed
    return np.where(mask, 0, values)


def is_any(mask: Rows) -> bool:
    """Whether a mask `[N]` bool is True somewhere."""
    # torch is many times slower with bools than with their bytes.
    if isinstance(mask, Tensor):
        return bool(mask.view(torch.uint8).max())
    return bool(mask.any())


def has_quick_step(kind: type) -> bool:
    """Whether `step_unchecked` of a class is its `step` without a look at the actions.

    It is not, where a subclass has written another `step` since.
    """
    for parent in kind.__mro__:
        if "step_unchecked" in vars(parent):
            return True
        if "step" in vars(parent):
            return False
    return False
