"""The recipes, a module for each family of tasks, in the order of `pgtoy recipes`."""

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import (
    cartpole,
    improvements,
    pixelcopter,
    shown,
    toy,
)

RECIPES: tuple[Recipe, ...] = (
    *cartpole.RECIPES,
    *pixelcopter.RECIPES,
    *toy.RECIPES,
    *improvements.RECIPES,
    *shown.RECIPES,
)
