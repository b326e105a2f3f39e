"""PolicyGradientConfig and the settings of a model, which are its fields."""

from __future__ import annotations

import inspect
import io
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic
from pg_agents.algorithms.config import SETTINGS, PolicyGradientConfig
from tests.pg_agents.kinds import CARTPOLE, KINDS

ALGORITHMS: list[Any] = [REINFORCE, ActorCritic]
N_ENVS, N_STEPS = 3, 8
WITH_CRITIC = {"baseline": "value"}
WITH_MEMORY = {"memory_size": 100}
SEVERAL_EPOCHS = {"n_epochs": 4, "learning_rate": 0.05}
# Setting -> algorithm, arguments that make it matter, another value, a bad value.
EXAMPLES: dict[str, tuple[Any, dict[str, Any], Any, Any]] = {
    "n_steps": (ActorCritic, {}, 4, 0),
    "n_episodes": (REINFORCE, {"n_steps": None, "n_episodes": 1}, 2, 1.5),
    "max_episode_steps": (REINFORCE, {"n_steps": None}, 3, 0),
    "gamma": (ActorCritic, {}, 0.5, 1.1),
    "estimator": (ActorCritic, {}, "td", "monte_carlo"),
    "baseline": (REINFORCE, {}, "leave_one_out", "median"),
    "gae_lambda": (ActorCritic, {}, 0.5, -0.1),
    "td_steps": (ActorCritic, {"estimator": "n_step"}, 3, 0),
    "bootstrap": (REINFORCE, WITH_CRITIC, True, "yes"),
    "bootstrap_truncated": (ActorCritic, {}, False, None),
    "standardize_returns": (REINFORCE, {}, True, 2),
    "normalize_advantage": (REINFORCE, {}, True, "no"),
    "weight_by_gamma_t": (REINFORCE, {"gamma": 0.5}, True, None),
    "learning_rate": (REINFORCE, {}, 0.1, -1.0),
    "critic_learning_rate": (ActorCritic, {}, 0.05, "x"),
    "ent_coef": (REINFORCE, {}, 0.5, -1.0),
    "vf_coef": (ActorCritic, {}, 5.0, -1.0),
    "max_grad_norm": (ActorCritic, {"use_rms_prop": False}, None, 0.0),
    "n_epochs": (REINFORCE, {}, 2, 0),
    "batch_size": (REINFORCE, {}, 4, 2.5),
    "clip_range": (REINFORCE, SEVERAL_EPOCHS, 0.01, 0.0),
    "clip_range_vf": (ActorCritic, SEVERAL_EPOCHS, 0.01, -0.2),
    "target_kl": (REINFORCE, SEVERAL_EPOCHS, 1e-4, 0.0),
    "critic_loss": (ActorCritic, {}, "huber", "l1"),
    "target_update_interval": (ActorCritic, {}, 3, 0),
    "tau": (ActorCritic, {"target_update_interval": 1}, 0.25, 0.0),
    "memory_size": (REINFORCE, {}, 100, 0),
    "learning_starts": (REINFORCE, {"memory_size": 1000}, 200, 1001),
    "gradient_steps": (REINFORCE, WITH_MEMORY, 3, 0),
    "replay": (REINFORCE, WITH_MEMORY, "returns", "v_trace"),
    "rho_clip": (ActorCritic, WITH_MEMORY, 0.5, 0.0),
    "c_clip": (ActorCritic, WITH_MEMORY, 0.5, float("nan")),
}
EACH_SETTING = pytest.mark.parametrize("name", EXAMPLES)


pytestmark = [
    pytest.mark.filterwarnings("ignore:an episode was still running"),
    pytest.mark.filterwarnings("ignore:replay=.* can't use the rollouts"),
]


def argument(algorithm: Any, name: str) -> str:
    """Returns what the constructor calls a setting."""
    return "returns" if (algorithm, name) == (REINFORCE, "estimator") else name


