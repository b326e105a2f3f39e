"""Environments as tables, Gymnasium's step by step beside their own code."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, VectorWrapper
from stable_baselines3.common.monitor import Monitor

from pg_envs import (
    SequenceEnv,
    TabularEnv,
    TabularMDP,
    TabularVectorEnv,
    oracle,
    sequence_mdp,
)
from pg_envs.make import make_numpy_vec, make_torch_vec
from pg_envs.toy_text import mdp_from_env, mdp_from_transitions
from pg_envs.vector.tabular import TorchTabularVectorEnv
from tests.pg_envs.tabular_examples import (
    BANDIT,
    SEQUENCE,
    Floats,
    feed_single,
    feed_vector,
)

TOY_TEXT: list[tuple[str, dict[str, Any]]] = [
    ("FrozenLake-v1", {"is_slippery": True}),
    ("FrozenLake-v1", {"is_slippery": False}),
    ("FrozenLake8x8-v1", {"is_slippery": True}),
    ("FrozenLake8x8-v1", {"is_slippery": False}),
    ("CliffWalking-v1", {}),
    ("Taxi-v4", {}),
    ("Taxi-v4", {"is_rainy": True}),
]


def draw_of(probabilities: Floats, chosen: int) -> float:
    """Returns a uniform number that selects an outcome, the middle of its share."""
    return float(probabilities[:chosen].sum() + probabilities[chosen] / 2)


# On a lake random walks end every 40 steps or sooner; in CliffWalking and Taxi it takes
# 10,000 steps to see one to six ends.
WALKS = [
    *((*toy, 2_000) for toy in TOY_TEXT[:4]),
    *((*toy, 10_000) for toy in TOY_TEXT[4:]),
    *(pytest.param(*toy, 10_000, marks=pytest.mark.slow) for toy in TOY_TEXT[:4]),
]


@pytest.mark.parametrize(("env_id", "arguments", "n_steps"), WALKS)
def test_single_numpy_and_torch_equal_gymnasiums_step(
    env_id: str, arguments: dict[str, Any], n_steps: int
) -> None:
    """Random steps, with the draws that lead to Gymnasium's next states."""
    toy_env = gymnasium.make(env_id, max_episode_steps=-1, **arguments).unwrapped
    mdp = mdp_from_env(toy_env)
    rng = np.random.default_rng(0)
    state, _ = toy_env.reset(seed=0)
    start = draw_of(mdp.initial_distribution, int(state))
    singles, blocks = [start], [np.array([[start]])]
    expected, actions, starts = [], [], [int(state)]
    for _ in range(n_steps):
        action = int(rng.integers(mdp.n_actions))
        before = state
        state, reward, terminated, _, _ = toy_env.step(action)
        expected.append((int(state), float(reward), bool(terminated)))
        actions.append(action)
        draw = draw_of(mdp.transition[before, action], int(state))
        restart = 0.5
        if terminated:
            state, _ = toy_env.reset()
            starts.append(int(state))
            restart = draw_of(mdp.initial_distribution, int(state))
        singles += [draw, restart] if terminated else [draw]
        blocks.append(np.array([[draw], [restart]]))

    assert len(starts) > 1
    single = TabularEnv(mdp)
    feed_single(single, singles)
    assert single.reset()[0] == starts[0]
    for action, expected_result in zip(actions, expected, strict=True):
        obs, reward, terminated, _, _ = single.step(np.int64(action))
        assert (int(obs), reward, terminated) == expected_result
        if terminated:
            single.reset()
    same = AutoresetMode.SAME_STEP
    for env in (
        TabularVectorEnv(TabularEnv(mdp), 1, None, same),
        TorchTabularVectorEnv(TabularEnv(mdp), 1, "cpu", None, same),
    ):
        feed_vector(env, blocks)
        env.reset()
        for action, expected_result in zip(actions, expected, strict=True):
            obs, rewards, terminated, _, infos = env.step(np.array([action]))
            final_obs = infos["final_obs"] if terminated[0] else obs
            result = int(final_obs[0]), float(rewards[0]), bool(terminated[0])
            assert result == expected_result


