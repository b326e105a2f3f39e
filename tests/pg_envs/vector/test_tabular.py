"""Tabular vector environments, on NumPy and on torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from pg_envs import (
    TabularVectorEnv,
    TorchTabularVectorEnv,
    make_numpy_vec,
    make_torch_vec,
)
from pg_envs.bandit import bandit_mdp
from pg_envs.mdp import TabularMDP
from pg_envs.rendering.scene import Snapshot
from pg_envs.sequence import SequenceEnv, sequence_mdp
from pg_envs.tabular import TabularEnv
from tests.pg_envs.tabular_examples import (
    ALL_FORMS,
    BANDIT,
    SEQUENCE,
    Floats,
    assert_bernoulli,
    assert_frequencies,
    assert_gaussian,
    feed_single,
    feed_vector,
    random_mdp,
)
from tests.pg_envs.vector.kinds import MODES, NEXT, SAME, as_array

T, F = True, False
LIBRARIES = ["numpy", "torch"]
every_mode = pytest.mark.parametrize("mode", MODES)
every_library = pytest.mark.parametrize("library", LIBRARIES)


def vector(
    library: str,
    mdp: TabularMDP | TabularEnv,
    num_envs: int,
    limit: int | None = None,
    mode: AutoresetMode = NEXT,
    render_mode: str | None = None,
) -> TabularVectorEnv:
    env = mdp if isinstance(mdp, TabularEnv) else TabularEnv(mdp)
    if library == "torch":
        return TorchTabularVectorEnv(env, num_envs, "cpu", limit, mode, render_mode)
    return TabularVectorEnv(env, num_envs, limit, mode, render_mode)


def registered(library: str, env_id: str, num_envs: int, **arguments: Any) -> Any:
    if library == "torch":
        return make_torch_vec(env_id, num_envs, **arguments)
    return gymnasium.make_vec(env_id, num_envs=num_envs, **arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("env_id", "form"), [case for case in ALL_FORMS if "reward_noise" not in case[1]]
)
def test_equals_gymnasiums_sync_vector_env(
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
        results, expected = native.step(actions), other.step(actions)
        for array, wanted in zip(results[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(array, wanted)
            assert array.dtype == wanted.dtype
        both |= results[2] & results[3]
        assert ("final_obs" in results[4]) == ("final_obs" in expected[4])
        if "final_obs" in results[4]:
            mask = expected[4]["_final_obs"]
            np.testing.assert_array_equal(results[4]["_final_obs"], mask)
            for i in np.flatnonzero(mask):
                final_obs = expected[4]["final_obs"][i]
                np.testing.assert_array_equal(results[4]["final_obs"][i], final_obs)
    assert both.any() == (env_id == SEQUENCE and form.get("n_states", 3) <= 7)
    other.close()


@every_library
def test_the_limit_of_the_id_or_another(library: str) -> None:
    for limit, arguments in ((100, {}), (7, {"max_episode_steps": 7})):
        env = registered(library, BANDIT, 2, **arguments)
        assert env.autoreset_mode is (SAME if library == "torch" else NEXT)
        env.reset(seed=0)
        ends = [env.step(as_array(env, [0, 1]))[3].tolist() for _ in range(limit)]
        assert ends == [[F, F]] * (limit - 1) + [[T, T]]
    env = registered(library, f"pg_envs:{BANDIT}", 2, max_episode_steps=-1)
    assert env.max_episode_steps is None


@every_library
@pytest.mark.parametrize("form", [{}, {"observation": "index"}])
def test_arguments_reach_the_tables(library: str, form: dict[str, Any]) -> None:
    env = registered(library, BANDIT, 2, arm_rewards=[3.0, 4.0], **form)
    env.reset(seed=0)
    assert env.step(as_array(env, [0, 1]))[1].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="arm_rewards"):
        registered(library, BANDIT, 2, arm_rewards=[], **form)
    with pytest.raises(ValueError, match=r"observation must be .*'pixels'"):
        registered(library, BANDIT, 2, observation="pixels")


@dataclass
class Played:
    """Results of N environments in T steps; arrays are `[T, N]`, starts `[N]`."""

    starts: NDArray[np.int64]
    obs: NDArray[np.int64]
    final_obs: NDArray[np.int64]
    rewards: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    @classmethod
    def empty(cls, n_steps: int, n_envs: int) -> Played:
        shape = (n_steps, n_envs)
        return cls(
            starts=np.zeros(n_envs, dtype=np.int64),
            obs=np.zeros(shape, dtype=np.int64),
            final_obs=np.zeros(shape, dtype=np.int64),
            rewards=np.zeros(shape),
            terminated=np.zeros(shape, dtype=np.bool_),
            truncated=np.zeros(shape, dtype=np.bool_),
        )


@dataclass
class Script:
    """The actions `[T, N]` and the draws: `[1, N]` to start, `[T, rows, N]` after."""

    actions: NDArray[np.int64]
    starts: Floats
    draws: Floats

    @classmethod
    def random(cls, seed: int, mdp: TabularMDP, n_steps: int, n_envs: int) -> Script:
        rng = np.random.default_rng(seed)
        rows = 2 if mdp.reward_noise == "none" else 4
        actions = rng.integers(mdp.n_actions, size=(n_steps, n_envs))
        return cls(
            actions, rng.random((1, n_envs)), rng.random((n_steps, rows, n_envs))
        )


def play_singles(
    mdp: TabularMDP, script: Script, limit: int, mode: AutoresetMode
) -> Played:
    """Plays each environment alone, restarted by hand as the mode demands."""
    n_steps, n_envs = script.actions.shape
    played = Played.empty(n_steps, n_envs)
    for i in range(n_envs):
        bare = TabularEnv(mdp)
        env = TimeLimit(bare, limit)
        feed_single(bare, script.starts[0, i])
        played.starts[i] = env.reset()[0]
        ended = False
        for t, action in enumerate(script.actions[:, i]):
            transition, restart, *noise = script.draws[t, :, i]
            if ended and mode is NEXT:
                feed_single(bare, restart)
                played.obs[t, i] = env.reset()[0]
                ended = False
                continue
            feed_single(bare, [transition, *noise])
            obs, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            played.obs[t, i] = played.final_obs[t, i] = obs
            played.rewards[t, i] = reward
            played.terminated[t, i], played.truncated[t, i] = terminated, truncated
            if ended and mode is SAME:
                feed_single(bare, restart)
                played.obs[t, i] = env.reset()[0]
    return played


def play_vector(env: TabularVectorEnv, script: Script) -> Played:
    """Plays all environments at once."""
    n_steps, n_envs = script.actions.shape
    played = Played.empty(n_steps, n_envs)
    feed_vector(env, [script.starts, *script.draws])
    played.starts[:] = env.reset()[0]
    actions = as_array(env, script.actions)
    for t in range(n_steps):
        obs, rewards, terminated, truncated, infos = env.step(actions[t])
        played.obs[t] = obs
        played.rewards[t] = rewards
        played.terminated[t], played.truncated[t] = terminated, truncated
        if env.autoreset_mode is SAME:
            final = infos["final_obs"] if "final_obs" in infos else obs
            played.final_obs[t] = final
            mask = infos.get("_final_obs", np.zeros(n_envs, dtype=np.bool_))
            np.testing.assert_array_equal(mask, terminated | truncated)
    return played


SAME_DRAWS: list[tuple[str, TabularMDP, int, int]] = [
    ("dense", random_mdp(1), 10_000, 25),
    ("gaussian", random_mdp(2, reward_noise="gaussian"), 2_000, 25),
    ("bernoulli", random_mdp(3, reward_noise="bernoulli"), 2_000, 25),
    ("sequence", sequence_mdp(observation="index"), 10_000, 9),
    ("bandit", bandit_mdp(observation="index"), 1_000, 100),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("mdp", "n_steps", "limit"),
    [case[1:] for case in SAME_DRAWS],
    ids=[case[0] for case in SAME_DRAWS],
)
def test_same_draws_give_the_same_episodes_everywhere(
    mdp: TabularMDP, n_steps: int, limit: int, mode: AutoresetMode
) -> None:
    script = Script.random(0, mdp, n_steps, 2)
    alone = play_singles(mdp, script, limit, mode)
    numpy_env = vector("numpy", mdp, 2, limit, mode)
    on_numpy = play_vector(numpy_env, script)
    on_torch = play_vector(vector("torch", mdp, 2, limit, mode), script)
    names = ["starts", "obs", "terminated", "truncated"]
    for name in [*names, "final_obs"] if mode is SAME else names:
        wanted = getattr(alone, name)
        np.testing.assert_array_equal(getattr(on_numpy, name), wanted)
        np.testing.assert_array_equal(getattr(on_torch, name), wanted)
    if mdp.reward_noise == "gaussian":
        # Logarithm and cosine differ in the last digit between scalar and batch.
        np.testing.assert_allclose(on_numpy.rewards, alone.rewards, rtol=1e-12)
        np.testing.assert_allclose(on_torch.rewards, alone.rewards, 1e-6, 1e-6)
    else:
        np.testing.assert_array_equal(on_numpy.rewards, alone.rewards)
        single_precision = alone.rewards.astype(np.float32)
        np.testing.assert_array_equal(on_torch.rewards, single_precision)
    # Episodes end both ways, and in both at once.
    assert alone.truncated.any()
    if mdp.terminal.any():
        assert (alone.terminated & ~alone.truncated).any()
    if n_steps == 10_000:
        assert (alone.terminated & alone.truncated).any()


def test_torch_draws_only_what_the_tables_leave_open() -> None:
    for mdp, is_drawn in ((sequence_mdp(), False), (random_mdp(0), True)):
        env = vector("torch", mdp, 2)
        env.reset(seed=0)
        before = env.get_state()["generator"].tolist()
        for _ in range(400):
            env.step(as_array(env, [0, 1]))
        assert (env.get_state()["generator"].tolist() != before) == is_drawn


@every_library
def test_nothing_is_drawn_where_nothing_is_random(library: str) -> None:
    """Neither in a batch nor in a single environment."""
    for mdp in (sequence_mdp(), bandit_mdp()):
        env, single = vector(library, mdp, 2, 7), TabularEnv(mdp)
        env.reset(seed=0)
        single.reset(seed=0)
        before = [str(e.get_state()["generator"]) for e in (env, single)]
        for _ in range(50):
            env.step(as_array(env, [0, 1]))
            single.step(np.int64(0))
        env.reset()
        single.reset()
        assert [str(e.get_state()["generator"]) for e in (env, single)] == before


@every_library
def test_environments_of_a_batch_are_independent(library: str) -> None:
    env = vector(library, random_mdp(1, terminal_share=0.0), 2)
    actions = as_array(env, [0, 0])
    env.reset(seed=0)
    pairs = np.array([env.step(actions)[0].tolist() for _ in range(5000)], float)
    # A correlation of 5,000 independent pairs has a standard error of 1/sqrt(5000);
    # successive states are slightly correlated, hence 5 of them, not 4.
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 5 / 5000**0.5


def with_starts_as_transitions(mdp: TabularMDP) -> TabularMDP:
    """An MDP whose transitions from everywhere are distributed as the starts are."""
    always = np.tile(mdp.initial_distribution, (mdp.n_states, mdp.n_actions, 1))
    return replace(mdp, transition=always)


@every_library
def test_starts_and_transitions_have_their_frequencies(library: str) -> None:
    n = 100_000
    mdp = random_mdp(1, terminal_share=0.0)
    env = vector(library, mdp, n)
    states, _ = env.reset(seed=3)
    assert_frequencies(with_starts_as_transitions(mdp), np.arange(n) % 6, 0, states)
    actions = np.random.default_rng(2).integers(4, size=n)
    next_states = env.step(as_array(env, actions))[0]
    assert_frequencies(mdp, states, actions, next_states)


@every_mode
@every_library
def test_restarts_have_their_frequencies(library: str, mode: AutoresetMode) -> None:
    n = 60_000
    mdp = random_mdp(1, terminal_share=1.0)
    env = vector(library, mdp, n, None, mode)
    env.reset(seed=3)
    actions = as_array(env, np.zeros(n, np.int64))
    states, _, terminated, _, _ = env.step(actions)
    assert terminated.all()
    if mode is NEXT:
        states = env.step(actions)[0]
    assert_frequencies(with_starts_as_transitions(mdp), np.arange(n) % 6, 0, states)


@every_library
def test_reward_noise_has_its_distribution(library: str) -> None:
    n = 200_000
    arms = np.arange(n) % 2
    rewards = {}
    for noise in ("gaussian", "bernoulli"):
        arguments: Any = {"reward_noise": noise, "noise_scale": 2.0}
        env = registered(library, BANDIT, n, arm_rewards=[0.2, 0.7], **arguments)
        env.reset(seed=1)
        rewards[noise] = env.step(as_array(env, arms))[1]
    for arm, mean in enumerate((0.2, 0.7)):
        assert_gaussian(rewards["gaussian"][arms == arm], mean, 2.0)
        assert_bernoulli(rewards["bernoulli"][arms == arm], mean)


def test_noise_depends_on_neither_transition_nor_restart() -> None:
    """Within each next state and each start, noise has mean 0 and variance 1.

    Within 4.5 standard errors; of 24 numbers, a false alarm once in 6,000 seeds.
    """
    n = 120_000
    mdp = random_mdp(1, terminal_share=1.0, reward_noise="gaussian")
    env = vector("numpy", mdp, n, None, SAME)
    states, _ = env.reset(seed=0)
    starts, rewards, _, _, infos = env.step(np.zeros(n, dtype=np.int64))
    final_obs = infos["final_obs"]
    noise = (rewards - mdp.reward[states, 0, final_obs]) / mdp.noise_scale
    for group in (final_obs, starts):
        for state in range(6):
            sample = noise[group == state]
            root_n = len(sample) ** 0.5
            assert abs(sample.mean()) < 4.5 / root_n
            assert abs((sample**2).mean() - 1.0) < 4.5 * 2**0.5 / root_n


def test_a_wrapped_environment_and_one_without_tables_are_refused() -> None:
    with pytest.raises(TypeError, match="env must be a TabularEnv without wrappers"):
        TabularVectorEnv(gymnasium.make(SEQUENCE))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"or Pixelcopter; 'Acrobot-v1' is a Acrobot"):
        make_torch_vec("Acrobot-v1", 2)
    with pytest.raises(TypeError, match=r"or Pixelcopter; 'Acrobot-v1' is a Acrobot"):
        make_numpy_vec("Acrobot-v1", 2)


@every_library
def test_the_state_is_a_copy(library: str) -> None:
    env = vector(library, SequenceEnv(), 3)
    before: Any = env.state
    assert before is None
    env.reset(seed=0)
    assert env.state.tolist() == [0, 0, 0]
    env.step(as_array(env, [2, 1, 2]))
    assert env.state.tolist() == [1, 0, 1]
    env.state[:] = 2
    env.step(as_array(env, [2, 2, 0]))
    assert env.state.tolist() == [2, 1, 0]


@every_mode
@every_library
def test_frames_are_those_of_the_single_environment(
    library: str, mode: AutoresetMode
) -> None:
    n = 3
    env = vector(library, SequenceEnv(), n, 4, mode, "rgb_array")
    singles = [TimeLimit(SequenceEnv(render_mode="rgb_array"), 4) for _ in range(n)]
    env.reset(seed=0)
    for single in singles:
        single.reset(seed=0)
    ended = [False] * n
    for actions in ([2, 0, 2], [2, 1, 0], [1, 1, 2], [1, 2, 2], [2, 2, 1]):
        env.step(as_array(env, actions))
        for i, (single, action) in enumerate(zip(singles, actions, strict=True)):
            if ended[i]:  # A dummy step of NEXT_STEP.
                single.reset()
                ended[i] = False
                continue
            ended[i] = any(single.step(np.int64(action))[2:4])
            if ended[i] and mode is SAME:
                single.reset()
                ended[i] = False
        frames = env.render()
        assert isinstance(frames, tuple)
        assert len(frames) == n
        for frame, single in zip(frames, singles, strict=True):
            np.testing.assert_array_equal(frame, single.render())
    env.close()


@every_library
def test_a_masked_reset_keeps_the_picture_of_the_others(library: str) -> None:
    snapshots = []

    class Recorded(SequenceEnv):
        def scene(self, snapshot: Snapshot) -> Any:
            snapshots.append(snapshot)
            return super().scene(snapshot)

    env = vector(library, Recorded(), 2, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(as_array(env, [2, 2]))
    env.reset(options={"reset_mask": as_array(env, [True, False])})
    env.render()
    env.step(as_array(env, [0, 2]))
    env.render()
    assert snapshots == [
        Snapshot(0, None, None, 0, 0.0),
        Snapshot(1, 2, -0.05, 1, -0.05, previous_state=0),
        Snapshot(0, 0, -0.05, 1, -0.05, previous_state=0),
        Snapshot(2, 2, -0.05, 2, -0.1, previous_state=1),
    ]
    # And of a restored state.
    other = vector(library, Recorded(), 2, render_mode="rgb_array")
    other.set_state(env.get_state())
    other.render()
    assert snapshots[4:] == snapshots[2:4]
