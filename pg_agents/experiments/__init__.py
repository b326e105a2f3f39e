"""Recipes and their runs: trained over seeds, kept in folders, resumable.

>>> from pg_agents.experiments import find_recipe, run_seeds
>>> config = find_recipe("cartpole-policy-network").config()
>>> reports = run_seeds(config, range(10), "runs")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

import lazy_loader

from pg_agents.experiments.recipes import find_recipe, recipes

if TYPE_CHECKING:
    from pg_agents.experiments.folder import (
        DamagedRunError,
        EvaluationRecord,
        FolderBusyError,
        OtherRunError,
        Result,
        RunFolder,
    )
    from pg_agents.experiments.recipe import Recipe, Reported
    from pg_agents.experiments.run import Progress, RunProgress, Training, run_one
    from pg_agents.experiments.seeds import RunReport, run_seeds
    from pg_agents.experiments.settings import Evaluation, RunConfig, Settings

__all__ = [
    "DamagedRunError",
    "Evaluation",
    "EvaluationRecord",
    "FolderBusyError",
    "OtherRunError",
    "Progress",
    "Recipe",
    "Reported",
    "Result",
    "RunConfig",
    "RunFolder",
    "RunProgress",
    "RunReport",
    "Settings",
    "Training",
    "find_recipe",
    "recipes",
    "run_one",
    "run_seeds",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folder": [
            "DamagedRunError",
            "EvaluationRecord",
            "FolderBusyError",
            "OtherRunError",
            "Result",
            "RunFolder",
        ],
        "recipe": ["Recipe", "Reported"],
        "run": ["Progress", "RunProgress", "Training", "run_one"],
        "seeds": ["RunReport", "run_seeds"],
        "settings": ["Evaluation", "RunConfig", "Settings"],
    },
)
