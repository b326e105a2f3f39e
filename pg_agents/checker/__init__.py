"""Checks policy-gradient code against the exact gradient of a tabular environment.

The modules are loaded when their names are first used: the process that runs a user's
script needs few of them.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.checker.check import assert_policy_gradient, check_policy_gradient
    from pg_agents.checker.episodes import Episode, EpisodeBatch
    from pg_agents.checker.geometry import CannotCheckError
    from pg_agents.checker.lines.place import Place
    from pg_agents.checker.mistakes import CATALOGUE, Mistake
    from pg_agents.checker.report import Finding, GradientReport
    from pg_agents.checker.script.check import check_script
    from pg_agents.checker.verdict import StateTable, TaskResult

__all__ = [
    "CATALOGUE",
    "CannotCheckError",
    "Episode",
    "EpisodeBatch",
    "Finding",
    "GradientReport",
    "Mistake",
    "Place",
    "StateTable",
    "TaskResult",
    "assert_policy_gradient",
    "check_policy_gradient",
    "check_script",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "check": ["assert_policy_gradient", "check_policy_gradient"],
        "episodes": ["Episode", "EpisodeBatch"],
        "geometry": ["CannotCheckError"],
        "lines.place": ["Place"],
        "mistakes": ["CATALOGUE", "Mistake"],
        "report": ["Finding", "GradientReport"],
        "script.check": ["check_script"],
        "verdict": ["StateTable", "TaskResult"],
    },
)
