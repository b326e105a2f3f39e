from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from pg_envs.env import TabularEnv
from pg_envs.mdp import TabularMDP
from pg_envs.rendering.scene import Snapshot
from pg_envs.sequence import SequenceEnv
from pg_envs.vector_env import TabularVectorEnv
from tests.pg_envs.tabular_examples import (
    ALL_FORMS,
    BANDIT,
    BANDIT_FORMS,
    SEQUENCE,
    assert_bernoulli,
    assert_frequencies,
    assert_gaussian,
    feed_vector,
    random_mdp,
    two_step_mdp,
)

GO, STAY = 0, 1
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


def _vector(
    mdp: TabularMDP,
    num_envs: int,
    limit: int | None = None,
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
) -> TabularVectorEnv:
    return TabularVectorEnv(TabularEnv(mdp), num_envs, limit, mode)


def _unpickled(env: TabularVectorEnv) -> TabularVectorEnv:
    copied = pickle.loads(pickle.dumps(env))
    assert isinstance(copied, TabularVectorEnv)
    return copied


# Three environments, staggered. Environment 0 starts in state 1 and ends soon, 1 starts
# in state 0 and is truncated by the limit of 3, 2 starts in state 0 and ends in the
# very step of the limit: both flags. The rows of the draws for a restart say where.
ACTIONS = [
    [GO, STAY, GO],
    [GO, STAY, GO],
    [STAY, STAY, GO],
    [GO, GO, GO],
    [GO, GO, STAY],
]
LOW, HIGH = 0.25, 0.75  # Restart in state 0, in state 1.
STARTS = np.array([[HIGH, LOW, LOW]])
RESTARTS = [
    [LOW, LOW, LOW],
    [LOW, HIGH, HIGH],
    [HIGH, HIGH, LOW],
    [LOW, LOW, LOW],
    [HIGH, HIGH, HIGH],
]
BLOCKS = [STARTS, *(np.array([[0.5] * 3, row]) for row in RESTARTS)]


def _played(mode: AutoresetMode) -> tuple[list[Any], list[dict[str, Any]]]:
    env = _vector(two_step_mdp(), 3, 3, mode)
    feed_vector(env, BLOCKS)
    observations, infos = env.reset()
    assert observations.tolist() == [[1.0], [0.0], [0.0]]
    assert infos == {}
    results = [env.step(np.array(actions)) for actions in ACTIONS]
    rows = [
        (o.ravel().tolist(), r.tolist(), term.tolist(), trunc.tolist())
        for o, r, term, trunc, _ in results
    ]
    return rows, [infos for *_, infos in results]


T, F = True, False


