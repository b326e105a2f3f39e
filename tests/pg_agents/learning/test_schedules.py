"""A schedule is asked at progress in [0, 1], and what it returns is checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE

# Settings that make an argument matter, by the name of the argument.
NAMES: dict[str, dict[str, Any]] = {
    "learning_rate": {},
    "critic_learning_rate": {"baseline": "value"},
    "ent_coef": {},
    "clip_range": {"n_epochs": 2},
    "clip_range_vf": {"baseline": "value", "clip_range": 0.2},
}
AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "episodes": (REINFORCE, {"n_episodes": 2}),
    "steps": (REINFORCE, {"n_steps": 16}),
    "mini-batches": (REINFORCE, {"n_steps": 16, "batch_size": 8}),
    "actor-critic": (ActorCritic, {"n_steps": 16}),
    "actor-critic, episodes": (ActorCritic, {"n_steps": None, "n_episodes": 2}),
    "memory": (REINFORCE, {"n_episodes": 2, "memory_size": 200}),
}
CASES = [
    (agent, name)
    for agent in AGENTS
    for name in NAMES
    # A memory holds what other policies did: nothing to clip against.
    if agent != "memory" or not name.startswith("clip")
]


def model_with(
    agent: str, kind: str, name: str, schedule: Callable[[float], Any]
) -> Any:
    algorithm, settings = AGENTS[agent]
    more = dict(NAMES[name])
    if algorithm is ActorCritic:
        more.pop("baseline", None)
    env = KINDS[kind](CARTPOLE if kind != "torch" else SEQUENCE, 8)
    given = {"seed": 0, "device": "cpu", **settings, **more, name: schedule}
    return algorithm("MlpPolicy", env, **given)


# Every argument with every agent, and every kind of environment with every agent.
RUNS = [
    *((agent, name, "dummy") for agent, name in CASES),
    *((agent, "learning_rate", kind) for agent in AGENTS for kind in KINDS),
]


@pytest.mark.filterwarnings("ignore:the first update has the step size")
@pytest.mark.parametrize("total", [1, 300])
@pytest.mark.parametrize(("agent", "name", "kind"), RUNS)
def test_progress_stays_within_the_unit_interval(
    agent: str, name: str, kind: str, total: int
) -> None:
    """The rollout that is the last goes on beyond `total_timesteps`."""
    asked: list[float] = []

    def linear(progress: float) -> float:
        asked.append(progress)
        return 0.1 * progress

    model = model_with(agent, kind, name, linear)
    asked.clear()
    model.learn(total)
    assert model.num_timesteps >= total
    assert asked
    assert 0.0 <= min(asked) <= max(asked) <= 1.0
    assert asked[-1] == 0.0
    # Going on counts from where it was.
    asked.clear()
    model.learn(total, reset_num_timesteps=False)
    assert 0.0 <= min(asked) <= max(asked) <= 1.0


@pytest.mark.parametrize(
    "bad", [-0.1, math.nan, math.inf, "0.1", None], ids=lambda bad: repr(bad)
)
@pytest.mark.parametrize(("agent", "name"), CASES)
def test_a_bad_number_is_refused_by_the_arguments_name(
    agent: str, name: str, bad: Any
) -> None:
    """Both ends are good, which is all that can be known when the model is made."""

    def schedule(progress: float) -> Any:
        return 0.1 if progress in (0.0, 1.0) else bad

    model = model_with(agent, "dummy", name, schedule)
    with pytest.raises(ValueError, match=rf"^{name}\(0\.\d+\) must be a finite number"):
        model.learn(2_000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_update_that_changes_nothing_is_warned_of(kind: str) -> None:
    model = model_with("episodes", kind, "learning_rate", lambda p: 0.1 * p)
    with pytest.warns(UserWarning, match=r"learning_rate\(0\) = 0 and changes nothing"):
        model.learn(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(4 * model.num_timesteps)