def make_env() -> Any:
    return KINDS["dummy"](CARTPOLE, N_ENVS, max_episode_steps=5)


def make_model(name: str, **arguments: Any) -> Any:
    """Returns a model for which a setting matters."""
    algorithm, others, _, _ = EXAMPLES[name]
    given = {"n_steps": N_STEPS, "learning_rate": 0.02, "seed": 3, "device": "cpu"}
    return algorithm("MlpPolicy", make_env(), **{**given, **others, **arguments})


def trained_weights(model: Any, **arguments: Any) -> Tensor:
    """Returns the weights after some rollouts."""
    model.learn(4 * N_STEPS * N_ENVS, **arguments)
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


def saved(model: Any) -> io.BytesIO:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return file


def test_there_is_an_example_of_every_setting() -> None:
    # Where gradients come from changes nothing that is learnt, see test_gradients.
    assert set(EXAMPLES) == set(SETTINGS) - {"gradients"}


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        PolicyGradientConfig().gamma = 0.5  # type: ignore[misc]


@EACH_SETTING
def test_a_config_checks_itself_when_made_and_when_replaced(name: str) -> None:
    config = make_model(name).config
    _, _, value, bad = EXAMPLES[name]
    assert getattr(replace(config, **{name: value}), name) == value
    if name == "replay":
        # Only the constructor of REINFORCE has no V-trace.
        bad = "none"
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        replace(config, **{name: bad})
    fields = {field: getattr(config, field) for field in SETTINGS}
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        PolicyGradientConfig(**{**fields, name: bad})


@EACH_SETTING
def test_a_setting_is_an_attribute_that_replaces_the_config(name: str) -> None:
    model = make_model(name)
    _, _, value, bad = EXAMPLES[name]
    before = model.config
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        setattr(model, name, bad)
    assert model.config is before
    setattr(model, name, value)
    assert getattr(model, name) == getattr(model.config, name) == value
    assert model.config == replace(before, **{name: value})


@EACH_SETTING
def test_an_assigned_setting_trains_as_one_that_was_passed(name: str) -> None:
    algorithm, _, value, _ = EXAMPLES[name]
    assigned = make_model(name)
    setattr(assigned, name, value)
    weights = trained_weights(assigned)
    passed = make_model(name, **{argument(algorithm, name): value})
    torch.testing.assert_close(weights, trained_weights(passed))
    assert (weights - trained_weights(make_model(name))).abs().max() > 1e-4


@EACH_SETTING
def test_a_setting_assigned_after_learn_takes_effect_in_the_next_learn(
    name: str,
) -> None:
    _, _, value, _ = EXAMPLES[name]
    weights = []
    for assigns in (False, True):
        model = make_model(name)
        trained_weights(model)
        if assigns:
            setattr(model, name, value)
        weights.append(trained_weights(model, reset_num_timesteps=False))
    assert (weights[0] - weights[1]).abs().max() > 1e-4


@EACH_SETTING
def test_assigning_a_setting_and_its_old_value_changes_nothing(name: str) -> None:
    _, _, value, _ = EXAMPLES[name]
    model = make_model(name)
    old = getattr(model, name)
    setattr(model, name, value)
    setattr(model, name, old)
    torch.testing.assert_close(
        trained_weights(model), trained_weights(make_model(name))
    )


@EACH_SETTING
def test_load_takes_settings_and_checks_them(name: str) -> None:
    algorithm, _, value, bad = EXAMPLES[name]
    model = make_model(name)
    file = saved(model)
    assert algorithm.load(file).config == model.config
    loaded = algorithm.load(file, env=make_env(), device="cpu", **{name: value})
    assert loaded.config == replace(model.config, **{name: value})
    loaded.learn(1)
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        algorithm.load(file, **{name: bad})