def test_same_step_by_hand() -> None:
    rows, infos = _played(AutoresetMode.SAME_STEP)
    assert rows == [
        # 1 -> 2, stays in 0, 0 -> 1.
        ([2.0, 0.0, 1.0], [1.0, -1.0, 1.0], [F, F, F], [F, F, F]),
        # Env 0 terminates in 2 and restarts in 0.
        ([0.0, 0.0, 2.0], [10.0, -1.0, 1.0], [T, F, F], [F, F, F]),
        # Env 1 is truncated in 0, restarts in 1; env 2 does both, restarts in 0.
        ([0.0, 1.0, 0.0], [-1.0, -1.0, 10.0], [F, F, T], [F, T, T]),
        ([1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [F, F, F], [F, F, F]),
        # Env 0: third step of its second episode. Env 1 terminates after two.
        ([1.0, 1.0, 1.0], [1.0, 10.0, -1.0], [F, T, F], [T, F, F]),
    ]
    assert infos[0] == infos[3] == {}
    ends = {1: [T, F, F], 2: [F, T, T], 4: [T, T, F]}
    last_seen = {1: [2.0, 0.0, 2.0], 2: [0.0, 0.0, 2.0], 4: [2.0, 2.0, 1.0]}
    for t, mask in ends.items():
        assert set(infos[t]) == {"final_obs", "_final_obs"}
        assert infos[t]["_final_obs"].tolist() == mask
        assert infos[t]["final_obs"].ravel().tolist() == last_seen[t]
        assert infos[t]["final_obs"].dtype == np.float32


def test_next_step_by_hand() -> None:
    rows, infos = _played(AutoresetMode.NEXT_STEP)
    assert rows == [
        ([2.0, 0.0, 1.0], [1.0, -1.0, 1.0], [F, F, F], [F, F, F]),
        # Env 0 terminates; what it sees is the end.
        ([2.0, 0.0, 2.0], [10.0, -1.0, 1.0], [T, F, F], [F, F, F]),
        # Env 0 only restarts, in state 1: reward 0. Env 1 truncated, env 2 both.
        ([1.0, 0.0, 2.0], [0.0, -1.0, 10.0], [F, F, T], [F, T, T]),
        # Env 0 takes the first step of its second episode, 1 and 2 restart in 0.
        ([2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [F, F, F], [F, F, F]),
        ([2.0, 1.0, 0.0], [10.0, 1.0, -1.0], [T, F, F], [F, F, F]),
    ]
    assert infos == [{}] * 5


def test_without_a_limit_nothing_is_truncated() -> None:
    env = _vector(two_step_mdp(), 2, None)
    env.reset(seed=0)
    for _ in range(500):
        *_, terminated, truncated, _ = env.step(np.array([STAY, STAY]))
        assert not terminated.any()
        assert not truncated.any()


def test_reset_mask_by_hand() -> None:
    env = _vector(two_step_mdp(), 3, 3)
    steps = [np.array([[0.5] * 3, [LOW] * 3])] * 3
    masked = np.array([[HIGH, HIGH, HIGH]])
    feed_vector(env, [STARTS, *steps[:2], masked, *steps[:2]])
    env.reset()
    env.step(np.array([GO, STAY, GO]))
    env.step(np.array([GO, STAY, GO]))  # Env 0 terminates.
    mask = np.array([True, False, False])
    observations, _ = env.reset(options={"reset_mask": mask})
    assert observations.ravel().tolist() == [1.0, 0.0, 2.0]
    # Env 0 is restarted already: its next step is a step, not a dummy. The others are
    # in their third step and meet the limit.
    o, r, terminated, truncated, _ = env.step(np.array([GO, STAY, STAY]))
    assert o.ravel().tolist() == [2.0, 0.0, 2.0]
    assert r.tolist() == [1.0, -1.0, -1.0]
    assert terminated.tolist() == [F, F, F]
    assert truncated.tolist() == [F, T, T]
    o, r, terminated, truncated, _ = env.step(np.array([GO, STAY, STAY]))
    assert o.ravel().tolist() == [2.0, 0.0, 0.0]
    assert r.tolist() == [10.0, 0.0, 0.0]
    assert terminated.tolist() == [T, F, F]
    assert truncated.tolist() == [F, F, F]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("env_id", "form"), [case for case in ALL_FORMS if "reward_noise" not in case[1]]
)
def test_native_equals_gymnasiums_own_vectorisation(
    env_id: str, form: dict[str, Any], mode: AutoresetMode
) -> None:
    # The tasks are deterministic, so no draws need to be fed. A short limit lets
    # episodes end both ways, at times in the same step.
    def single() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(env_id, max_episode_steps=7, **form)

    native = gymnasium.make_vec(
        env_id, num_envs=5, max_episode_steps=7, autoreset_mode=mode, **form
    )
    other = SyncVectorEnv([single] * 5, autoreset_mode=mode)
    assert native.metadata["autoreset_mode"] is mode is other.metadata["autoreset_mode"]
    assert native.observation_space == other.observation_space
    assert native.action_space == other.action_space
    start, expected_start = native.reset(seed=0)[0], other.reset(seed=0)[0]
    np.testing.assert_array_equal(start, expected_start)
    native.action_space.seed(1)
    both = np.zeros(5, dtype=np.bool_)
    for _ in range(300):
        # Twice as often to the right, to meet the end of the sequence.
        actions = np.maximum(native.action_space.sample(), native.action_space.sample())
        ours, theirs = native.step(actions), other.step(actions)
        for got, wanted in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(got, wanted)
            assert got.dtype == wanted.dtype
        both |= ours[2] & ours[3]
        assert ("final_obs" in ours[4]) == ("final_obs" in theirs[4])
        if "final_obs" in ours[4]:
            mask = theirs[4]["_final_obs"]
            np.testing.assert_array_equal(ours[4]["_final_obs"], mask)
            for i in np.flatnonzero(mask):
                last_seen = theirs[4]["final_obs"][i]
                np.testing.assert_array_equal(ours[4]["final_obs"][i], last_seen)
    assert both.any() == (env_id == SEQUENCE and form.get("n_states", 3) <= 7)
    other.close()


def test_make_vec_takes_the_limit_of_the_id_or_another() -> None:
    for limit, given in ((100, {}), (7, {"max_episode_steps": 7})):
        env = gymnasium.make_vec(BANDIT, num_envs=2, **given)  # type: ignore[arg-type]
        assert isinstance(env, TabularVectorEnv)
        assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        env.reset(seed=0)
        truncated = [env.step(np.array([0, 1]))[3].tolist() for _ in range(limit)]
        assert truncated == [[F, F]] * (limit - 1) + [[T, T]]
    forever = gymnasium.make_vec(BANDIT, num_envs=2, max_episode_steps=-1)
    forever.reset(seed=0)
    assert not any(forever.step(np.array([0, 1]))[3].any() for _ in range(150))


def test_wrapped_in_gymnasiums_statistics() -> None:
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec(SEQUENCE, num_envs=2)
    )
    env.reset(seed=0)
    for actions in ([2, 0], [2, 2], [1, 2]):
        *_, infos = env.step(np.array(actions))
    assert infos["episode"]["r"][0] == pytest.approx(0.9)
    assert infos["episode"]["l"][0] == 3
    assert infos["_episode"].tolist() == [True, False]


