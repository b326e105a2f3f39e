"""All recipes, and finding one by its name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import cartpole, demos, physics, pixelcopter, toy
from pg_agents.experiments.settings import suggestion

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""Folder of the weights that come with the package, a folder for each recipe."""

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
        known = suggestion(name, recipes(), "`pgtoy recipes`")
        raise ValueError(f"there is no recipe {name!r}: {known}")
    return recipes()[name]


def has_weights(name: str) -> bool:
    """Whether the weights of a trained run come with the package."""
    return (PRETRAINED / name / "result.json").is_file()


@cache
def run_seconds() -> dict[str, float]:
    """Returns how long a run takes, in seconds, by recipe and variant.

    The median of the runs in docs/results; `make results` writes it.
    """
    text = Path(__file__).with_name("run_seconds.json").read_text(encoding="utf-8")
    return {name: float(value) for name, value in json.loads(text).items()}
