"""One progress bar over all runs of a recipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Never, Self, TextIO

from tqdm import tqdm

from pg_agents.experiments.training import Moment

if TYPE_CHECKING:
    Bar = tqdm[Never]  # tqdm is generic for the type checker alone

# What matters least comes last, where a narrow terminal cuts it off.
_FORMAT = "{desc}: {percentage:3.0f}%|{bar:20}| [{elapsed}<{remaining}]{postfix}"


class RunsBar:
    """Shows which share of all training is done.

    Args:
        name: of the recipe.
        n_runs: how many runs there are.
        file: where the bar is written; None is the standard error stream.
    """

    def __init__(self, name: str, n_runs: int, file: TextIO | None = None) -> None:
        self._shares: dict[int, float] = {}
        self._n_runs = n_runs
        self._bar: Bar = tqdm(
            total=n_runs,
            desc=name,
            bar_format=_FORMAT,
            dynamic_ncols=True,
            file=file,
        )

    def __enter__(self) -> Self:
        """Has the bar on the screen already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def show(self, seed: int, moment: Moment) -> None:
        """Takes down how far the run with a seed is."""
        self._shares[seed] = moment.share
        done = sum(share == 1.0 for share in self._shares.values())
        said = [f"{done} of {self._n_runs} runs done"] if self._n_runs > 1 else []
        if moment.episodes:
            which = f"seed {seed}: " if self._n_runs > 1 else ""
            said.append(f"{which}episode {moment.episodes}, {moment.steps} steps")
            said.append(f"return {moment.last_return:.4g}")
        if not math.isnan(moment.running_reward):
            said.append(f"running {moment.running_reward:.4g}")
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.update(sum(self._shares.values()) - self._bar.n)
