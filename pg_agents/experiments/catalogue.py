"""All recipes, and finding one by its name."""

from __future__ import annotations

import difflib
from functools import cache

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import RECIPES


@cache
def recipes() -> dict[str, Recipe]:
    """Returns all recipes by name, in the order in which they are listed.

    Raises:
        ValueError: if two have the same name.
    """
    found: dict[str, Recipe] = {}
    for recipe in RECIPES:
        if recipe.name in found:
            raise ValueError(f"there are two recipes {recipe.name}")
        found[recipe.name] = recipe
    return found


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Raises:
        ValueError: if there is none; the message names the nearest.
    """
    there = recipes()
    if name in there:
        return there[name]
    close = difflib.get_close_matches(name, there, 1)
    nearest = f"; the nearest is {close[0]}" if close else ""
    raise ValueError(
        f"there is no recipe {name!r}{nearest}; `pgtoy recipes` lists them"
    )
