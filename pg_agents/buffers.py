"""What happened in a rollout, as facts; nothing in here is edited afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.advantages import AdvantageSettings, Facts, estimate_advantages


@dataclass(frozen=True)
class Batch:
    """The recorded steps of a rollout, flat, ready for the update.

    Attributes:
        observations: `[B, *obs_shape]`, dtype of the observation space.
        actions: `[B]` int64 for discrete actions, `[B, *action_shape]` float otherwise.
        advantages: `[B]` float32, the weight of each action's log-probability.
        returns: `[B]` float32, what the critic should have predicted.
        values: `[B]` float32, what it predicted when the action was taken.
        n_samples: what a sum over the batch is divided by: the number of episodes of a
            rollout of whole episodes, else the number of steps, B.
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor
    n_samples: int


class TrajectoryBuffer:
    """The steps of N environments, row by row, on the model's device.

    Rewards are as the environment gave them: what lies beyond a time limit is kept
    apart, as a value (SB3's buffer adds it to the reward). Read from outside, every
    column is a NumPy array `[T, N]`, as users of SB3's `RolloutBuffer` expect.

    Args:
        device: where the tensors live.

    Attributes:
        full: whether the rollout is complete and its advantages are computed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forgets the rollout."""
        self._columns: dict[str, list[Any]] = {}
        self._facts: Facts | None = None
        self._final: list[tuple[int, int, NDArray[Any]]] = []
        self._returns = self._advantages = torch.empty(0)
        self.full = False

    def __len__(self) -> int:
        """Number of rows so far, T."""
        return len(self._columns.get("rewards", ()))

    def add(
        self,
        *,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        recorded: NDArray[np.bool_],
        episode_steps: NDArray[np.int64],
        values: Tensor,
        log_probs: Tensor,
        final_observations: dict[int, NDArray[Any]],
    ) -> None:
        """Adds a row. The arrays are copied.

        Args:
            observations: `[N, *obs_shape]`, what was seen before the actions.
            actions: `[N, *action_shape]`, as the policy drew them.
            rewards: `[N]` float32, what followed.
            terminated: `[N]` bool, whether the episode ended by the task's own rules.
            truncated: `[N]` bool, whether it was cut off, by a time limit or the cap.
            recorded: `[N]` bool, False for steps that are not the learner's business:
                of idle environments, and the dummy step of NEXT_STEP autoreset.
            episode_steps: `[N]` int64, actions taken before this one in the episode.
            values: `[N]` float32, V of the observations.
            log_probs: `[N]` float32, log-probability of the actions.
            final_observations: by environment, what was seen last of a truncated one.
        """
        row = {
            "observations": observations,
            "actions": actions,
            "rewards": rewards,
            "terminated": terminated,
            "truncated": truncated,
            "recorded": recorded,
            "episode_steps": episode_steps,
        }
        self._final += [(len(self), i, seen) for i, seen in final_observations.items()]
        for name, values_of_row in row.items():
            self._columns.setdefault(name, []).append(np.array(values_of_row))
        self._columns.setdefault("values", []).append(values)
        self._columns.setdefault("log_probs", []).append(log_probs)

    def final_observations(self) -> NDArray[Any] | None:
        """Returns what was seen last of truncated episodes, `[K, *obs_shape]`."""
        return np.stack([seen for _, _, seen in self._final]) if self._final else None

    def finish(
        self,
        last_values: Tensor,
        final_values: Tensor | None,
        settings: AdvantageSettings,
        n_episodes: int | None,
    ) -> None:
        """Completes the rollout and computes returns and advantages from it.

        Args:
            last_values: `[N]`, V of what was seen after the last row.
            final_values: `[K]`, V of `final_observations()`.
            settings: estimator, baseline and so on.
            n_episodes: number of whole episodes recorded, or None if the rollout is a
                number of steps.
        """
        columns = {name: self._stack(rows) for name, rows in self._columns.items()}
        next_values = torch.cat([columns["values"][1:], last_values[None]])
        if final_values is not None:
            rows, envs = zip(*((t, i) for t, i, _ in self._final), strict=True)
            next_values[list(rows), list(envs)] = final_values
        self._facts = Facts(**columns, next_values=next_values, n_episodes=n_episodes)
        self._returns, self._advantages = estimate_advantages(self._facts, settings)
        self.full = True

    def batch(self) -> Batch:
        """Returns the recorded steps, flat, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        facts = self._complete()
        recorded = facts.recorded
        return Batch(
            observations=facts.observations[recorded],
            actions=facts.actions[recorded],
            advantages=self._advantages[recorded],
            returns=self._returns[recorded],
            values=facts.values[recorded],
            n_samples=facts.n_episodes or int(recorded.sum()),
        )

    def _complete(self) -> Facts:
        if self._facts is None:
            raise RuntimeError(
                "the rollout is not complete: there is nothing to learn from before "
                "finish()"
            )
        return self._facts

    def _stack(self, rows: list[Any]) -> Tensor:
        if isinstance(rows[0], Tensor):
            return torch.stack(rows)
        return torch.as_tensor(np.stack(rows), device=self.device)

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Returns a column `[T, N]`, or `returns` or `advantages`, as NumPy."""
        columns = self.__dict__.get("_columns", {})
        if name in ("returns", "advantages"):
            return self._numpy(self.__dict__[f"_{name}"])
        if name == "next_values":
            return self._numpy(self._complete().next_values)
        if name == "episode_starts":
            return self._numpy(self._stack(columns["episode_steps"]) == 0)
        if name in columns:
            return self._numpy(self._stack(columns[name]))
        raise AttributeError(f"{type(self).__name__!r} has no column {name!r}")

    @staticmethod
    def _numpy(tensor: Tensor) -> NDArray[Any]:
        return tensor.detach().cpu().numpy()
