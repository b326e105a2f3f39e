"""Sweeps: settings tuned with several seeds per trial, and tested with other seeds.

Optuna is the extra `sweeps`; it is loaded when `tune` is called.
"""

from pg_agents.sweeps.space import SearchSpace, parse_space
from pg_agents.sweeps.study import SweepResult, tune

__all__ = ["SearchSpace", "SweepResult", "parse_space", "tune"]
