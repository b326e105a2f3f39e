"""The recipes, a module for each family of tasks, in the order of `pgtoy recipes`."""

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import (
    cartpole,
    fetch,
    improvements,
    lunarlander,
    pendulum,
    pixelcopter,
    shown,
    toy,
)

RECIPES: tuple[Recipe, ...] = (
    *cartpole.RECIPES,
    *pixelcopter.RECIPES,
    *lunarlander.RECIPES,
    *toy.RECIPES,
    *pendulum.RECIPES,
    *fetch.RECIPES,
    *improvements.RECIPES,
    *shown.RECIPES,
)

__all__ = ["RECIPES"]