@pytest.mark.parametrize(("env_id", "arguments"), TOY_TEXT)
def test_tables_hold_the_probabilities_of_p(
    env_id: str, arguments: dict[str, Any]
) -> None:
    toy: Any = gymnasium.make(env_id, **arguments).unwrapped
    mdp = mdp_from_env(toy)
    for state in range(mdp.n_states):
        for action in range(mdp.n_actions):
            by_state: dict[int, float] = {}
            for probability, later, reward, done in toy.P[state][action]:
                by_state[int(later)] = by_state.get(int(later), 0.0) + probability
                if probability > 0.0:
                    assert mdp.reward[state, action, later] == pytest.approx(reward)
                    assert mdp.terminal[state, action, later] == done
            row = mdp.transition[state, action]
            for later, probability in by_state.items():
                assert row[later] == pytest.approx(probability, abs=1e-12)
            assert row.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(mdp.initial_distribution, toy.initial_state_distrib)


def test_different_rewards_of_one_transition_become_their_mean() -> None:
    """At the start of the slippery cliff a bump costs 1 and a fall, back there, 100."""
    toy: Any = gymnasium.make("CliffWalkingSlippery-v1").unwrapped
    mdp = mdp_from_env(toy)
    for state in range(mdp.n_states):
        for action in range(mdp.n_actions):
            expected = sum(p * reward for p, _, reward, _ in toy.P[state][action])
            got = mdp.transition[state, action] @ mdp.reward[state, action]
            assert got == pytest.approx(expected)


def best_return(env_id: str, horizon: int, **arguments: Any) -> float:
    """Returns the best expected return within a time limit, nothing discounted."""
    mdp = mdp_from_env(gymnasium.make(env_id, **arguments))
    best = oracle.optimal_values(mdp, 1.0, horizon).values
    return float(mdp.initial_distribution @ best)


def test_optimal_returns_are_those_that_gymnasium_states() -> None:
    """The comments in Gymnasium's registry: 0.74 and 0.91 at their time limits."""
    assert best_return("FrozenLake-v1", 100) == pytest.approx(0.74, abs=0.01)
    assert best_return("FrozenLake8x8-v1", 200) == pytest.approx(0.91, abs=0.01)
    # Thirteen steps along the cliff, at -1 each.
    assert best_return("CliffWalking-v1", 100) == pytest.approx(-13.0)
    assert best_return("FrozenLake-v1", 100, is_slippery=False) == pytest.approx(1.0)


def test_outcomes_with_the_same_next_state_are_added() -> None:
    mdp = mdp_from_transitions(
        {
            0: {0: [(0.25, 1, 2.0, False), (0.25, 1, 4.0, False), (0.5, 0, 0.0, True)]},
            1: {0: [(1.0, 1, 1.0, True)]},
        },
        [1.0, 0.0],
    )
    assert isinstance(mdp, TabularMDP)
    assert mdp.transition[0, 0].tolist() == [0.5, 0.5]
    assert mdp.reward[0, 0].tolist() == [0.0, 3.0]
    assert mdp.terminal[:, 0].tolist() == [[True, False], [False, True]]


def test_environments_that_tables_cannot_express_are_refused() -> None:
    mixed = {0: {0: [(0.5, 0, 0.0, True), (0.5, 0, 0.0, False)]}}
    with pytest.raises(ValueError, match="action 0 in state 0 leads to state 0 both"):
        mdp_from_transitions(mixed, [1.0])
    with pytest.raises(ValueError, match="fickle_passenger=False"):
        mdp_from_env(gymnasium.make("Taxi-v4", fickle_passenger=True))
    with pytest.raises(TypeError, match=r"with tables: .* CartPoleEnv has none"):
        mdp_from_env(gymnasium.make("CartPole-v1"))