@pytest.mark.parametrize("mode", MODES)
def test_results_are_fresh(mode: AutoresetMode) -> None:
    mdp = random_mdp(5, terminal_share=0.3)
    mdp = replace(mdp, observations=np.eye(6, dtype=np.float32))
    env = TabularVectorEnv(TabularEnv(mdp), 4, 5, mode, "rgb_array")
    twin = TabularVectorEnv(TabularEnv(mdp), 4, 5, mode)
    kept = [env.reset(seed=0)[0]]
    np.testing.assert_array_equal(kept[0], twin.reset(seed=0)[0])
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions = rng.integers(4, size=4)
        *results, infos = env.step(actions)
        *expected, expected_infos = twin.step(actions.copy())
        fresh = [*results, *infos.values()]
        wanted = [*expected, *expected_infos.values()]
        assert env._last is not None
        for i, (got, right) in enumerate(zip(fresh, wanted, strict=True)):
            np.testing.assert_array_equal(got, right)
            others = [*kept, *fresh[:i], env.mdp.observations, env._state, *env._last]
            assert not any(np.shares_memory(got, other) for other in others)
        kept += fresh
        # A caller who changes what it was given, or what it gave, changes no more.
        for array in [*fresh, actions]:
            array[:] = 1


@pytest.mark.parametrize("mode", MODES)
def test_two_environments_share_nothing(mode: AutoresetMode) -> None:
    mdp = random_mdp(7)
    alone, env, other = (_vector(mdp, 3, 9, mode) for _ in range(3))
    alone.reset(seed=1)
    env.reset(seed=1)
    other.reset(seed=2)
    rng = np.random.default_rng(3)
    for _ in range(100):
        actions = rng.integers(4, size=3)
        other.step(rng.integers(4, size=3))
        for got, wanted in zip(env.step(actions), alone.step(actions), strict=True):
            np.testing.assert_equal(got, wanted)
    assert env.metadata is not other.metadata


