"""Steps by looking up a timetable, on a torch device."""

from __future__ import annotations

import torch
from torch import Tensor

from pg_envs.timetable import TERMINATED, TRUNCATED, Timetable
from pg_envs.torch_device import rows

# What the vector environment remembers of a step: state, elapsed, returns, done.
Columns = tuple[Tensor, Tensor, Tensor, Tensor]


class TimetableSteps:
    """N environments that go by the same timetable.

    A step adds place and action and looks up what follows, six times over: as little
    as there is to do. The places stay in one tensor, and so do the rows of the tables
    (of the last step): a step can be captured as a CUDA graph.

    Args:
        timetable: what follows from a place and an action.
        observations: `[S, *shape]`, what is seen in each state, on the device.
        n_actions: A.
        num_envs: N.
    """

    def __init__(
        self, timetable: Timetable, observations: Tensor, n_actions: int, num_envs: int
    ) -> None:
        device = observations.device

        def on_device(array: object) -> Tensor:
            return torch.tensor(array, device=device)

        n_states, n_times = timetable.n_states, timetable.n_times
        self._n_states, self._n_times = n_states, n_times
        self._n_actions, self._start = n_actions, timetable.start
        self._next_place = on_device(timetable.next_place)
        self._reward = on_device(timetable.reward)
        self._ending = on_device(timetable.ending)
        self._last_state = on_device(timetable.last_state)
        self._last_seen = observations[self._last_state]
        n_places = len(timetable.next_place) // n_actions
        self._state = torch.arange(n_places, device=device) % n_states
        self._seen = observations[self._state]
        self._place = torch.full((num_envs,), timetable.start, device=device)
        self._row = torch.zeros_like(self._place)

    def start(self, mask: Tensor | None) -> None:
        """Starts an episode in the environments of a mask `[N]` bool, None for all."""
        if mask is None:
            self._place.fill_(self._start)
        else:
            self._place.masked_fill_(mask, self._start)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Takes a step.

        Args:
            actions: `[N]` int64 from 0 to A - 1.

        Returns:
            Rewards `[N]` float32; terminated, truncated, and whether either is true,
            `[N]` bool each.
        """
        row = torch.add(actions, self._place, alpha=self._n_actions, out=self._row)
        torch.index_select(self._next_place, 0, row, out=self._place)
        ending = self._ending.index_select(0, row)
        terminated = (ending & TERMINATED).bool()
        truncated = (ending & TRUNCATED).bool()
        reward = self._reward.index_select(0, row)
        return reward, terminated, truncated, ending.bool()

    def seen(self) -> Tensor:
        """Returns what is seen now, `[N, *shape]`."""
        return rows(self._seen, self._place)

    def last_seen(self) -> Tensor:
        """Returns what was seen after the last action, before any restart."""
        return rows(self._last_seen, self._row)

    def state(self) -> Tensor:
        """Returns the present states, `[N]` int64."""
        return self._state.index_select(0, self._place)

    def last_state(self) -> Tensor:
        """Returns the states that the last actions led to, before any restart."""
        return self._last_state.index_select(0, self._row)

    def columns(self) -> Columns:
        """Returns state, elapsed, returns and done, `[N]` each; returns are zero."""
        elapsed = self._place // self._n_states
        waiting = elapsed == self._n_times
        zeros = torch.zeros_like(self._place, dtype=torch.float64)
        return self.state(), elapsed % self._n_times, zeros, waiting

    def set_columns(self, columns: Columns, has_dummy_steps: bool) -> None:
        """Goes on from there; `done` counts where a dummy step follows an end."""
        state, elapsed, _, done = columns
        place = elapsed.clamp(0, self._n_times - 1) * self._n_states + state
        if has_dummy_steps:
            waiting = self._n_times * self._n_states + state
            place = torch.where(done, waiting, place)
        self._place.copy_(place)
