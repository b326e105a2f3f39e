"""Numbers of steps, episodes and the like: what is none is refused by its name."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    check_policy_gradient,
    clone_behaviour,
    record_demonstrations,
)
from pg_agents.callbacks import (
    KeepCheckpoints,
    ProgressCallback,
    Recorder,
    RunningReward,
    StopOnInterrupt,
    StopWhenSolved,
    remaining_timesteps,
)
from pg_agents.experiments import find_recipe, run_seeds
from pg_agents.experiments.pretrained import find_pretrained
from pg_agents.experiments.viewer import record, watch

ID = "pg_envs:PGToy-Sequence-v0"
AGENTS: tuple[Any, ...] = (REINFORCE, ActorCritic, RandomAgent)
NAN, INF = float("nan"), float("inf")
# No whole number, whatever is counted.
NO_COUNTS: tuple[Any, ...] = (
    -5,
    -1.0,
    1.5,
    NAN,
    INF,
    -INF,
    "1000",
    b"3",
    True,
    np.True_,
    torch.tensor(True),
    [3],
    (3,),
    np.array([1, 2]),
    1j,
    ...,
)
NO_BOOLS: tuple[Any, ...] = ("yes", "False", None, 2, 0.5, [True])


def small(agent: Any) -> Any:
    # A rollout of a few steps.
    few = {} if agent is RandomAgent else {"n_steps": 4}
    return agent("MlpPolicy", ID, seed=0, **few)


@pytest.mark.parametrize("given", NO_COUNTS, ids=repr)
@pytest.mark.parametrize("agent", AGENTS)
def test_what_is_no_number_of_steps_is_refused(agent: Any, given: Any) -> None:
    model = small(agent)
    with pytest.raises(ValueError, match=r"^total_timesteps must be an integer >= 0"):
        model.learn(given)
    # Nothing has begun.
    assert model.num_timesteps == 0


@pytest.mark.parametrize(
    "given", [8, np.int64(8), np.uint8(8), 8.0, 8e0, np.float32(8), np.array(8)]
)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_number_of_steps_may_be_written_as_a_float(agent: Any, given: Any) -> None:
    model, other = small(agent).learn(given), small(agent).learn(8)
    assert model.num_timesteps == other.num_timesteps == 8
    for one, two in zip(
        model.policy.parameters(), other.policy.parameters(), strict=True
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize("nothing", [0, 0.0, np.int64(0)])
@pytest.mark.parametrize("progress_bar", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_no_steps_teach_nothing_as_with_a2c(
    agent: Any, progress_bar: bool, nothing: Any
) -> None:
    model = small(agent)
    before = [each.clone() for each in model.policy.parameters()]
    assert model.learn(nothing, progress_bar=progress_bar) is model
    assert model.num_timesteps == 0
    for one, two in zip(before, model.policy.parameters(), strict=True):
        assert torch.equal(one, two)
    assert model.learn(4).num_timesteps == 4


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [
        *(("log_interval", given, ValueError) for given in (0, *NO_COUNTS)),
        *(("tb_log_name", given, TypeError) for given in (3, b"run", ["run"], True)),
        *(("reset_num_timesteps", given, ValueError) for given in NO_BOOLS),
        *(("progress_bar", given, ValueError) for given in NO_BOOLS),
        *(
            ("callback", given, TypeError)
            for given in (
                3,
                "StopWhenSolved",
                StopOnInterrupt,
                BaseCallback,
                (StopOnInterrupt(),),
                [StopOnInterrupt],
                [StopOnInterrupt(), 3],
                [[StopOnInterrupt()]],
                {"callback": StopOnInterrupt()},
            )
        ),
    ],
)
def test_the_other_arguments_of_learn_are_refused_by_their_name(
    agent: Any, name: str, given: Any, kind: type[Exception]
) -> None:
    model = small(agent)
    with pytest.raises(kind, match=f"^{name} must be ") as refusal:
        model.learn(8, **{name: given})
    assert repr(given) in str(refusal.value)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("progress_bar", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_callbacks_functions_and_lists_of_both_are_called(
    agent: Any, progress_bar: bool
) -> None:
    class Counts(BaseCallback):
        def _on_step(self) -> bool:
            seen.append("callback")
            return True

    def function(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append("function")
        return True

    both = ["callback", "function"]
    given: list[tuple[Any, list[str]]] = [
        (None, []),
        ([], []),
        (Counts(), both[:1]),
        (function, both[1:]),
        ([Counts(), function], both),
        ([Counts(), None], both[:1]),
        (CallbackList([Counts()]), both[:1]),
    ]
    for callback, expected in given:
        seen: list[str] = []
        small(agent).learn(4, callback, progress_bar=progress_bar)
        assert seen == expected * 4


def loss(batch: Any, policy: Any) -> Any:
    return -policy(batch.observations).log_prob(batch.actions).mean()


def one_seed(**arguments: Any) -> None:
    run_seeds(find_recipe("sequence-reinforce").config(), [0], "no", **arguments)


def shown(show: Callable[..., Any], **arguments: Any) -> None:
    folder = find_pretrained("pixelcopter-mc", None)
    assert folder is not None
    show(folder, on_return=lambda each: None, **{"n_episodes": 1, **arguments})


def demonstrated(**arguments: Any) -> Any:
    return record_demonstrations(ID, lambda seen: 0, **arguments)


def cloned(**arguments: Any) -> Any:
    given: Any = {"n_epochs": 1, **arguments}
    return clone_behaviour(small(REINFORCE), np.zeros((8, 1)), np.zeros(8), **given)


def checked(**arguments: Any) -> Any:
    few: Any = {"n_episodes": 256, "n_envs": 1, **arguments}
    return check_policy_gradient(loss, ID, **few)


def keeping(**arguments: Any) -> Any:
    return KeepCheckpoints(**{"save_freq": 1, "folder": "no", **arguments})


# Each function with its arguments that count from 1, and what else it must be given.
COUNTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "record_demonstrations": (demonstrated, ("n_episodes", "n_steps")),
    "record_demonstrations, capped": (
        partial(demonstrated, n_episodes=1),
        ("max_episode_steps",),
    ),
    "clone_behaviour": (cloned, ("n_epochs", "batch_size", "patience")),
    "check_policy_gradient": (
        checked,
        ("n_episodes", "batch_size", "n_envs", "horizon"),
    ),
    "KeepCheckpoints": (
        keeping,
        ("save_freq", "keep"),
    ),
    "StopWhenSolved": (StopWhenSolved, ("min_episodes",)),
    "ProgressCallback": (ProgressCallback, ("episodes",)),
    "Recorder": (Recorder, ("every",)),
    "run_seeds": (one_seed, ("jobs",)),
    "watch": (partial(shown, watch), ("n_episodes", "max_steps")),
    "record": (
        partial(shown, record, path=Path("film.gif")),
        ("n_episodes", "max_steps"),
    ),
}


@pytest.mark.parametrize("given", [0, *NO_COUNTS], ids=repr)
@pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, (_, names) in COUNTS.items() for name in names],
)
def test_what_is_no_count_is_refused_by_its_name(
    function: str, name: str, given: Any
) -> None:
    call, _ = COUNTS[function]
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1, got "):
        call(**{name: given})


@pytest.mark.parametrize("given", [2, np.int64(2), np.uint8(2)], ids=repr)
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (function, name)
        for function, (_, names) in COUNTS.items()
        for name in names
        # The others need a screen, take their time or do not fit the rest.
        if function not in ("run_seeds", "watch", "record")
        and name not in ("n_envs", "horizon", "max_episode_steps")
    ],
)
def test_counts_of_numpy_are_counts(function: str, name: str, given: Any) -> None:
    call, _ = COUNTS[function]
    call(**{name: given})


SIZES: list[tuple[str, int, dict[str, Any]]] = [
    ("n_steps", 200, {}),
    ("n_episodes", 3, {}),
    ("max_episode_steps", 200, {"n_episodes": 2}),
    ("n_epochs", 3, {"n_steps": 50, "batch_size": 70}),
    ("batch_size", 150, {"n_steps": 100, "n_epochs": 2}),
    ("memory_size", 250, {"n_steps": 50, "learning_starts": 10}),
    ("learning_starts", 200, {"n_steps": 50, "memory_size": 300}),
    ("gradient_steps", 3, {"n_steps": 50, "memory_size": 300}),
    ("stats_window_size", 3, {}),
    ("sde_sample_freq", 3, {}),
]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
@pytest.mark.parametrize(("name", "size", "more"), SIZES)
@pytest.mark.parametrize("agent", AGENTS[:2])
def test_sizes_of_numpy_teach_what_pythons_teach(
    agent: Any, name: str, size: int, more: dict[str, Any], dtype: Any
) -> None:
    """With 4 environments, whose steps 8 bits can't count."""

    def learnt(given: Any) -> Any:
        env = gymnasium.make_vec(ID, num_envs=4)
        arguments = {"seed": 0, **more, name: given}
        return agent("MlpPolicy", env, **arguments).learn(900)

    expected, model = learnt(size), learnt(dtype(size))
    for one, two in zip(
        expected.policy.parameters(), model.policy.parameters(), strict=True
    ):
        assert torch.equal(one, two)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = agent.load(file, **{name: dtype(size)})
    # Not all are attributes.
    assert type(getattr(loaded, name, size)) is int