def _results(env: TabularVectorEnv, n_steps: int = 200) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        [x.tolist() for x in env.step(rng.integers(4, size=env.num_envs))[:4]]
        for _ in range(n_steps)
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("copied", [copy.deepcopy, _unpickled])
def test_same_seed_same_trajectory_and_a_copy_goes_on_identically(
    copied: Callable[[TabularVectorEnv], TabularVectorEnv], mode: AutoresetMode
) -> None:
    mdp = random_mdp(7, reward_noise="gaussian")
    runs = []
    for seed in (1, 1, 2):
        env = _vector(mdp, 3, 9, mode)
        env.reset(seed=seed)
        runs.append(_results(env))
    assert runs[0] == runs[1] != runs[2]
    twin = copied(env)
    assert _results(env) == _results(twin)
    env.reset(seed=1)
    assert _results(env) == runs[0]


def test_environments_of_a_batch_are_independent() -> None:
    env = _vector(random_mdp(1, terminal_share=0.0), 2)
    actions = np.zeros(2, dtype=np.int64)
    env.reset(seed=0)
    pairs = np.array([env.step(actions)[0] for _ in range(5000)]).astype(float)
    # A correlation of 5,000 independent pairs has a standard error of 1/sqrt(5000);
    # the states of one chain hang together a little, hence 5 of them, not 4.
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 5 / 5000**0.5


def test_starts_and_transitions_occur_as_often_as_the_tables_say() -> None:
    n = 100_000
    mdp = random_mdp(1, terminal_share=0.0)
    env = _vector(mdp, n)
    states, _ = env.reset(seed=3)
    assert_frequencies(_as_transitions(mdp), np.arange(n) % 6, 0, states)
    actions = np.random.default_rng(2).integers(4, size=n)
    next_states = env.step(actions)[0]
    assert_frequencies(mdp, states, actions, next_states)


def _as_transitions(mdp: TabularMDP) -> TabularMDP:
    """An MDP whose transitions, from everywhere, are distributed as the starts are."""
    always = np.tile(mdp.initial_distribution, (mdp.n_states, mdp.n_actions, 1))
    return replace(mdp, transition=always)


@pytest.mark.parametrize("mode", MODES)
def test_restarts_occur_as_often_as_the_tables_say(mode: AutoresetMode) -> None:
    n = 60_000
    mdp = random_mdp(1, terminal_share=1.0)
    env = _vector(mdp, n, None, mode)
    env.reset(seed=3)
    zeros = np.zeros(n, dtype=np.int64)
    states, _, terminated, _, _ = env.step(zeros)
    assert terminated.all()
    if mode is AutoresetMode.NEXT_STEP:
        states = env.step(zeros)[0]
    assert_frequencies(_as_transitions(mdp), np.arange(n) % 6, 0, states)


def test_reward_noise_has_its_distribution() -> None:
    n = 200_000
    arms = np.arange(n) % 2
    arguments: dict[str, Any] = {"num_envs": n, "arm_rewards": [0.2, 0.7]}
    env = gymnasium.make_vec(
        BANDIT, reward_noise="gaussian", noise_scale=2.0, **arguments
    )
    env.reset(seed=1)
    rewards = env.step(arms)[1]
    assert_gaussian(rewards[arms == 0], 0.2, 2.0)
    assert_gaussian(rewards[arms == 1], 0.7, 2.0)
    env = gymnasium.make_vec(BANDIT, reward_noise="bernoulli", **arguments)
    env.reset(seed=1)
    rewards = env.step(arms)[1]
    assert_bernoulli(rewards[arms == 0], 0.2)
    assert_bernoulli(rewards[arms == 1], 0.7)


def test_noise_hangs_on_neither_transition_nor_restart() -> None:
    # Within each next state and each start, noise has mean 0 and variance 1, within 4.5
    # standard errors (24 numbers: a false alarm once in 6,000 seeds).
    n = 120_000
    mdp = random_mdp(1, terminal_share=1.0, reward_noise="gaussian")
    env = _vector(mdp, n, None, AutoresetMode.SAME_STEP)
    states, _ = env.reset(seed=0)
    restarts, reward, _, _, infos = env.step(np.zeros(n, dtype=np.int64))
    final = infos["final_obs"]
    noise = (reward - mdp.reward[states, 0, final]) / mdp.noise_scale
    for where in (final, restarts):
        for state in range(6):
            chosen = noise[where == state]
            root_n = len(chosen) ** 0.5
            assert abs(chosen.mean()) < 4.5 / root_n
            assert abs((chosen**2).mean() - 1.0) < 4.5 * 2**0.5 / root_n


