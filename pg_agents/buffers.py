"""What happened in a rollout, as facts; nothing in here is edited afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.advantages import (
    AdvantageSettings,
    Beyond,
    Facts,
    complete_facts,
    estimate_advantages,
)
from pg_agents.batches import Batch, flat_batch, shuffled_by_environment
from pg_agents.buffer_view import BufferView
from pg_agents.columns import Column, Rows
from pg_agents.final_observations import FinalObservations
from pg_agents.finite import PAIRS, FinitePolicy
from pg_agents.observations import (
    LookedUp,
    Observation,
    map_observation,
)


class TrajectoryBuffer(BufferView):
    """The steps of N environments, row by row, on the model's device.

    Rewards are as the environment gave them: what lies beyond a time limit is kept
    apart, as a value (SB3's buffer adds it to the reward). Read from outside it is
    SB3's `RolloutBuffer`: see `BufferView`.

    Args:
        device: where the tensors live.

    Attributes:
        full: whether the rollout is complete and its advantages are computed.
        mark: tells this rollout from all others.
        finite: the policy that acts in it, where observations are few; else None.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._columns: dict[str, Any] = {}
        self.reset()

    def reset(self, reuse: bool = False) -> None:
        """Forgets the rollout.

        Args:
            reuse: whether tensors of the next one may lie where those of this one are:
                whatever has been taken out, and not copied, is then written over.
        """
        self._spare = self._columns if reuse else {}
        self.finite: FinitePolicy | None = None
        self._columns = {}
        self._facts: Facts | None = None
        self._final = FinalObservations()
        # Of rows in which a step may not be recorded: most rollouts have none.
        self._masks: dict[int, Rows] = {}
        self._returns = self._advantages = torch.empty(0)
        self.full = False
        # Another object for each rollout, which nothing else is.
        self.mark = object()

    def expect(self, finite: FinitePolicy) -> None:
        """Takes note that observations will be numbers of rows of a table.

        Args:
            finite: the policy that acts in this rollout.
        """
        self.finite = finite
        self._columns = finite.columns(self._column(PAIRS))

    def add(
        self,
        *,
        observations: Observation,
        actions: Rows,
        rewards: Rows,
        terminated: Rows,
        truncated: Rows,
        episode_steps: Rows,
        recorded: Rows | None = None,
        values: Tensor | None = None,
        log_probs: Tensor | None = None,
        final_observations: Observation | None = None,
    ) -> None:
        """Adds a row. It is copied, but for `recorded` and `final_observations`.

        These are kept, and must stay as they are.

        Args:
            observations: `[N, *obs_shape]`, what was seen before the actions; a dict
                for a Dict space.
            actions: `[N, *action_shape]`, as the policy drew them.
            rewards: `[N]`, what followed; kept as float32, as SB3 keeps them.
            terminated: `[N]` bool, whether the episode ended by the task's own rules.
            truncated: `[N]` bool, whether it was cut off, by a time limit or the cap.
            episode_steps: `[N]` integers, actions taken before this one in the episode.
            recorded: `[N]` bool, False for steps that are not the learner's business:
                of idle environments, and the dummy step of NEXT_STEP autoreset. None:
                all are.
            values: `[N]` float32, V of the observations, if it is known by now.
            log_probs: `[N]` float32, log-probability of the actions, likewise.
            final_observations: `[N, *obs_shape]`, what was seen last where `truncated`
                and anything elsewhere; None if nothing was truncated.
        """
        if final_observations is not None:
            self._final.add(len(self), final_observations)
        if recorded is not None:
            self._masks[len(self)] = recorded
        row: dict[str, Any] = {
            "observations": observations,
            "actions": actions,
            "rewards": _single(rewards),
            "terminated": terminated,
            "truncated": truncated,
            "episode_steps": episode_steps,
            "values": values,
            "log_probs": log_probs,
        }
        if self.finite is not None:
            # One column says what was seen and what was done.
            row[PAIRS] = self.finite.pairs(observations, row.pop("actions"))
            del row["observations"]
        for name, values_of_row in row.items():
            if values_of_row is not None:
                self._append(name, values_of_row)

    def _append(self, name: str, row: Observation) -> None:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._column(name, row)
        if isinstance(row, dict):
            for key, part in row.items():
                column[key].append(part)
        else:
            column.append(row)

    def _column(self, name: str, row: Observation = None) -> Any:  # noqa: ANN401
        """Returns an empty column, or columns for a row that is a dict."""
        spare = self._spare.pop(name, None)
        if isinstance(spare, Column):
            spare.clear()
            return spare
        return map_observation(lambda _: Column(self._n_steps), row)

    def final_observations(self) -> Observation | None:
        """Returns what was seen last of truncated episodes, `[K, *obs_shape]`."""
        final = self._final.at(self._truncations(), self.device)
        if final is None or self.finite is None:
            return final
        return self.finite.table[final]

    def observations_beyond(self, last_observations: Observation) -> Beyond:
        """Returns what was seen where the data stop, on the model's device.

        Args:
            last_observations: `[N, *obs_shape]`, what was seen after the last row.
        """
        places = self._truncations()
        seen = map_observation(self._tensor, last_observations)
        final = self._final.at(places, self.device)
        if final is not None:
            seen = map_observation(lambda *each: torch.cat(each), seen, final)
        return Beyond(self._looked_up(seen), *places.unbind(1))

    def _truncations(self) -> Tensor:
        """Returns rows and environments of the recorded truncations, `[K, 2]`."""
        if not self._final:
            return torch.empty((0, 2), dtype=torch.int64, device=self.device)
        truncated = self.column("truncated")
        if self._masks:
            truncated = truncated & self.column("recorded")
        places: Tensor = truncated.nonzero()
        return places

    def finish(
        self,
        values_beyond: Tensor,
        beyond: Beyond,
        settings: AdvantageSettings,
        n_episodes: int | None,
        values: Tensor | None = None,
        log_probs: Tensor | None = None,
        target_values: Tensor | None = None,
    ) -> None:
        """Completes the rollout and computes returns and advantages from it.

        Args:
            values_beyond: `[N + K]`, V of the observations beyond.
            beyond: what `observations_beyond` returned.
            settings: estimator, baseline and so on.
            n_episodes: number of whole episodes recorded, or None if the rollout is a
                number of steps.
            values: `[B]`, V of the recorded observations, where `add` was not told.
            log_probs: `[B]`, log-probabilities of the recorded actions, likewise.
            target_values: `[T, N]`, V of the recorded observations by the critic that
                values successors, if that is another one.
        """
        self._settings = settings
        names = {*self._columns, "recorded"} - {PAIRS}
        if not settings.asks_for_time:
            names.discard("episode_steps")
        columns = {name: self.column(name) for name in names}
        known = {"values": values, "log_probs": log_probs}
        facts = complete_facts(
            columns, known, beyond, n_episodes, all_recorded=not self._masks
        )
        if settings.baseline == "value":
            # What can be looked up, is, once.
            facts = replace(facts, values=facts.values.detach())
        if settings.looks_beyond:
            following = facts.values if target_values is None else target_values
            next_values = beyond.successor_values(following, values_beyond)
            facts = replace(facts, next_values=next_values)
        self._facts = facts
        self._returns, self._advantages = estimate_advantages(self._facts, settings)
        self.full = True

    @property
    def facts(self) -> Facts:
        """The complete rollout.

        Raises:
            RuntimeError: if it is not complete.
        """
        if self._facts is None:
            raise RuntimeError(
                "the rollout is not complete: there is nothing to learn from before "
                "finish()"
            )
        return self._facts

    def batch(self) -> Batch:
        """Returns the recorded steps, flat, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        flat = flat_batch(self.facts, self._returns, self._advantages)
        return replace(flat, rollout=self.mark)

    def get(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yields every recorded step once, in mini-batches.

        The steps are shuffled by NumPy's global generator, environment by environment
        as in SB3: from the same seed the mini-batches are the same. The last one has
        what is left. All of them at once may lie where the next rollout will: see
        `reset`.

        Args:
            batch_size: steps of a mini-batch; None for all of them, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        batch = self.batch()
        if batch_size is None:
            yield batch
            return
        order = shuffled_by_environment(self.facts, len(batch))
        for index in order.split(batch_size):
            yield batch.take(index)

    def sample(self, batch_size: int, env: object = None) -> Batch:
        """Returns recorded steps, drawn with replacement by NumPy's global generator.

        Args:
            batch_size: number of steps.
            env: not used; SB3's buffers have it.
        """
        batch = self.batch()
        drawn = np.random.randint(len(batch), size=batch_size)
        return batch.take(torch.as_tensor(drawn, device=self.device))

    def column(self, name: str) -> Any:  # noqa: ANN401
        """Returns what `add` was given, `[T, N, ...]`, as tensors.

        Args:
            name: an argument of `add`; not `final_observations`. `values` and
                `log_probs` may be unknown until the rollout is complete.
        """
        if name == "recorded" and self._columns:
            return self._recorded()
        if name in ("values", "log_probs") and self._facts is not None:
            return getattr(self._facts, name)
        column = self._columns[name]
        return map_observation(lambda one: one.tensor(self.device), column)

    def _looked_up(self, seen: Observation) -> Observation:
        """Returns observations of which the numbers are known, or already they are."""
        return seen if self.finite is None else LookedUp(self.finite.table, seen)

    def _recorded(self) -> Tensor:
        shape = self.column("terminated").shape
        everything = torch.ones((), dtype=torch.bool, device=self.device).expand(shape)
        if not self._masks:
            return everything
        recorded = everything.clone()
        for t, mask in self._masks.items():
            recorded[t] = self._tensor(mask)
        return recorded

    def _tensor(self, values: Rows) -> Tensor:
        return torch.as_tensor(values, device=self.device)


def _single(rewards: Rows) -> Rows:
    """Returns float32: what SubprocVecEnv hands on is float64."""
    if isinstance(rewards, Tensor):
        return rewards.float()
    return np.asarray(rewards, dtype=np.float32)
