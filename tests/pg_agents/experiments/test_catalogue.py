"""Every recipe can be found, and can be run."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from pg_agents.experiments import Recipe, Reported, Settings, find_recipe, recipes
from pg_agents.experiments.building import (
    load_hook,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.extras import EXTRAS
from tests.pg_agents.experiments.tiny import SETTINGS

VARIANTS = [
    pytest.param(settings, id=recipe.config(variant).name)
    for recipe in recipes().values()
    for variant, settings in recipe.variants.items()
]
NONE = Reported(text="none")


def model_of(settings: Settings) -> BaseAlgorithm:
    return make_model(settings, make_training_env(settings), 0)


@pytest.mark.parametrize("settings", VARIANTS)
def test_every_recipe_can_be_built_and_written_down(settings: Settings) -> None:
    modules = EXTRAS[settings.extra] if settings.extra else ()
    if any(importlib.util.find_spec(module) is None for module in modules):
        pytest.skip(f"needs the extra {settings.extra}")
    written = json.loads(json.dumps(settings.to_json()))
    assert Settings.from_json(written) == settings
    model = model_of(replace(settings, device="cpu"))
    env = make_evaluation_env(settings, 0)
    assert env.action_space == model.action_space
    env.close()
    for hook in (settings.train, settings.play):
        assert hook is None or callable(load_hook(hook))


def test_the_cartpole_network_is_the_notebook_s() -> None:
    """4-32-2 with ReLU: 4 * 32 + 32 + 32 * 2 + 2 parameters, and no critic's."""
    model = model_of(find_recipe("cartpole-policy-network").config().settings)
    sizes = [list(p.shape) for p in model.policy.parameters()]
    assert sizes == [[32, 4], [32], [2, 32], [2]]
    assert "ReLU" in str(model.policy) and "Tanh" not in str(model.policy)
    optimizer = model.policy.optimizer
    assert type(optimizer).__name__ == "Adam" and optimizer.defaults["lr"] == 5e-3
    assert vars(model)["standardize_returns"] and vars(model)["n_episodes"] == 1


def test_the_sequence_s_policy_is_linear() -> None:
    model = model_of(find_recipe("sequence-reinforce").config().settings)
    assert [list(p.shape) for p in model.policy.parameters()] == [[3, 1], [3]]
    assert type(model.policy.optimizer).__name__ == "AdamW"
    assert model.gamma == 0.6  # type: ignore[attr-defined]


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    nearest = "'cartpole-policy-netwrk'; the nearest is cartpole-policy-network; `pg"
    with pytest.raises(ValueError, match=f"there is no recipe {nearest}"):
        find_recipe("cartpole-policy-netwrk")
    with pytest.raises(ValueError, match="'zzz'; `pgtoy recipes` lists them"):
        find_recipe("zzz")


def test_a_variant_is_found_or_refused() -> None:
    best = SETTINGS.changed({"gamma": 1.0})
    recipe = Recipe(
        name="r",
        title="t",
        reported=NONE,
        variants={"notebook": SETTINGS, "best": best},
    )
    assert recipe.config().settings is SETTINGS
    assert recipe.config("best").settings is best
    with pytest.raises(ValueError, match=r"no variant 'bset', only .* mean best\?"):
        recipe.config("bset")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Cart Pole"}, "small letters, digits and hyphens, got 'Cart Pole'"),
        ({"variants": {}}, "recipe r must have variants"),
        ({"variants": {"x_y": SETTINGS}}, "hyphens, got 'x_y'"),
        ({"variants": {"x": {}}}, "variant x must be Settings"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    changes: dict[str, object], message: str
) -> None:
    right: dict[str, object] = {
        "name": "r",
        "title": "t",
        "reported": NONE,
        "variants": {"notebook": SETTINGS},
    }
    with pytest.raises((ValueError, TypeError), match=message):
        Recipe(**{**right, **changes})  # type: ignore[arg-type]
