"""Checks policy-gradient code against the exact gradient of a tabular environment.

The modules are loaded when their names are first used: the process that runs a user's
script needs few of them.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.checker.check import check_policy_gradient
    from pg_agents.checker.diagnosis import Diagnosis
    from pg_agents.checker.episodes import Episode, EpisodeBatch
    from pg_agents.checker.geometry import CannotCheckError
    from pg_agents.checker.mistakes import CATALOGUE, Mistake
    from pg_agents.checker.report import GradientReport

__all__ = [
    "CATALOGUE",
    "CannotCheckError",
    "Diagnosis",
    "Episode",
    "EpisodeBatch",
    "GradientReport",
    "Mistake",
    "check_policy_gradient",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "check": ["check_policy_gradient"],
        "diagnosis": ["Diagnosis"],
        "episodes": ["Episode", "EpisodeBatch"],
        "geometry": ["CannotCheckError"],
        "mistakes": ["CATALOGUE", "Mistake"],
        "report": ["GradientReport"],
    },
)
