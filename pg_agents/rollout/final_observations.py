"""What was seen last of truncated episodes, found when the rollout is over."""

from __future__ import annotations

import torch
from torch import Tensor

from pg_agents.common.tree import Observation, map_observation, select


class FinalObservations:
    """Observations `[N, *obs_shape]` of rows in which an episode may be truncated.

    Which ones are is asked once, at the end: a GPU would have to be waited for.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Observation] = {}

    def __len__(self) -> int:
        """Number of such rows."""
        return len(self._rows)

    def add(self, row: int, observations: Observation) -> None:
        """Keeps what all environments saw last in a row; it must stay as it is."""
        self._rows[row] = observations

    def at(self, places: Tensor, device: torch.device) -> Observation | None:
        """Returns what was seen at places, `[K, *obs_shape]`; None if there are none.

        Args:
            places: `[K, 2]` int64, rows, which have been added, and environments.
            device: where to.
        """
        if len(places) == 0:
            return None
        kept = torch.tensor(list(self._rows), device=device)
        seen = map_observation(
            lambda *each: torch.stack(
                [torch.as_tensor(one, device=device) for one in each]
            ),
            *self._rows.values(),
        )
        # Rows come in the order of time.
        return select(seen, (torch.searchsorted(kept, places[:, 0]), places[:, 1]))
