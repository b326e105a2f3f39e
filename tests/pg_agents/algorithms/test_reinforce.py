"""REINFORCE: what it learns, and what its constructor refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
import torch

from pg_agents import REINFORCE, TabularPolicy

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


@pytest.mark.parametrize("name", ["standardize_returns", "normalize_advantage"])
def test_a_batch_of_one_step_can_be_standardised(name: str) -> None:
    """The standard deviation of one number is NaN."""
    env = gymnasium.make("pg_envs:PGToy-Bandit-v0", observation="index")
    arguments: dict[str, Any] = {name: True, "n_steps": 1, "gamma": 0.0, "seed": 0}
    model = REINFORCE("TabularPolicy", env, learning_rate=0.5, **arguments)
    model.learn(50)
    assert isinstance(model.policy, TabularPolicy)
    logits = model.policy.logits
    assert torch.isfinite(logits).all()
    assert logits.argmax() == 0
    assert logits[0, 0] > 0.5


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        model = REINFORCE("MlpPolicy", SEQUENCE, seed=7, baseline="value").learn(400)
        weights.append([p.detach().clone() for p in model.policy.parameters()])
    for first, second in zip(*weights, strict=True):
        assert torch.equal(first, second)


def test_the_first_example_runs_without_other_imports() -> None:
    code = (
        "from pg_agents import REINFORCE; "
        'REINFORCE("MlpPolicy", "pg_envs:PGToy-Sequence-v0").learn(500)'
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # Refused before, while and after the environment is made.
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"baseline": "mean"}, "needs at least 2 per update, got n_envs=1"),
        (
            {"baseline": "value", "policy_kwargs": {"critic": "none"}},
            "the baseline is a learned value and needs a critic",
        ),
        ({"policy": "TabularPolicy"}, "needs a Discrete observation space"),
        (
            {"policy": "TablePolicy"},
            "policy must be one of 'MlpPolicy', .*, 'TabularPolicy' or a class .* got "
            "'TablePolicy'",
        ),
        ({"policy": "MultiInputPolicy"}, "MultiInputPolicy needs a Dict observation"),
    ],
)
def test_a_refused_constructor_closes_its_environment(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_envs: list[Any] = []
    make: Callable[..., Any] = gymnasium.make

    def tracked_make(*args: Any, **kwargs: Any) -> Any:
        env = make(*args, **kwargs)
        open_envs.append(env)
        close = env.close

        def tracked_close() -> None:
            open_envs.remove(env)
            close()

        monkeypatch.setattr(env, "close", tracked_close)
        return env

    monkeypatch.setattr(gymnasium, "make", tracked_make)
    with pytest.raises(ValueError, match=message):
        REINFORCE(**{"policy": "MlpPolicy", "env": SEQUENCE, **arguments})
    assert open_envs == []
