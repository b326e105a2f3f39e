"""Hyperparameter files and schedules: the models that rl_zoo3 makes of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pg_agents.zoo
from pg_agents.zoo import ALGORITHMS, samplers

FOLDER = Path(pg_agents.zoo.__file__).parent / "hyperparams"
ENVIRONMENTS = [
    "PGToy-Bandit-v0",
    "PGToy-Sequence-v0",
    "CartPole-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "MountainCarContinuous-v0",
]
# Keys that rl_zoo3 reads itself.
ZOO_KEYS = {"n_timesteps", "n_envs", "normalize"}
SCHEDULES = ("learning_rate", "critic_learning_rate", "clip_range", "ent_coef")
Experiment = Callable[..., Any]


def entries(algo: str) -> dict[str, dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="rl_zoo3 reads YAML")
    content: dict[str, dict[str, Any]] = yaml.safe_load(
        (FOLDER / f"{algo}.yml").read_text()
    )
    return content


def model_of(experiment: Any) -> Any:
    model, _ = experiment.setup_experiment()
    model.env.close()
    return model


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_files_have_arguments_of_the_constructor_and_nothing_else(algo: str) -> None:
    accepted = set(inspect.signature(ALGORITHMS[algo]).parameters) | ZOO_KEYS
    assert set(entries(algo)) == {"default", *ENVIRONMENTS}
    for env, hyperparams in entries(algo).items():
        assert set(hyperparams) <= accepted, env
        assert {"n_timesteps", "policy"} <= set(hyperparams), env


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env", [*ENVIRONMENTS, "Pendulum-v1"])
def test_files_build_the_models_they_describe(
    algo: str, env: str, experiment: Experiment
) -> None:
    """The last environment has no entry and takes the default."""
    model = model_of(experiment(algo, env, seed=0))
    assert type(model) is ALGORITHMS[algo]
    hyperparams = entries(algo).get(env, entries(algo)["default"])
    assert model.n_envs == hyperparams["n_envs"]
    assert type(model.policy).__name__ == hyperparams["policy"]
    attributes = hyperparams.keys() - ZOO_KEYS - {"policy", "policy_kwargs"}
    for name in attributes:
        value = hyperparams[name]
        actual = getattr(model, "lr_schedule" if name == "learning_rate" else name)
        if callable(actual):
            is_linear = isinstance(value, str)
            first = float(value.removeprefix("lin_")) if is_linear else value
            assert actual(1) == first, name
            assert actual(0.25) == pytest.approx(first * (0.25 if is_linear else 1))
        else:
            assert actual == value, name
    normalized = model.get_vec_normalize_env() is not None
    assert normalized == hyperparams.get("normalize", False)


def test_a_conf_file_replaces_ours(experiment: Experiment, tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("default: {n_timesteps: 7, policy: MlpPolicy, gamma: 0.25}")
    model = model_of(experiment("reinforce", config=str(file)))
    assert (model.gamma, model.n_episodes) == (0.25, 1)


def test_other_algorithms_keep_their_files_and_settings(
    experiment: Experiment, zoo: Any
) -> None:
    assert Path(experiment("ppo").config).parent.parent == Path(zoo.__file__).parent
    hyperparams = {"ent_coef": "auto", "buffer_size": 100, "learning_rate": "lin_0.5"}
    model = model_of(experiment("sac", "Pendulum-v1", hyperparams=hyperparams))
    assert model.ent_coef == "auto" and model.learning_rate(0.5) == 0.25


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_schedule_reaches_the_model(experiment: Experiment, algo: str) -> None:
    hyperparams: dict[str, Any] = dict.fromkeys(SCHEDULES, "lin_0.5")
    if algo == "reinforce":
        hyperparams["baseline"] = "value"
    model = model_of(experiment(algo, hyperparams=hyperparams))
    for name in SCHEDULES:
        assert [getattr(model, name)(left) for left in (1, 0.5)] == [0.5, 0.25]


@pytest.mark.parametrize("name", ["critic_learning_rate", "learning_rate", "ent_coef"])
@pytest.mark.parametrize("text", ["0.5", "lin_", "exp_0.5", "lin_x"])
def test_a_malformed_schedule_raises(
    experiment: Experiment, name: str, text: str
) -> None:
    manager = experiment("actor_critic", hyperparams={name: text})
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        manager.setup_experiment()


def test_a_trial_is_reloaded_by_its_number(
    experiment: Experiment, tmp_path: Path
) -> None:
    """Also if it has None, which rl_zoo3 refuses for its own schedules."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "study.log"
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
        study_name="one",
        sampler=optuna.samplers.RandomSampler(seed=0),
        direction="maximize",
    )
    for value in range(4):
        trial = study.ask()
        samplers.sample_reinforce_params(trial, 0, 1, {})
        study.tell(trial, value)
    assert any(trial.params["clip_range"] is None for trial in study.trials[1:])
    for trial in study.trials[1:]:
        storage = {"storage": str(path), "study_name": "one"}
        model = model_of(experiment("reinforce", trial_id=trial.number, **storage))
        assert model.gamma == 1 - trial.params["one_minus_gamma"]
        assert model.n_episodes == 2 ** trial.params["n_episodes_pow"]
        assert model.baseline == trial.params["baseline"]


def test_tuning_a_policy_without_a_network_raises(experiment: Experiment) -> None:
    tuning = {"optimize_hyperparameters": True}
    with pytest.raises(ValueError, match="got policy 'TabularPolicy'"):
        experiment("reinforce", "FrozenLake-v1", **tuning).read_hyperparameters()
    experiment("reinforce", **tuning).read_hyperparameters()
