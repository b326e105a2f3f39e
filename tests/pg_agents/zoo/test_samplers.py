"""Whatever Optuna draws is accepted, and comes back from a storage as it was."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from pg_agents.zoo import ALGORITHMS
from pg_agents.zoo.samplers import CONVERTERS, SAMPLERS
from pg_envs import SequenceEnv

N_TRIALS = 200
# Settings of a file that some values would contradict, if they were left as they are.
CONTRARY: dict[str, dict[str, Any]] = {
    "reinforce": {"n_steps": 8, "bootstrap": True, "target_update_interval": 4},
    "actor_critic": {"n_episodes": 3, "estimator": "n_step", "td_steps": 4},
}
FOR_BOTH = {
    "weight_by_gamma_t": True,
    "clip_range_vf": 0.2,
    "tau": 0.5,
    "memory_size": 500,
    "learning_starts": 100,
    "gradient_steps": 2,
}


@pytest.fixture(scope="module")
def trials() -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    """By algorithm, trials and what was made of them."""
    optuna = pytest.importorskip("optuna", reason="the extra zoo tunes with it")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for algo, sample in SAMPLERS.items():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        drawn[algo] = []
        for _ in range(N_TRIALS):
            trial = study.ask()
            drawn[algo].append((trial, sample(trial, 0, 1, {})))
    return drawn


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_trial_builds_a_model(algo: str, trials: Any) -> None:
    """With one environment, the fewest, and over whatever a file has set."""
    accepted = inspect.signature(ALGORITHMS[algo]).parameters
    env = SequenceEnv()
    for _, arguments in trials[algo]:
        assert arguments.keys() <= accepted.keys()
        given = {**FOR_BOTH, **CONTRARY[algo], **arguments}
        model: Any = ALGORITHMS[algo]("MlpPolicy", env, **given, device="cpu")
        for name in arguments.keys() - {"policy_kwargs", "learning_rate"}:
            kept_as = {"returns": "estimator"}.get(name, name)
            assert getattr(model, kept_as) == arguments[name]
        assert model.policy.has_critic == (model.baseline == "value")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_reloaded_trial_gives_the_same_arguments(algo: str, trials: Any) -> None:
    for trial, arguments in trials[algo]:
        stored = json.loads(json.dumps(trial.params))
        assert CONVERTERS[algo](stored) == arguments
        # The converter leaves what it is given alone.
        assert stored == trial.params


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_space_is_that_of_every_trial(algo: str, trials: Any) -> None:
    assert len({tuple(sorted(trial.params)) for trial, _ in trials[algo]}) == 1
    values: dict[str, set[Any]] = {}
    for trial, _ in trials[algo]:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    assert all(len(drawn) > 1 for drawn in values.values())
    assert values["critic"] == {"separate", "shared"}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_discount_and_amount_of_data_are_noted(algo: str, trials: Any) -> None:
    for trial, arguments in trials[algo]:
        assert trial.user_attrs["gamma"] == arguments["gamma"]
        assert 0.9 <= arguments["gamma"] < 1.0
        data = "n_episodes" if algo == "reinforce" else "n_steps"
        assert trial.user_attrs[data] == arguments[data] >= 2
