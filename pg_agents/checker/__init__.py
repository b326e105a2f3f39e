"""Checks policy-gradient code against the exact gradient of a tabular environment."""

from pg_agents.checker.check import assert_policy_gradient, check_policy_gradient
from pg_agents.checker.episodes import Episode, EpisodeBatch
from pg_agents.checker.geometry import CannotCheckError
from pg_agents.checker.mistakes import CATALOGUE, Mistake
from pg_agents.checker.report import Finding, GradientReport
from pg_agents.checker.verdict import StateTable, TaskResult

__all__ = [
    "CATALOGUE",
    "CannotCheckError",
    "Episode",
    "EpisodeBatch",
    "Finding",
    "GradientReport",
    "Mistake",
    "StateTable",
    "TaskResult",
    "assert_policy_gradient",
    "check_policy_gradient",
]
