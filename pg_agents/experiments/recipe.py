"""A recipe: a named task, how to run it, and the figure to be reached."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pg_agents.experiments.settings import RunConfig, Settings

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What a course notebook reports of its own run.

    Attributes:
        text: the figure in words.
        value: a mean return to compare with; None where there is none.
        source: which notebook, as shared/SYSTEMS.md names its section.
    """

    text: str
    value: float | None = None
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
    """

    name: str
    title: str
    reported: Reported
    variants: Mapping[str, Settings] = field(default_factory=dict)
    seeds: int = 10

    def __post_init__(self) -> None:
        """Refuses what can't be."""
        for what in (self.name, *self.variants):
            if not _NAME.fullmatch(what):
                raise ValueError(
                    "a recipe and its variants are named with small letters, digits "
                    f"and hyphens, got {what!r}"
                )
        if not self.variants:
            raise ValueError(f"recipe {self.name} must have variants, got none")
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
        return next(iter(self.variants.values())).extra

    def config(self, variant: str | None = None) -> RunConfig:
        """Returns what is to be run.

        Args:
            variant: which; None for the first.

        Raises:
            ValueError: if there is no such variant.
        """
        chosen = next(iter(self.variants)) if variant is None else variant
        if chosen not in self.variants:
            close = difflib.get_close_matches(chosen, self.variants, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"recipe {self.name} has no variant {chosen!r}, only "
                f"{', '.join(self.variants)}{hint}"
            )
        return RunConfig(self.name, chosen, self.variants[chosen])
