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


def schedules(zoo: Any, hyperparams: dict[str, Any]) -> dict[str, Any]:
    processed: dict[str, Any] = zoo.train.ExperimentManager._preprocess_schedules(
        hyperparams
    )
    return processed


def test_a_critic_has_a_linear_schedule_as_well(zoo: Any) -> None:
    rates = schedules(
        zoo, {"critic_learning_rate": "lin_0.5", "learning_rate": "lin_2"}
    )
    assert rates["critic_learning_rate"](0.25) == 0.125
    assert rates["learning_rate"](0.25) == 0.5
    same = {"critic_learning_rate": 0.5, "clip_range": None, "gamma": 0.9}
    assert schedules(zoo, dict(same)) == same


@pytest.mark.parametrize("text", ["0.5", "lin_", "exp_0.5", "lin_x"])
def test_a_schedule_in_another_form_is_refused(zoo: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^critic_learning_rate must be .*, got"):
        schedules(zoo, {"critic_learning_rate": text})


def test_a_linear_entropy_weight_brings_its_callback(
    experiment: Callable[..., Any],
) -> None:
    """Beside the callbacks that were asked for; a plain number brings none."""
    own = "stable_baselines3.common.callbacks.StopTrainingOnMaxEpisodes"
    mine = {"ent_coef": "lin_0.5", "callback": [{own: {"max_episodes": 3}}]}
    manager = experiment("actor_critic", hyperparams=mine)
    model, _ = manager.setup_experiment()
    names = [type(callback).__name__ for callback in manager.callbacks]
    assert names == ["StopTrainingOnMaxEpisodes", "LinearEntCoef"]
    assert manager.callbacks[1].initial_value == model.ent_coef == 0.5
    model.env.close()
    manager = experiment("actor_critic", hyperparams={"ent_coef": 0.5})
    model, _ = manager.setup_experiment()
    assert (manager.callbacks, model.ent_coef) == ([], 0.5)
    model.env.close()


def test_a_search_is_not_disturbed_by_a_schedule(
    experiment: Callable[..., Any],
) -> None:
    """The file's schedule would write over the weights that are tried."""
    falling = {"ent_coef": "lin_0.5"}
    named = {"hyperparams": falling, "optimize_hyperparameters": True}
    manager = experiment("actor_critic", n_timesteps=100, n_evaluations=1, **named)
    assert manager.setup_experiment() is None
    assert manager.specified_callbacks == []
    assert manager._hyperparams["ent_coef"] == 0.5


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
