"""A recipe: a named task, how to run it, and the figure to be reached."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pg_agents.experiments.setting_checks import check_hook
from pg_agents.experiments.settings import RunConfig, Settings

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Point:
    """A figure on the way: an average return of training.

    Attributes:
        episode: the last one of the average.
        window: how many episodes it is taken over.
        value: the average reported; None for ours alone.
    """

    episode: int
    window: int
    value: float | None

    def __post_init__(self) -> None:
        """Refuses an average that reaches back before the first episode."""
        if not 1 <= self.window <= self.episode:
            raise ValueError(
                "a point's window must be from 1 to its episode, got window="
                f"{self.window!r} and episode={self.episode!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What a course notebook reports of its own run.

    Attributes:
        text: the figure in words.
        value: mean return of its final evaluation; None where there is none.
        solved: mean return from which the task counts as solved, where the notebook
            has no figure.
        points: its averages during training.
        running_reward: that its training stops at; None where it does not.
        tenth: whether episodes differ so much that our 10th percentile is told, too.
        source: which notebook, as docs/notebooks.md names its section.
    """

    text: str
    value: float | None = None
    solved: float | None = None
    points: tuple[Point, ...] = ()
    running_reward: float | None = None
    tenth: bool = False
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One row of the results: what is run, and what it is compared with.

    Attributes:
        name: as in ``pgtoy run NAME``: small letters, digits and hyphens.
        title: what it is, in a line.
        reported: the notebook's figure.
        variants: settings by name. The first is run unless another is asked for; by
            custom it is ``"notebook"``, the settings of the notebook, and ``"best"``
            are ours.
        seeds: how many seeds are run by default: 0, 1, 2 and so on.
        show: ``"module:function"`` for a row that is no training over seeds and has no
            variants. `pgtoy run` calls it with a `ShowRequest` and it returns a
            `Shown`, see `pg_agents.experiments.showing`.
    """

    name: str
    title: str
    reported: Reported
    variants: Mapping[str, Settings] = field(default_factory=dict)
    seeds: int = 10
    show: str | None = None

    def __post_init__(self) -> None:
        """Refuses what can't be."""
        for what in (self.name, *self.variants):
            if not _NAME.fullmatch(what):
                raise ValueError(
                    "a recipe and its variants are named with small letters, digits "
                    f"and hyphens, got {what!r}"
                )
        check_hook(f"recipe {self.name}: show", self.show)
        if bool(self.variants) == (self.show is not None):
            got = "both" if self.variants else "neither"
            raise ValueError(
                f"recipe {self.name} must have variants or a show, got {got}"
            )
        for variant, settings in self.variants.items():
            if not isinstance(settings, Settings):
                raise TypeError(
                    f"recipe {self.name}: variant {variant} must be Settings, got "
                    f"{settings!r}"
                )
        if isinstance(self.seeds, bool) or self.seeds < 1:
            raise ValueError(
                f"recipe {self.name}: seeds must be at least 1, got {self.seeds!r}"
            )

    @property
    def extra(self) -> str | None:
        """The pip extra that its first variant needs."""
        first = next(iter(self.variants.values()), None)
        return None if first is None else first.extra

    def config(self, variant: str | None = None) -> RunConfig:
        """Returns what is to be run.

        Args:
            variant: which; None for the first.

        Raises:
            ValueError: if there is no such variant.
        """
        if not self.variants:
            raise ValueError(
                f"recipe {self.name} trains nothing of its own: `pgtoy run "
                f"{self.name}` shows it"
            )
        chosen = next(iter(self.variants)) if variant is None else variant
        if chosen not in self.variants:
            close = difflib.get_close_matches(chosen, self.variants, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"recipe {self.name} has no variant {chosen!r}, only "
                f"{', '.join(self.variants)}{hint}"
            )
        return RunConfig(self.name, chosen, self.variants[chosen])
