"""Samplers: every draw is accepted, and restored from a storage."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from pg_agents.zoo import ALGORITHMS
from pg_agents.zoo.samplers import CONVERTERS, SAMPLERS
from pg_envs import SequenceEnv

N_TRIALS = 200
# Settings of a file that exclude some of the values that are drawn.
EXCLUDING: dict[str, dict[str, Any]] = {
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
    """Trials and their constructor arguments by algorithm."""
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
    """With one environment, and over other settings of a file."""
    accepted = inspect.signature(ALGORITHMS[algo]).parameters
    env = SequenceEnv()
    for _, arguments in trials[algo]:
        assert arguments.keys() <= accepted.keys()
        named = {**FOR_BOTH, **EXCLUDING[algo], **arguments}
        model: Any = ALGORITHMS[algo]("MlpPolicy", env, **named, device="cpu")
        for name in arguments.keys() - {"policy_kwargs", "learning_rate"}:
            attribute = {"returns": "estimator"}.get(name, name)
            assert getattr(model, attribute) == arguments[name]
        assert model.policy.has_critic == (model.baseline == "value")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_reloaded_trial_gives_the_same_arguments(algo: str, trials: Any) -> None:
    for trial, arguments in trials[algo]:
        stored = json.loads(json.dumps(trial.params))
        assert CONVERTERS[algo](stored) == arguments
        # The converter does not change its argument.
        assert stored == trial.params


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_gamma_and_the_amount_of_data_are_stored_with_the_trial(
    algo: str, trials: Any
) -> None:
    for trial, arguments in trials[algo]:
        assert trial.user_attrs["gamma"] == arguments["gamma"]
        assert 0.9 <= arguments["gamma"] < 1.0
        data = "n_episodes" if algo == "reinforce" else "n_steps"
        assert trial.user_attrs[data] == arguments[data] >= 2
