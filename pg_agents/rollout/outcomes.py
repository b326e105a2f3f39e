"""What followed the actions, and how much of it is the learner's business."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pg_agents.common.tree import Observation, map_observation
from pg_agents.rollout.columns import Rows
from pg_agents.rollout.limits import Quota
from pg_agents.vec_env.arrays import with_rows

# What SB3's callbacks, and those written for it, expect to be arrays.
_READ_AS_ARRAYS = ("actions", "clipped_actions", "rewards", "dones", "new_obs")


class Outcome(NamedTuple):
    """What followed the actions of N environments, as arrays or as tensors.

    Attributes:
        observations: `[N, *obs_shape]`, what is seen next, after any restart.
        rewards: `[N]` float32.
        dones: `[N]` bool, environments that have restarted.
        terminated: `[N]` bool, ended by the task's own rules.
        truncated: `[N]` bool, cut off by a time limit, and not terminated.
        final_observations: `[N, *obs_shape]`, what was seen last where `truncated`;
            None if nothing was.
        dummy: `[N]` bool, whose step is to be skipped; None if nobody's is.
        episode_steps: `[N]` integers, actions taken in the episode before.
        infos: SB3's, a dict per environment.
        capped: `[N]` bool, truncated by the learner: the environment goes on; None if
            nothing was.
    """

    observations: Observation
    rewards: Rows
    dones: Rows
    terminated: Rows
    truncated: Rows
    final_observations: Observation | None
    dummy: Rows | None
    episode_steps: Rows
    infos: Sequence[dict[str, Any]]
    capped: Rows | None = None

    def facts(self) -> dict[str, Any]:
        """Returns what the buffer keeps of it, by the names of its `add`."""
        return {
            "rewards": self.rewards,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "episode_steps": self.episode_steps,
            "final_observations": self.final_observations,
        }


def recorded_steps(quota: Quota, outcome: Outcome) -> Any:  # noqa: ANN401
    """Returns whose step belongs to the rollout, `[N]` bool; None: everybody's."""
    if outcome.dummy is None:
        return quota.recorded
    return ~outcome.dummy if quota.recorded is None else quota.recorded & ~outcome.dummy


def reported(
    outcome: Outcome,
    recorded: Any,  # noqa: ANN401
) -> tuple[Any, Sequence[dict[str, Any]]]:
    """Returns dones and infos without the results of steps that are not recorded.

    Args:
        outcome: of the step.
        recorded: what `recorded_steps` returned.
    """
    dones = outcome.dones if outcome.capped is None else outcome.dones | outcome.capped
    if recorded is None or not (outcome.dones & ~recorded).any():
        return dones, outcome.infos
    infos = [
        info
        if keep
        else {name: value for name, value in info.items() if name != "episode"}
        for info, keep in zip(outcome.infos, recorded, strict=True)
    ]
    return dones & recorded, infos


def readable(seen: dict[str, Any]) -> dict[str, Any]:
    """Returns `locals` with NumPy arrays where SB3 has them and they cost no copy.

    Tensors on a GPU stay as they are: it would have to be waited for.
    """
    rewards = seen["rewards"]
    if not isinstance(rewards, Tensor) or rewards.device.type != "cpu":
        return seen
    arrays = {
        name: map_observation(_array, seen[name])
        for name in _READ_AS_ARRAYS
        if name in seen
    }
    return seen | arrays


def _array(values: Rows) -> Rows:
    return values.numpy() if isinstance(values, Tensor) else values


def stopped_at_the_cap(outcome: Outcome, quota: Quota, max_steps: int) -> Outcome:
    """Returns the outcome, truncated where an episode has become too long.

    Args:
        outcome: of the step.
        quota: whose episodes are asked for.
        max_steps: number of steps after which an episode is stopped.
    """
    too_long: Any = outcome.episode_steps + 1 >= max_steps
    if not too_long.any():
        return outcome
    capped = too_long & ~outcome.dones
    recorded = recorded_steps(quota, outcome)
    if recorded is not None:
        capped = capped & recorded
    if not capped.any():
        return outcome
    warnings.warn(
        f"an episode was still going on after {max_steps} steps and was stopped "
        "there, as if by a time limit: raise max_episode_steps if it should go on, or "
        "pass n_steps (and no n_episodes) if it never ends",
        stacklevel=3,
    )
    seen = outcome.final_observations
    if seen is None:
        seen = outcome.observations
    # What is seen of an episode that goes on is what a time limit would show.
    final = with_rows(seen, outcome.observations, capped)
    return outcome._replace(
        truncated=outcome.truncated | capped,
        final_observations=final,
        capped=capped,
    )
