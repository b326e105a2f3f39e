"""Recipes: each can be found and built, with the settings of the notebooks."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from pg_agents.experiments import Recipe, Reported, Settings, find_recipe, recipes
from pg_agents.experiments.building import (
    load_function,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.recipes import RECIPES
from pg_agents.experiments.settings import EXTRAS
from tests.pg_agents.experiments.tiny import SETTINGS

VARIANTS = [
    pytest.param(settings, id=recipe.config(variant).name)
    for recipe in recipes().values()
    for variant, settings in recipe.variants.items()
]


def model_of(settings: Settings) -> BaseAlgorithm:
    return make_model(settings, make_training_env(settings), 0)


@pytest.mark.parametrize("settings", VARIANTS)
def test_every_variant_can_be_built_and_stored(settings: Settings) -> None:
    modules = EXTRAS[settings.extra] if settings.extra else ()
    if any(importlib.util.find_spec(module) is None for module in modules):
        pytest.skip(f"needs the extra {settings.extra}")
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    model = model_of(replace(settings, device="cpu"))
    env = make_evaluation_env(settings, 0)
    assert env.action_space == model.action_space
    env.close()
    for function in (settings.train, settings.play):
        assert function is None or callable(load_function(function))


@pytest.mark.parametrize("name", [n for n, r in recipes().items() if r.demo])
def test_every_demo_is_a_function(name: str) -> None:
    demo = find_recipe(name).demo
    assert demo is not None and callable(load_function(demo))


@pytest.mark.parametrize(
    ("name", "shapes", "attributes"),
    [
        (
            "cartpole-policy-network",
            [[32, 4], [32], [2, 32], [2]],
            {"learning_rate": 5e-3, "standardize_returns": True, "n_episodes": 1},
        ),
        # A body of 128, and heads for policy and value.
        (
            "cartpole-two-headed",
            [[128, 4], [128], [2, 128], [2], [1, 128], [1]],
            {"learning_rate": 5e-3, "gamma": 0.99, "n_episodes": 1},
        ),
        (
            "cartpole-mc",
            [[16, 4], [16], [2, 16], [2]],
            {"learning_rate": 1e-2, "gamma": 1.0, "n_episodes": 1},
        ),
        (
            "reinforce-memory",
            [[20, 4], [20], [20, 20], [20], [2, 20], [2]],
            {"learning_rate": 1e-3, "n_episodes": 1},
        ),
        (
            "reinforce-128",
            [[128, 4], [128], [128, 128], [128], [2, 128], [2]],
            {"learning_rate": 1e-3, "gamma": 0.99, "n_episodes": 1},
        ),
        (
            "one-step-actor-critic",
            [
                *[[128, 4], [128], [128, 128], [128]] * 2,
                *[[2, 128], [2], [1, 128], [1]],
            ],
            {"learning_rate": 3e-4, "n_steps": 1, "n_episodes": None},
        ),
        (
            "sequence-reinforce",
            [[3, 1], [3]],
            {"learning_rate": 0.01, "gamma": 0.6},
        ),
    ],
)
def test_the_settings_of_the_notebooks(
    name: str, shapes: list[list[int]], attributes: dict[str, float]
) -> None:
    model = model_of(find_recipe(name).config().settings)
    assert [list(p.shape) for p in model.policy.parameters()] == shapes
    assert {key: getattr(model, key) for key in attributes} == attributes
    optimizer = model.policy.optimizer
    if name == "sequence-reinforce":
        assert type(optimizer).__name__ == "AdamW"
        return
    assert type(optimizer).__name__ == "Adam" and optimizer.defaults["eps"] == 1e-8
    # The notebook of the one-step actor-critic does not state its activation.
    activation = "Tanh" if name == "one-step-actor-critic" else "ReLU"
    activations = {name for name in ("Tanh", "ReLU") if name in str(model.policy)}
    assert activations == {activation}


def test_an_unknown_recipe_raises_with_the_nearest_name() -> None:
    nearest = "'cartpole-policy-netwrk': did you mean cartpole-policy-network"
    with pytest.raises(ValueError, match=f"there is no recipe {nearest}"):
        find_recipe("cartpole-policy-netwrk")
    with pytest.raises(ValueError, match="'zzz': `pgtoy recipes` lists them"):
        find_recipe("zzz")


def test_no_two_recipes_have_the_same_name() -> None:
    assert len(recipes()) == len(RECIPES)


RIGHT = {
    "name": "r",
    "title": "t",
    "reported": Reported(text="none"),
    "variants": {"notebook": SETTINGS},
}


def test_a_variant_is_found_or_raises() -> None:
    best = SETTINGS.changed({"gamma": 1.0})
    variants = {"notebook": SETTINGS, "best": best}
    recipe = Recipe(**{**RIGHT, "variants": variants})  # type: ignore[arg-type]
    assert recipe.config().settings is SETTINGS
    assert recipe.config("best").settings is best
    with pytest.raises(ValueError, match=r"no variant 'bset': did you mean best\?"):
        recipe.config("bset")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Cart Pole"}, "small letters, digits and hyphens, got 'Cart Pole'"),
        ({"variants": {}}, "must have variants or a demo, got neither"),
        ({"demo": "m:f"}, "must have variants or a demo, got both"),
        ({"variants": {"x_y": SETTINGS}}, "hyphens, got 'x_y'"),
        ({"seeds": 0}, "seeds must be an integer >= 1, got 0"),
    ],
)
def test_an_invalid_recipe_raises(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**{**RIGHT, **changes})  # type: ignore[arg-type]
