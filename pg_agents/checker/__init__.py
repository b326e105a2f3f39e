"""Checks policy-gradient code against the exact gradient of a tabular environment."""

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