@EACH_SETTING
def test_custom_objects_replace_settings_that_are_not_none(name: str) -> None:
    algorithm, _, value, bad = EXAMPLES[name]
    model = make_model(name)
    file = saved(model)
    loaded = algorithm.load(file, custom_objects={name: value})
    if getattr(model, name) is None:
        assert loaded.config == model.config
        return
    assert loaded.config == replace(model.config, **{name: value})
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        algorithm.load(file, custom_objects={name: bad})


def test_returns_of_reinforce_is_the_estimator() -> None:
    model: Any = REINFORCE("MlpPolicy", make_env(), returns="full_return")
    assert model.returns == model.estimator == model.config.estimator == "full_return"
    model.returns = "reward_to_go"
    assert model.estimator == "reward_to_go"
    file = saved(model)
    assert REINFORCE.load(file).returns == "reward_to_go"
    assert REINFORCE.load(file, returns="full_return").estimator == "full_return"
    custom_objects = {"estimator": "full_return"}
    loaded = REINFORCE.load(file, custom_objects=custom_objects)
    assert loaded.returns == "full_return"


def test_a_model_without_a_critic_refuses_the_baseline_value() -> None:
    model = REINFORCE("MlpPolicy", make_env())
    with pytest.raises(ValueError, match="critic"):
        model.baseline = "value"


def test_a_file_without_a_critic_cannot_be_loaded_with_the_baseline_value() -> None:
    file = saved(REINFORCE("MlpPolicy", make_env()))
    with pytest.raises(RuntimeError, match="parameters do not fit the model"):
        REINFORCE.load(file, baseline="value")


@pytest.mark.parametrize(
    ("algorithm", "arguments", "name", "value"),
    [
        (REINFORCE, {"baseline": "value"}, "returns", "gae"),
        (REINFORCE, {"memory_size": 8}, "replay", "v_trace"),
        (ActorCritic, {}, "estimator", "reward_to_go"),
        (ActorCritic, {"memory_size": 8}, "replay", "importance"),
    ],
)
def test_a_model_refuses_what_its_constructor_refuses(
    algorithm: Any, arguments: dict[str, Any], name: str, value: str
) -> None:
    model = algorithm("MlpPolicy", make_env(), **arguments)
    with pytest.raises(ValueError, match=f"{name} must be one of .* got '{value}'"):
        setattr(model, name, value)
    with pytest.raises(ValueError, match="must be one of"):
        algorithm.load(saved(model), **{name: value})


def test_changing_replay_empties_the_memory_with_a_warning() -> None:
    model: Any = REINFORCE("MlpPolicy", make_env(), memory_size=100).learn(20)
    with pytest.warns(UserWarning, match="replay memory, which is emptied"):
        model.replay = "returns"
    assert len(model.replay_memory) == 0
    model.learn(20)


def test_a_model_whose_critic_learning_rate_became_none_can_be_loaded() -> None:
    model = make_model("vf_coef", critic_learning_rate=0.5)
    model.critic_learning_rate = None
    ActorCritic.load(saved(model))


def test_critic_learning_rate_of_none_is_the_learning_rate() -> None:
    model = make_model("vf_coef", critic_learning_rate=0.5)
    model.critic_learning_rate = None
    model.learn(1)
    assert {group["lr"] for group in model.policy.optimizer.param_groups} == {0.02}


