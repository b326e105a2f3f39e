"""Looking everything up gives what drawing and computing gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from pg_envs import timetable, torch_vector_env
from pg_envs.bandit import bandit_mdp
from pg_envs.dynamics import make_tables
from pg_envs.env import TabularEnv
from pg_envs.make_torch import make_torch_vec
from pg_envs.mdp import TabularMDP
from pg_envs.sequence import sequence_mdp
from pg_envs.timetable import MAX_SIZE, make_timetable
from pg_envs.torch_vector_env import TorchTabularVectorEnv
from pg_envs.toy_text import mdp_from_env
from tests.no_sync import NoSynchronisation
from tests.pg_envs.tabular_examples import SEQUENCE, random_mdp, two_step_mdp

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MODES = [SAME, NEXT]


def cliff() -> TabularMDP:
    return mdp_from_env(gymnasium.make("CliffWalking-v1"))


CERTAIN: list[TabularMDP] = [
    sequence_mdp(),
    sequence_mdp(4, observation="one_hot"),
    bandit_mdp(observation="index"),
    cliff(),
]


def both(
    mdp: TabularMDP,
    limit: int | None,
    mode: AutoresetMode,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[TorchTabularVectorEnv, TorchTabularVectorEnv]:
    """Returns an environment that looks up, and one that draws and computes."""
    env = TorchTabularVectorEnv(TabularEnv(mdp), 5, "cpu", limit, mode)
    assert env._by_timetable is not None
    with monkeypatch.context() as patch:
        patch.setattr(torch_vector_env, "make_timetable", lambda *_: None)
        other = TorchTabularVectorEnv(TabularEnv(mdp), 5, "cpu", limit, mode)
    assert other._by_timetable is None
    return env, other


def assert_equal_steps(env: Any, other: Any, n_steps: int, seed: int = 0) -> int:
    """Asserts equal results and indices; returns how many episodes ended."""
    generator = torch.Generator().manual_seed(seed)
    n_ended = 0
    for _ in range(n_steps):
        actions = torch.randint(env.mdp.n_actions, (5,), generator=generator)
        *got, infos = env.step_unchecked(actions)
        *wanted, wanted_infos = other.step(actions)
        assert infos.keys() == wanted_infos.keys()
        pairs = list(zip(got, wanted, strict=True))
        pairs += [(infos[name], wanted_infos[name]) for name in infos]
        pairs.append((env.observation_index, other.observation_index))
        pairs.append((env.final_index, other.final_index))
        for mine, theirs in pairs:
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs)
        n_ended += int((got[2] | got[3]).sum())
    return n_ended


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 1, 2, 7])
@pytest.mark.parametrize("mdp", CERTAIN, ids=["sequence", "one_hot", "bandit", "cliff"])
def test_looking_up_gives_what_computing_gives(
    mdp: TabularMDP,
    limit: int | None,
    mode: AutoresetMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env, other = both(mdp, limit, mode, monkeypatch)
    assert torch.equal(env.reset()[0], other.reset()[0])
    n_ended = assert_equal_steps(env, other, 60)
    assert n_ended > 0 or limit is None
    # Some restart alone, so that the clocks differ; then the two change places.
    mask = {"reset_mask": torch.tensor([True, False, False, True, False])}
    assert torch.equal(env.reset(options=mask)[0], other.reset(options=mask)[0])
    assert_equal_steps(env, other, 3, seed=1)
    mine, theirs = env.get_state(), other.get_state()
    assert np.array_equal(env.state, other.state)
    env.set_state(theirs)
    other.set_state(mine)
    assert_equal_steps(env, other, 30, seed=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mdp", [*CERTAIN, random_mdp(0), two_step_mdp()])
def test_the_index_names_what_is_seen(mdp: TabularMDP, mode: AutoresetMode) -> None:
    env = TorchTabularVectorEnv(TabularEnv(mdp), 5, "cpu", 4, mode)
    table = env.observation_table
    np.testing.assert_array_equal(table, mdp.observations)
    for early in ("observation_index", "final_index"):
        with pytest.raises(ResetNeeded):
            getattr(env, early)
    seen, _ = env.reset(seed=0)
    with pytest.raises(ResetNeeded, match="final_index was asked for before"):
        _ = env.final_index
    kept = []
    for t in range(30):
        index = env.observation_index
        assert index.dtype == torch.int64
        assert torch.equal(seen, table[index])
        assert seen.dtype == table.dtype
        kept.append((index, index.clone()))
        seen, *_, infos = env.step_unchecked(torch.full((5,), t % mdp.n_actions))
        last = infos["final_obs"] if mode is SAME else seen
        assert torch.equal(last, table[env.final_index])
    # Nobody has changed them since, and the table handed out is the caller's own.
    assert all(torch.equal(index, then) for index, then in kept)
    table.fill_(0)
    seen = env.step_unchecked(torch.zeros_like(index))[0]
    assert torch.equal(seen, env.observation_table[env.state])


def test_there_is_none_where_something_is_drawn_or_it_would_be_too_long() -> None:
    mdp = sequence_mdp()
    random_start = replace(mdp, initial_distribution=np.array([0.5, 0.5, 0.0]))
    noisy = bandit_mdp(reward_noise="gaussian")
    for drawn in (random_mdp(0), random_start, noisy):
        assert make_timetable(make_tables(drawn), 10, False) is None
    longest = MAX_SIZE // 9
    made = make_timetable(make_tables(mdp), longest, False)
    assert made is not None
    assert len(made.next_place) == longest * 9
    assert make_timetable(make_tables(mdp), longest + 1, False) is None
    assert make_timetable(make_tables(mdp), longest, True) is None
    rendered = make_torch_vec(SEQUENCE, 2, render_mode="rgb_array")
    assert isinstance(rendered, TorchTabularVectorEnv)
    assert rendered._by_timetable is None


def test_a_timetable_by_hand() -> None:
    """Two states in a row and two steps: right, and then centre pays."""
    made = make_timetable(make_tables(sequence_mdp(2)), 2, False)
    assert made is not None
    assert made.start == 0
    # Left, centre, right from state 0 and 1 at time 0, and again at time 1.
    assert made.next_place.tolist() == [2, 2, 3, 2, 0, 3, 0, 0, 0, 0, 0, 0]
    assert made.last_state.tolist() == [0, 0, 1, 0, 1, 1] * 2
    ends = timetable.TERMINATED, timetable.TRUNCATED
    assert made.ending.tolist() == [0, 0, 0, 0, ends[0], 0, 2, 2, 2, 2, sum(ends), 2]
    wanted = np.array([-0.05] * 4 + [1.0] + [-0.05] * 5 + [1.0, -0.05], np.float32)
    np.testing.assert_array_equal(made.reward, wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "mdp",
    [
        sequence_mdp(),
        random_mdp(0),
        random_mdp(0, reward_noise="gaussian"),
        random_mdp(0, reward_noise="bernoulli"),
        two_step_mdp(),
    ],
)
def test_a_step_waits_for_nothing(mdp: TabularMDP, mode: AutoresetMode) -> None:
    for limit in (None, 3):
        env = TorchTabularVectorEnv(TabularEnv(mdp), 4, "cpu", limit, mode)
        env.reset(seed=0)
        actions = torch.tensor([0, 1, 1, 0])
        with NoSynchronisation():
            for _ in range(5):
                env.step_unchecked(actions)
                _ = env.observation_index, env.final_index


@pytest.mark.parametrize("mdp", [sequence_mdp(), random_mdp(0)])
def test_an_unchecked_step_before_reset_is_refused(mdp: TabularMDP) -> None:
    env = TorchTabularVectorEnv(TabularEnv(mdp), 2, "cpu", 5)
    with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
        env.step_unchecked(torch.zeros(2, dtype=torch.int64))


def test_returns_are_counted_for_the_pictures() -> None:
    env = make_torch_vec(SEQUENCE, 1, render_mode="rgb_array")
    other = make_torch_vec(SEQUENCE, 1)
    for each in (env, other):
        each.reset(seed=0)
        each.step([2])
    assert env.get_state()["columns"]["returns"] == pytest.approx(-0.05)
    assert other.get_state()["columns"]["returns"] == 0.0
