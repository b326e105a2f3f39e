"""All recipes, and finding one by its name."""

from __future__ import annotations

from functools import cache

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import cartpole, demos, physics, pixelcopter, toy
from pg_agents.experiments.settings import suggestion

RECIPES: tuple[Recipe, ...] = (
    *cartpole.RECIPES,
    *pixelcopter.RECIPES,
    *physics.RECIPES,
    *toy.RECIPES,
    *demos.RECIPES,
)


@cache
def recipes() -> dict[str, Recipe]:
    """Returns all recipes by name, in the order in which they are listed."""
    return {recipe.name: recipe for recipe in RECIPES}


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Raises:
        ValueError: if there is none; the message suggests others.
    """
    if name not in recipes():
        raise ValueError(f"there is no recipe {name!r}: {suggestion(name, recipes())}")
    return recipes()[name]