# The amount of data: either n_steps or n_episodes, with a default.
@pytest.mark.parametrize(
    ("algorithm", "arguments", "n_steps", "n_episodes"),
    [
        (ActorCritic, {}, 5, None),
        (ActorCritic, {"n_episodes": 2}, None, 2),
        (ActorCritic, {"n_steps": 7, "n_episodes": None}, 7, None),
        (REINFORCE, {}, None, 1),
        (REINFORCE, {"n_steps": 2}, 2, None),
        (REINFORCE, {"n_episodes": 3, "n_steps": None}, None, 3),
    ],
)
def test_amount_of_data_has_a_default(
    algorithm: Any, arguments: dict[str, Any], n_steps: object, n_episodes: object
) -> None:
    model = algorithm("MlpPolicy", make_env(), **arguments)
    assert (model.n_steps, model.n_episodes) == (n_steps, n_episodes)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_n_steps_and_n_episodes_are_exclusive(algorithm: Any) -> None:
    message = "either n_steps or n_episodes.* got n_steps=16 and n_episodes=1"
    with pytest.raises(ValueError, match=message):
        algorithm("MlpPolicy", make_env(), n_steps=16, n_episodes=1)
    model = algorithm("MlpPolicy", make_env(), n_steps=16)
    with pytest.raises(ValueError, match=message):
        model.n_episodes = 1
    # One leaves n_steps by assigning None.
    model.n_steps = None
    assert (model.n_steps, model.n_episodes) == (None, 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("arguments", [{}, {"n_steps": 16}, {"n_episodes": 2}])
def test_defaults_can_be_written_out(algorithm: Any, arguments: dict[str, Any]) -> None:
    """As a configuration tool does."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(algorithm).parameters.items()
        if parameter.default is not parameter.empty
    }
    model = algorithm("MlpPolicy", make_env(), **{**defaults, **arguments})
    assert model.config == algorithm("MlpPolicy", make_env(), **arguments).config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bootstrap": True}, "bootstrap=True bootstraps.* got baseline='none'"),
        ({"estimator": "td"}, "estimator='td' bootstraps.* got baseline='none'"),
        (
            {"weight_by_gamma_t": True, "estimator": "full_return"},
            "would discount twice",
        ),
        (WITH_CRITIC | {"td_steps": 3}, "td_steps=3 belongs to estimator='n_step'"),
        ({"gae_lambda": 0.5}, "gae_lambda=0.5 belongs to estimator='gae'"),
        ({"tau": 0.5}, "tau=0.5 belongs to a target network"),
        (WITH_CRITIC | {"target_update_interval": 2}, "needs bootstrap=True"),
        *(
            ({name: value}, f"{name}={value!r} needs a critic, baseline='value'")
            for name, value in (
                ("critic_learning_rate", 0.1),
                ("clip_range_vf", 0.2),
                ("target_update_interval", 5),
                ("critic_loss", "huber"),
            )
        ),
        (
            {"batch_size": 4, "normalize_advantage": True, "weight_by_gamma_t": True},
            "choose two of the three",
        ),
        ({"learning_starts": 5}, "learning_starts=5 belongs to a replay memory"),
        ({"gradient_steps": 2}, "gradient_steps=2 belongs to a replay memory"),
        (
            WITH_MEMORY | {"learning_starts": 101},
            "learning_starts must be at most memory_size=100, got 101",
        ),
        (WITH_MEMORY | {"clip_range": 0.2}, "clip_range=0.2 needs on-policy data"),
        (WITH_MEMORY | {"n_epochs": 2}, "use gradient_steps"),
        (WITH_MEMORY | {"batch_size": 2}, "no mini-batches"),
        (WITH_MEMORY | {"estimator": "full_return"}, "needs returns='reward_to_go'"),
        (WITH_MEMORY | {"standardize_returns": True}, "standardize_returns=True"),
        (
            WITH_MEMORY | WITH_CRITIC | {"replay": "v_trace", "estimator": "n_step"},
            "needs estimator='gae' or 'td', got estimator='n_step'",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyGradientConfig(**settings)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
def test_a_baseline_over_trajectories_needs_two(baseline: Any) -> None:
    message = f"baseline='{baseline}' .* needs at least 2 per update, got n_envs=1"
    with pytest.raises(ValueError, match=message):
        REINFORCE("MlpPolicy", KINDS["single"](CARTPOLE), baseline=baseline)
    model = REINFORCE("MlpPolicy", KINDS["single"](CARTPOLE))
    with pytest.raises(ValueError, match=message):
        model.baseline = baseline
    model.n_episodes = 2
    model.baseline = baseline
    with pytest.raises(ValueError, match=message):
        model.n_episodes = 1