# Bad input is refused by name.


def test_step_and_render_before_reset_are_refused() -> None:
    env = TabularVectorEnv(SequenceEnv(), 2, render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
        env.step(np.array([0, 0]))
    with pytest.raises(ResetNeeded, match=r"render\(\) was called before reset\(\)"):
        env.render()
    with pytest.raises(ResetNeeded, match=r"before the first whole reset\(\)"):
        env.reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 3], "integers from 0 to 2, got 0 to 3"),
        ([-1, 0], "integers from 0 to 2, got -1 to 0"),
        ([0.0, 1.0], r"2 integers, .* got shape \[2\] of float64"),
        ([0], r"2 integers, one per environment, got shape \[1\]"),
        ([0, 1, 2], r"2 integers, .* got shape \[3\]"),
        ([[0, 1]], r"2 integers, .* got shape \[1, 2\]"),
        (1, r"2 integers, .* got shape \[\]"),
        ([True, False], "2 integers, .* of bool"),
    ],
)
def test_actions_outside_the_space_are_refused(
    actions: Any,
    message: str,
) -> None:
    env = gymnasium.make_vec(SEQUENCE, num_envs=2)
    twin = gymnasium.make_vec(SEQUENCE, num_envs=2)
    for vector_env in (env, twin):
        vector_env.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(np.array(actions))
    # Nothing has happened.
    good = np.array([2, 0])
    for got, wanted in zip(env.step(good), twin.step(good), strict=True):
        np.testing.assert_equal(got, wanted)


@pytest.mark.parametrize("num_envs", [0, -1, 1.0, True, None])
def test_a_wrong_number_of_environments_is_refused(num_envs: Any) -> None:
    message = f"num_envs must be an integer >= 1, got {num_envs!r}"
    with pytest.raises(ValueError, match=message):
        gymnasium.make_vec(SEQUENCE, num_envs=num_envs)


@pytest.mark.parametrize("limit", [0, -2, 2.5])
def test_a_wrong_limit_is_refused(limit: Any) -> None:
    message = f"max_episode_steps must be an integer >= 1, got {limit!r}"
    with pytest.raises(ValueError, match=message):
        gymnasium.make_vec(SEQUENCE, max_episode_steps=limit)


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, "Disabled", "same", None])
def test_unknown_autoreset_modes_are_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match=r"autoreset_mode .* NextStep, SameStep, got"):
        gymnasium.make_vec(SEQUENCE, num_envs=2, autoreset_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_autoreset_modes_go_by_name_as_well(mode: AutoresetMode) -> None:
    env = gymnasium.make_vec(SEQUENCE, num_envs=2, autoreset_mode=mode.value)
    assert env.metadata["autoreset_mode"] is mode


@pytest.mark.parametrize("render_mode", ["human", "ansi"])
def test_unknown_render_modes_are_refused(render_mode: str) -> None:
    accepted = f"None, 'rgb_array', got '{render_mode}'"
    with pytest.raises(ValueError, match=f"render_mode must be one of {accepted}"):
        TabularVectorEnv(SequenceEnv(), 2, render_mode=render_mode)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True], r"\[2\] bool, got \[1\] bool"),
        ([1, 0], r"\[2\] bool, got \[2\] int64"),
        ([[True, False]], r"\[2\] bool, got \[1, 2\] bool"),
    ],
)
def test_a_wrong_reset_mask_is_refused_and_draws_nothing(
    mask: list[Any], message: str
) -> None:
    env, twin = (_vector(random_mdp(0), 2) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=f"reset_mask must be {message}"):
        env.reset(seed=5, options={"reset_mask": np.array(mask)})
    assert _results(env, 20) == _results(twin, 20)