WRAPPERS: dict[str, Any] = {
    "none": lambda env: env.unwrapped,
    "those of make": lambda env: env,
    "Monitor": Monitor,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "TransformReward": lambda env: wrappers.TransformReward(env, float),
    "FlattenObservation": wrappers.FlattenObservation,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        *(
            (env_id, {"observation": form})
            for env_id in (BANDIT, SEQUENCE)
            for form in ("scalar", "one_hot", "index")
        ),
        (BANDIT, {"arm_rewards": [0.2, 0.7], "reward_noise": "bernoulli"}),
        (SEQUENCE, {"n_states": 5, "step_cost": 0.5}),
    ],
)
def test_tables_of_single_environments(
    env_id: str, arguments: dict[str, Any], wrapper: str
) -> None:
    env = WRAPPERS[wrapper](gymnasium.make(env_id, **arguments))
    unwrapped: Any = env.unwrapped
    assert mdp_from_env(env) is unwrapped.mdp


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("env_id", [BANDIT, SEQUENCE, "FrozenLake-v1"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_tables_of_vector_environments(kind: str, env_id: str, wrapped: bool) -> None:
    env: Any
    if kind == "torch":
        env = make_torch_vec(env_id, 3)
    else:
        single = TabularEnv(mdp_from_env(gymnasium.make(env_id)))
        env = TabularVectorEnv(single, 3)
    one = mdp_from_env(gymnasium.make(env_id))
    several = mdp_from_env(VectorWrapper(env) if wrapped else env)
    assert several is env.mdp
    np.testing.assert_array_equal(several.transition, one.transition)
    np.testing.assert_array_equal(several.reward, one.reward)


NO_TABLES: dict[str, Any] = {
    "the class of one": SequenceEnv,
    "an id": SEQUENCE,
    "None": None,
    "the tables": sequence_mdp(),
    "one without": gymnasium.make("CartPole-v1"),
    "several without": gymnasium.make_vec("CartPole-v1", num_envs=2),
    "one of ours without": gymnasium.make("PGToy-Pixelcopter-v0"),
}


@pytest.mark.parametrize("argument", NO_TABLES)
def test_arguments_without_tables_are_refused(argument: str) -> None:
    with pytest.raises(TypeError, match=r"^env must be an environment "):
        mdp_from_env(NO_TABLES[argument])


NO_MDP: dict[str, Any] = {
    "an environment": gymnasium.make(SEQUENCE),
    "a vector of them": gymnasium.make_vec(SEQUENCE, num_envs=2),
    "the class of one": SequenceEnv,
    "an id": SEQUENCE,
    "None": None,
}
PI = oracle.uniform_policy(sequence_mdp())
TAKES_AN_MDP: dict[str, Any] = {
    "uniform_policy": oracle.uniform_policy,
    "state_values": lambda mdp: oracle.state_values(mdp, PI, 0.9),
    "state_values, horizon": lambda mdp: oracle.state_values(mdp, PI, 0.9, 3),
    "values_to_go": lambda mdp: oracle.values_to_go(mdp, PI, 0.9, 3),
    "action_values": lambda mdp: oracle.action_values(mdp, PI, 0.9),
    "occupancy": lambda mdp: oracle.occupancy(mdp, PI, 0.9),
    "expected_return": lambda mdp: oracle.expected_return(mdp, PI, 0.9),
    "return_gradient": lambda mdp: oracle.return_gradient(mdp, PI, 0.9),
    "return_gradient, horizon": lambda mdp: oracle.return_gradient(mdp, PI, 0.9, 3),
    "optimal_values": lambda mdp: oracle.optimal_values(mdp, 0.9),
    "TabularEnv": TabularEnv,
}


@pytest.mark.parametrize("argument", NO_MDP)
@pytest.mark.parametrize("function", TAKES_AN_MDP)
def test_an_environment_in_place_of_its_tables_is_refused(
    function: str, argument: str
) -> None:
    TAKES_AN_MDP[function](sequence_mdp())
    with pytest.raises(TypeError, match=r"^mdp must be a TabularMDP.*mdp_from_env"):
        TAKES_AN_MDP[function](NO_MDP[argument])


@pytest.mark.parametrize("argument", ["wrapped", "class", "vector"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_vector_environments_take_an_environment_without_wrappers(
    kind: str, argument: str
) -> None:
    env: Any = {
        "wrapped": gymnasium.make(SEQUENCE),
        "class": SequenceEnv,
        "vector": TabularVectorEnv(SequenceEnv(), 2),
    }[argument]
    with pytest.raises(TypeError, match="env must be a TabularEnv without wrappers"):
        if kind == "numpy":
            TabularVectorEnv(env, 2)
        else:
            TorchTabularVectorEnv(env, 2, "cpu")


@pytest.mark.parametrize("argument", [SequenceEnv, SequenceEnv(), None, 3])
@pytest.mark.parametrize("make", [make_numpy_vec, make_torch_vec])
def test_ids_make_vector_environments(make: Any, argument: Any) -> None:
    with pytest.raises(TypeError, match="id must be the id of an environment, such as"):
        make(argument, 2)
    assert make(gymnasium.spec(SEQUENCE), 2).num_envs == 2


@pytest.mark.parametrize(
    ("env_id", "arguments", "limit"),
    [
        ("FrozenLake-v1", {}, 100),
        ("FrozenLake-v1", {"is_slippery": False}, 100),
        ("FrozenLake-v1", {"map_name": "8x8", "max_episode_steps": 30}, 30),
        ("CliffWalking-v1", {"max_episode_steps": 50}, 50),
        ("CliffWalking-v1", {}, None),
        ("Taxi-v4", {"max_episode_steps": 20}, 20),
    ],
)
@pytest.mark.parametrize("make", [make_numpy_vec, make_torch_vec])
def test_ids_of_toy_text_make_vector_environments(
    make: Any, env_id: str, arguments: dict[str, Any], limit: int | None
) -> None:
    env = make(env_id, 3, **arguments)
    is_torch = make is make_torch_vec
    assert type(env) is (TorchTabularVectorEnv if is_torch else TabularVectorEnv)
    assert env.max_episode_steps == limit
    toy = gymnasium.make(env_id, **arguments)
    mdp = mdp_from_env(toy)
    for name in ("transition", "reward", "terminal", "initial_distribution"):
        np.testing.assert_array_equal(getattr(env.mdp, name), getattr(mdp, name))
    assert env.single_observation_space == toy.observation_space
    assert env.single_action_space == toy.action_space
    obs, _ = env.reset(seed=0)
    assert obs.dtype == (torch.int64 if is_torch else np.int64)
    with pytest.raises(ValueError, match=f"render_mode must be None for '{env_id}'"):
        make(env_id, 3, render_mode="rgb_array", **arguments)


STAY = [(1.0, 0, 0.0, False)]


@pytest.mark.parametrize(
    ("transitions", "message"),
    [
        ({}, "states must be 0 to S - 1, got nothing"),
        ({1: {0: STAY}}, "states must be 0 to S - 1, got 1 as keys"),
        ({0: {}}, "actions 0 to 0, got nothing in state 0"),
        ({0: {0: STAY}, 1: {0: STAY, 1: STAY}}, "actions 0 to 1, got 0 in state 0"),
        ({0: {0: STAY, 2: STAY}}, "actions 0 to 1, got 0, 2 in state 0"),
        ({0: {0: [(1.0, 0, 0.0)]}}, r"must be \(probability, .* got \(1.0, 0, 0.0\)"),
        ({0: {0: [(1.0, 1, 0.0, True)]}}, "one of 0 to 0, got 1 for action 0 in state"),
        ({0: {0: [(1.5, 0, 0.0, True)]}}, "from 0 to 1, got 1.5 for action 0 in state"),
        ({0: {0: [(float("nan"), 0, 0.0, True)]}}, "from 0 to 1, got nan"),
        ({0: {0: [(0.8, 0, 0.0, True)]}}, "sum to 1, got 0.8 for action 0 in state 0"),
        ({0: {0: []}}, "sum to 1, got 0 for action 0 in state 0"),
    ],
)
def test_incomplete_tables_are_refused(transitions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mdp_from_transitions(transitions, [1.0])
