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


def test_every_show_is_a_function() -> None:
    shows = [recipe.show for recipe in recipes().values() if recipe.show]
    assert len(shows) >= 12
    assert all(callable(load_hook(show)) for show in shows)


# Rows of docs/notebooks.md.
ROWS = """random-baseline cartpole-policy-network cartpole-two-headed solved-stop
notebook-view checkpoint cartpole-mc watch-trained evaluate gpu known-values
reinforce-memory periodic-evaluator learning-curve bandit-table bandit-network
bandit-plots sequence-reinforce sequence-explore reinforce-128 gaussian-policy
one-step-actor-critic gae improvements compare-networks pixelcopter-mc lunarlander
improved-lunarlander inverted-pendulum fetch-slide""".split()


def test_every_row_has_its_recipe() -> None:
    assert set(ROWS) == set(recipes()) and len(ROWS) == 30


@pytest.mark.parametrize(
    ("name", "on_the_way", "final"),
    [
        ("cartpole-mc", {100: 25.7, 200: 76.0}, 1000.0),
        (
            "pixelcopter-mc",
            {1_000: 6.0, 10_000: 18.0, 20_000: 26.0, 27_000: 36.0},
            43.0,
        ),
        ("reinforce-128", {10: 18.5, 100: 69.0, 200: 243.0, 220: 320.0}, None),
        ("one-step-actor-critic", {10: 18.7, 60: 47.0, 100: 80.0}, None),
    ],
)
def test_the_figures_of_the_notebooks(
    name: str, on_the_way: dict[int, float], final: float | None
) -> None:
    """Every average that docs/notebooks.md quotes is compared with."""
    reported = find_recipe(name).reported
    theirs = {p.episode: p.value for p in reported.points if p.value is not None}
    assert theirs == on_the_way and reported.value == final


@pytest.mark.parametrize(
    ("name", "shapes", "said"),
    [
        # A body of 128, and a head for each of policy and value.
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
    ],
)
def test_the_notebooks_settings(
    name: str, shapes: list[list[int]], said: dict[str, float]
) -> None:
    """As docs/notebooks.md states them: layers, step sizes, discounts."""
    model = model_of(find_recipe(name).config().settings)
    assert [list(p.shape) for p in model.policy.parameters()] == shapes
    assert {key: vars(model)[key] for key in said} == said
    optimizer = model.policy.optimizer
    assert type(optimizer).__name__ == "Adam" and optimizer.defaults["eps"] == 1e-8
    # Notebook E does not say which; theirs was chosen by trying.
    ours, other = "ReLU", "Tanh"
    if name == "one-step-actor-critic":
        ours, other = other, ours
    assert ours in str(model.policy) and other not in str(model.policy)


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
        ({"variants": {}}, "must have variants or a show, got neither"),
        ({"show": "m:f"}, "must have variants or a show, got both"),
        ({"show": "m"}, "show must read module:function"),
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