SEEDED: dict[str, Callable[..., Any]] = {
    "record_demonstrations": partial(demonstrated, n_steps=1),
    "clone_behaviour": cloned,
    "check_policy_gradient": checked,
    **{agent.__name__: partial(agent, "MlpPolicy", ID) for agent in AGENTS},
}


@pytest.mark.parametrize("function", SEEDED)
def test_seeds_are_integers(function: str) -> None:
    for given in NO_COUNTS:
        with pytest.raises(ValueError, match=r"^seed must be an integer >= 0, got "):
            SEEDED[function](seed=given)
    for seed in (3, np.int64(3)):
        SEEDED[function](seed=seed)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (partial(demonstrated, n_steps=1), "deterministic"),
        (cloned, "fit_std"),
        (cloned, "progress_bar"),
        (checked, "bootstrap"),
        (checked, "progress_bar"),
    ],
)
def test_what_is_neither_true_nor_false_is_refused(
    call: Callable[..., Any], name: str
) -> None:
    for given in NO_BOOLS:
        with pytest.raises(ValueError, match=f"^{name} must be one of True, False"):
            call(**{name: given})


@pytest.mark.parametrize("given", [-1, 0, 1.5, NAN, INF, "0.1", None, [0.1]], ids=repr)
@pytest.mark.parametrize("kind", [RunningReward, StopWhenSolved, ProgressCallback])
def test_a_weight_lies_above_0(kind: Callable[..., Any], given: Any) -> None:
    with pytest.raises(ValueError, match=r"^factor must lie in \(0, 1\], got "):
        kind(factor=given)


@pytest.mark.parametrize("given", [NAN, "200", [200.0], np.array([1.0, 2.0])])
def test_a_threshold_that_nothing_reaches_by_mistake_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^reward_threshold must be a number, got "):
        StopWhenSolved(given)
    # Never, on purpose.
    assert StopWhenSolved(INF).reward_threshold == INF


@pytest.mark.parametrize("given", NO_COUNTS, ids=repr)
def test_what_remains_is_counted_in_steps(given: Any) -> None:
    model = small(REINFORCE).learn(4)
    with pytest.raises(ValueError, match=r"^total_timesteps must be an integer >= 0"):
        remaining_timesteps(model, given)
    assert remaining_timesteps(model, 1e1) == 6  # type: ignore[arg-type]