@pytest.mark.parametrize("form", [*BANDIT_FORMS[:1], {"observation": "index"}])
def test_arguments_reach_the_tables(form: dict[str, Any]) -> None:
    env = gymnasium.make_vec(BANDIT, num_envs=2, arm_rewards=[3.0, 4.0], **form)
    env.reset(seed=0)
    assert env.step(np.array([0, 1]))[1].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="arm_rewards"):
        gymnasium.make_vec(BANDIT, num_envs=2, arm_rewards=[], **form)


# Pictures.


@pytest.mark.parametrize("mode", MODES)
def test_frames_are_those_of_the_single_environment(mode: AutoresetMode) -> None:
    n = 3
    vector = TabularVectorEnv(SequenceEnv(), n, 4, mode, "rgb_array")
    singles = [TimeLimit(SequenceEnv(render_mode="rgb_array"), 4) for _ in range(n)]
    vector.reset(seed=0)
    for single in singles:
        single.reset(seed=0)
    ended = [False] * n
    for actions in ([2, 0, 2], [2, 1, 0], [1, 1, 2], [1, 2, 2], [2, 2, 1]):
        vector.step(np.array(actions))
        for i, (single, action) in enumerate(zip(singles, actions, strict=True)):
            if ended[i]:  # A dummy step of NEXT_STEP.
                single.reset()
                ended[i] = False
                continue
            ended[i] = any(single.step(np.int64(action))[2:4])
            if ended[i] and mode is AutoresetMode.SAME_STEP:
                single.reset()
                ended[i] = False
        frames = vector.render()
        assert isinstance(frames, tuple)
        assert len(frames) == n
        for frame, single in zip(frames, singles, strict=True):
            np.testing.assert_array_equal(frame, single.render())
    vector.close()


def test_a_masked_reset_keeps_the_picture_of_the_others() -> None:
    env = TabularVectorEnv(SequenceEnv(), 2, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.array([2, 2]))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env._snapshot(0) == Snapshot(0, None, None, 0, 0.0)
    assert env._snapshot(1) == Snapshot(1, 2, -0.05, 1, -0.05, previous_state=0)
    env.step(np.array([0, 2]))
    assert env._snapshot(0) == Snapshot(0, 0, -0.05, 1, -0.05, previous_state=0)
    assert env._snapshot(1) == Snapshot(2, 2, -0.05, 2, -0.1, previous_state=1)


def test_render_without_a_mode_is_none() -> None:
    env = _vector(two_step_mdp(), 2)
    env.reset(seed=0)
    assert env.render() is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("env_id", "form"), ALL_FORMS)
def test_resets_and_steps_without_a_limit_are_fresh(
    env_id: str, form: dict[str, Any], mode: AutoresetMode
) -> None:
    """Fresh arrays, for every form of observation and for what never changes."""
    arguments: dict[str, Any] = {"autoreset_mode": mode, "max_episode_steps": -1}
    env = gymnasium.make_vec(env_id, 3, **arguments, **form)
    mask = {"reset_mask": np.array([True, False, True])}
    kept = [env.reset(seed=0)[0], env.reset()[0], env.reset(options=mask)[0]]
    for _ in range(3):
        kept += env.step(np.zeros(3, int))[:4]
    kept.append(env.reset()[0])
    assert env.reset()[1] is not env.reset()[1]
    assert not any(np.shares_memory(*pair) for pair in combinations(kept, 2))


def test_the_state_is_shown_and_nobody_can_write_into_it() -> None:
    env = TabularVectorEnv(SequenceEnv(), 3)
    before: Any = env.state
    assert before is None
    env.reset(seed=0)
    assert env.state.tolist() == [0, 0, 0]
    env.step(np.array([2, 1, 2]))
    assert env.state.tolist() == [1, 0, 1]
    env.state[:] = 2
    env.step(np.array([2, 2, 0]))
    assert env.state.tolist() == [2, 1, 0]
