"""A recipe: a named task, its settings, and the figure that it is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pg_agents.common.checks import check_count
from pg_agents.experiments.settings import RunConfig, Settings, suggestion

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Point:
    """An average return during training.

    Attributes:
        episode: last episode of the average, counted from 1.
        window: number of episodes that are averaged.
        value: the average that the recipe's source reports; None if it reports none.
    """

    episode: int
    window: int
    value: float | None

    def __post_init__(self) -> None:
        """Checks that the window begins at the first episode or later."""
        if not 1 <= self.window <= self.episode:
            raise ValueError(
                "a point's window must be from 1 to its episode, got window="
                f"{self.window!r} and episode={self.episode!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What the source of a recipe, a teaching notebook, reports of its own run.

    Attributes:
        text: the figure in words.
        value: mean return of its final evaluation; None if it has none.
        solved: mean return from which the task counts as solved, if the source has
            no figure.
        points: its averages during training.
        running_reward: running reward at which its training stops; None if it does not.
        tenth: whether to report our 10th percentile, for returns that vary widely.
    """

    text: str = "no figure"
    value: float | None = None
    solved: float | None = None
    points: tuple[Point, ...] = ()
    running_reward: float | None = None
    tenth: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An experiment of docs/results.md: what is run, and the figure to compare it with.

    Attributes:
        name: as in ``pgtoy run NAME``: small letters, digits and hyphens.
        title: one line of description.
        reported: the figure of the recipe's source, see docs/notebooks.md.
        variants: settings by name; the first is the default. By convention
            ``"notebook"`` has the settings of the source and ``"best"`` ours.
        seeds: default number of seeds: 0, 1, 2 and so on.
        demo: ``"module:function"`` of a recipe without variants. `pgtoy run` calls it
            with a `DemoRequest`, and it returns a `DemoResult`, see
            `pg_agents.experiments.demos`.
    """

    name: str
    title: str
    reported: Reported = Reported()
    variants: Mapping[str, Settings] = field(default_factory=dict)
    seeds: int = 10
    demo: str | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in (self.name, *self.variants):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    "a recipe and its variants are named with small letters, digits "
                    f"and hyphens, got {name!r}"
                )
        if bool(self.variants) == (self.demo is not None):
            got = "both" if self.variants else "neither"
            raise ValueError(
                f"recipe {self.name} must have variants or a demo, got {got}"
            )
        check_count(f"recipe {self.name}: seeds", self.seeds)

    @property
    def extra(self) -> str | None:
        """The pip extra that its first variant needs."""
        first = next(iter(self.variants.values()), None)
        return None if first is None else first.extra

    def config(self, variant: str | None = None) -> RunConfig:
        """Returns the config of a variant, of the first by default.

        Raises:
            ValueError: if there is no such variant.
        """
        if not self.variants:
            raise ValueError(
                f"recipe {self.name} has no settings to train with: it is a demo, "
                f"`pgtoy run {self.name}`"
            )
        name = next(iter(self.variants)) if variant is None else variant
        if name not in self.variants:
            raise ValueError(
                f"recipe {self.name} has no variant {name!r}: "
                f"{suggestion(name, self.variants)}"
            )
        return RunConfig(self.name, name, self.variants[name])
