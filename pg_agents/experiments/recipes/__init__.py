"""All recipes, and finding one by its name."""

from __future__ import annotations

import difflib
from functools import cache

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import cartpole, demos, physics, pixelcopter, toy

RECIPES: tuple[Recipe, ...] = (
    *cartpole.RECIPES,
    *pixelcopter.RECIPES,
    *physics.RECIPES,
    *toy.RECIPES,
    *demos.RECIPES,
)


@cache
def recipes() -> dict[str, Recipe]:
    """Returns all recipes by name, in the order in which they are listed.

    Raises:
        ValueError: if two have the same name.
    """
    by_name: dict[str, Recipe] = {}
    for recipe in RECIPES:
        if recipe.name in by_name:
            raise ValueError(f"there are two recipes {recipe.name}")
        by_name[recipe.name] = recipe
    return by_name


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Raises:
        ValueError: if there is none; the message names the nearest.
    """
    by_name = recipes()
    if name in by_name:
        return by_name[name]
    close = difflib.get_close_matches(name, by_name, 1)
    nearest = f"; the nearest is {close[0]}" if close else ""
    raise ValueError(
        f"there is no recipe {name!r}{nearest}; `pgtoy recipes` lists them"
    )
