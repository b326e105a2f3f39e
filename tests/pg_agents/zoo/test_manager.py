"""Where hyperparameters come from, and what becomes of schedules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pg_agents.zoo import samplers


def test_a_conf_file_of_the_users_own_wins(
    experiment: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("default: {n_timesteps: 7, policy: MlpPolicy, gamma: 0.25}")
    manager = experiment("reinforce", config=str(file))
    assert manager.read_hyperparameters()[1]["gamma"] == 0.25
    model, _ = experiment("reinforce", config=str(file)).setup_experiment()
    assert (model.gamma, model.n_episodes) == (0.25, 1)
    model.env.close()


def test_the_algorithms_of_others_keep_their_files(
    experiment: Callable[..., Any], zoo: Any
) -> None:
    assert Path(experiment("ppo").config).parent.parent == Path(zoo.__file__).parent
    assert Path(experiment("reinforce").config).parent.parent.name == "zoo"


def test_a_number_or_none_is_no_schedule(experiment: Callable[..., Any]) -> None:
    given = {"critic_learning_rate": 0.5, "clip_range": None, "gamma": 0.9}
    model, _ = experiment("actor_critic", hyperparams=given).setup_experiment()
    assert {name: getattr(model, name) for name in given} == given
    model.env.close()


@pytest.mark.parametrize("name", ["critic_learning_rate", "learning_rate", "ent_coef"])
@pytest.mark.parametrize("text", ["0.5", "lin_", "exp_0.5", "lin_x"])
def test_a_schedule_in_another_form_is_refused(
    experiment: Callable[..., Any], name: str, text: str
) -> None:
    manager = experiment("actor_critic", hyperparams={name: text})
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        manager.setup_experiment()


def test_the_algorithms_of_others_keep_their_settings(
    experiment: Callable[..., Any],
) -> None:
    """SAC has a text for a number: 'auto'."""
    given = {"ent_coef": "auto", "buffer_size": 100, "learning_rate": "lin_0.5"}
    model, _ = experiment("sac", "Pendulum-v1", hyperparams=given).setup_experiment()
    assert model.ent_coef == "auto" and model.learning_rate(0.5) == 0.25
    model.env.close()


@pytest.mark.parametrize("algo", ["reinforce", "actor_critic"])
def test_schedules_reach_the_model(experiment: Callable[..., Any], algo: str) -> None:
    names = ("ent_coef", "critic_learning_rate", "clip_range", "learning_rate")
    falling: dict[str, Any] = dict.fromkeys(names, "lin_0.5")
    if algo == "reinforce":
        falling["baseline"] = "value"
    model, _ = experiment(algo, hyperparams=falling).setup_experiment()
    for name in names:
        assert [getattr(model, name)(left) for left in (1, 0.5)] == [0.5, 0.25]
    model.env.close()
    fixed = experiment(algo, hyperparams={"ent_coef": 0.5})
    model, _ = fixed.setup_experiment()
    assert model.ent_coef == 0.5
    model.env.close()


@pytest.fixture
def study(zoo: Any, tmp_path: Path) -> Any:
    """A study of three trials, the second of which is the best."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "study.log"
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
        study_name="one",
        sampler=optuna.samplers.RandomSampler(seed=0),
        direction="maximize",
    )
    for value in (1.0, 2.0, 0.0):
        trial = study.ask()
        samplers.sample_reinforce_params(trial, 0, 1, {})
        study.tell(trial, value)
    return study


@pytest.mark.parametrize(("trial_id", "number"), [(None, 1), (0, 0), (1, 1), (2, 2)])
def test_a_trial_is_reloaded_and_without_a_number_the_best(
    experiment: Callable[..., Any],
    study: Any,
    tmp_path: Path,
    trial_id: int | None,
    number: int,
) -> None:
    named = {"storage": str(tmp_path / "study.log"), "study_name": "one"}
    manager = experiment("reinforce", trial_id=trial_id, **named)
    model, saved = manager.setup_experiment()
    params = study.trials[number].params
    assert saved["learning_rate"] == params["learning_rate"]
    assert model.gamma == 1 - params["one_minus_gamma"]
    assert model.n_episodes == 2 ** params["n_episodes_pow"]
    assert model.baseline == params["baseline"]
    model.env.close()


def test_what_the_user_says_goes_before_the_trial(
    experiment: Callable[..., Any], study: Any, tmp_path: Path
) -> None:
    manager = experiment(
        "reinforce",
        storage=str(tmp_path / "study.log"),
        study_name="one",
        hyperparams={"gamma": 0.125},
    )
    hyperparams, _ = manager.read_hyperparameters()
    assert hyperparams["gamma"] == 0.125
    assert hyperparams["vf_coef"] == study.trials[1].params["vf_coef"]


def test_a_table_has_no_network_to_tune(experiment: Callable[..., Any]) -> None:
    named = {"optimize_hyperparameters": True}
    with pytest.raises(ValueError, match="got policy 'TabularPolicy'"):
        experiment("reinforce", "FrozenLake-v1", **named).read_hyperparameters()
    experiment("reinforce", **named).read_hyperparameters()
