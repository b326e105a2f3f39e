"""What the rollout loop records, on environments whose every step is known."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.rollout.data import Batch
from pg_agents.vec_env.adapter import VectorEnvAdapter
from tests.pg_agents.envs import CoinLengthEnv, ScriptedEnv, StaggeredVectorEnv


class Rollouts(BaseCallback):
    """Keeps each rollout's columns, and counts steps."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.kept: list[dict[str, Any]] = []
        self.idle: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        assert isinstance(buffer, TrajectoryBuffer)
        recorded = buffer.recorded
        kept = {name: getattr(buffer, name)[recorded].tolist() for name in self.names}
        self.kept.append(kept | {"recorded": recorded.tolist()})
        self.idle.append(self.logger.name_to_value["rollout/idle_fraction"])


def collect(
    model: PolicyGradientAlgorithm, n_rollouts: int, *names: str
) -> list[dict[str, Any]]:
    rollouts = Rollouts(names)

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return len(rollouts.kept) < n_rollouts

    model.learn(10**6, callback=[rollouts, Stop()])
    return rollouts.kept[:n_rollouts]


def scripted(*lengths: list[int], truncates: bool = False) -> DummyVecEnv:
    def maker(own: list[int]) -> Any:
        return lambda: ScriptedEnv(own, truncates)

    return DummyVecEnv([maker(own) for own in lengths])


def test_whole_episodes_of_a_single_environment() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([2, 3]), n_episodes=2)
    first, second = collect(model, 2, "rewards", "terminated", "episode_steps")
    assert first["rewards"] == [0, 1, 10, 11, 12]
    assert first["terminated"] == [False, True, False, False, True]
    assert first["episode_steps"] == [0, 1, 0, 1, 2]
    # The next rollout goes on with the next episode: nothing was reset or lost.
    assert second["rewards"] == [20, 21, 30, 31, 32]


def test_every_environment_gets_its_own_number_of_episodes() -> None:
    """The first four to finish would all have one step."""
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=2)
    (rollout,) = collect(model, 1, "rewards", "terminated", "log_probs")
    assert sum(rollout["terminated"]) == 4
    # Environment 0: episodes of 1 step; environment 1: 4 steps each.
    assert [row[0] for row in rollout["recorded"]] == [True, True] + [False] * 6
    assert [row[1] for row in rollout["recorded"]] == [True] * 8
    assert sorted(rollout["rewards"]) == [0, 0, 1, 2, 3, 10, 10, 11, 12, 13]


class Batches(BaseCallback):
    """Keeps what each update learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Batch] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.kept.append(self.locals["rollout_buffer"].batch())


def test_sums_are_divided_by_the_episodes_of_all_environments() -> None:
    """2 environments with 2 episodes each; idle ones add none."""
    batches = Batches()
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=2)
    model.learn(30, callback=batches)
    assert len(batches.kept) > 1
    assert {batch.n_samples for batch in batches.kept} == {4}
    assert {len(batch.actions) for batch in batches.kept} == {10}


def test_an_episode_is_compared_with_those_of_all_environments() -> None:
    """Rewards 0 and 10 of one environment, 0 + 1 and 10 + 11 of the other."""
    batches = Batches()
    model = REINFORCE(
        "MlpPolicy",
        scripted([1], [2]),
        n_episodes=2,
        gamma=1.0,
        baseline="leave_one_out",
    )
    model.learn(1, callback=batches)
    got = sorted(batches.kept[0].advantages.tolist())
    first = [0.0, 10.0, 1.0, 21.0]
    expected = [g - (sum(first) - g) / 3 for g in first]
    expected += [g - (12.0 - g) / 3 for g in (1.0, 11.0)]
    np.testing.assert_allclose(got, sorted(expected), atol=1e-5)


@pytest.mark.parametrize("truncates", [False, True])
def test_a_time_limit_is_no_termination(truncates: bool) -> None:
    for kind in ("single", "vector"):
        env: Any = (
            ScriptedEnv([2], truncates)
            if kind == "single"
            else StaggeredVectorEnv([2], AutoresetMode.SAME_STEP, truncates)
        )
        model = ActorCritic("MlpPolicy", env, n_steps=4)
        (rollout,) = collect(model, 1, "terminated", "truncated")
        ends, never = [False, True, False, True], [False] * 4
        assert rollout["truncated"] == (ends if truncates else never)
        assert rollout["terminated"] == (never if truncates else ends)


def test_share_of_steps_that_idle_environments_waste_is_logged() -> None:
    rollouts = Rollouts(())
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=2)
    model.learn(1, callback=rollouts)
    # 8 rows of 2 environments, of which 6 steps idle.
    assert rollouts.idle == [6 / 16]


def test_episode_quota_keeps_the_true_share_of_short_episodes() -> None:
    """Half of the episodes are short; of the first 8 of 4 environments more are.

    1,600 episodes: standard error 0.0125; a share beyond 4 of them, as 0.61 is,
    has a false-alarm rate of 6 in 100,000.
    """
    env = DummyVecEnv([lambda: CoinLengthEnv(long=5)] * 4)
    model = REINFORCE("MlpPolicy", env, n_episodes=2, seed=3, learning_rate=0.0)
    n_rollouts = 200
    lengths = [
        step + 1
        for rollout in collect(model, n_rollouts, "episode_steps", "terminated")
        for step, end in zip(
            rollout["episode_steps"], rollout["terminated"], strict=True
        )
        if end
    ]
    assert len(lengths) == 8 * n_rollouts
    assert abs(np.mean(np.array(lengths) == 1) - 0.5) < 4 * 0.0125


def test_first_to_finish_would_prefer_short_episodes() -> None:
    """The share of short episodes among the first to finish."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(4000):
        clock, short = np.zeros(4, dtype=int), []
        ends = []
        for i in range(4):
            for _ in range(8):
                is_short = generator.random() < 0.5
                clock[i] += 1 if is_short else 5
                ends.append((clock[i], i, is_short))
        short = [is_short for _, _, is_short in sorted(ends)[:8]]
        shares.append(np.mean(short))
    assert np.mean(shares) > 0.6


def test_idle_environments_begin_anew_in_the_next_rollout() -> None:
    model = REINFORCE("MlpPolicy", scripted([2], [5]), n_episodes=1)
    _, second = collect(model, 2, "episode_steps", "observations")
    # By episodes: environment 0 was in the middle of one when environment 1 ended.
    assert second["episode_steps"] == [0, 0, 1, 1, 2, 3, 4]
    assert [steps for _, steps in second["observations"]] == [0, 0, 1, 1, 2, 3, 4]


def test_an_episode_that_never_ends_is_stopped_with_a_warning() -> None:
    """As by a time limit."""
    env = ScriptedEnv([0])
    model = REINFORCE("MlpPolicy", env, max_episode_steps=6)
    with pytest.warns(UserWarning, match="still running after 6 steps"):
        first, second = collect(model, 2, "episode_steps", "truncated", "terminated")
    for rollout in (first, second):
        assert rollout["episode_steps"] == [0, 1, 2, 3, 4, 5]
        assert rollout["truncated"] == [False] * 5 + [True]
        assert not any(rollout["terminated"])


def test_what_lies_beyond_the_cap_is_valued_by_what_was_seen_there() -> None:
    """A truncation, so bootstrapped where the estimator does."""
    model = ActorCritic(
        "MlpPolicy",
        ScriptedEnv([0]),
        n_episodes=1,
        max_episode_steps=3,
        learning_rate=0.0,
    )
    with pytest.warns(UserWarning, match="still running after 3 steps"):
        (rollout,) = collect(model, 1, "next_values")
    followed = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    with torch.no_grad():
        expected = model.policy.predict_values(followed).flatten()
    np.testing.assert_allclose(rollout["next_values"], expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_there_is_a_cap_unless_somebody_raises_it(agent: Any) -> None:
    """The step cap holds by default."""
    assert agent("MlpPolicy", ScriptedEnv([3])).max_episode_steps == 10_000


def test_environments_stopped_at_the_cap_still_do_all_their_episodes() -> None:
    model = REINFORCE(
        "MlpPolicy", scripted([0, 2], [1]), n_episodes=2, max_episode_steps=3
    )
    with pytest.warns(UserWarning, match="still running after 3 steps"):
        (rollout,) = collect(model, 1, "truncated", "terminated")
    assert sum(rollout["truncated"]) == 1
    assert sum(rollout["terminated"]) == 3
    by_env = np.array(rollout["recorded"])
    # Three steps to the cap, then, after a reset of all, two steps to the end.
    assert by_env[:, 0].tolist() == [True] * 5
    assert by_env[:, 1].tolist() == [True, True, False, False, False]


def test_a_rollout_of_steps_goes_on_where_the_last_one_stopped() -> None:
    model = ActorCritic("MlpPolicy", ScriptedEnv([0]), n_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = collect(model, 2, "episode_steps")
    assert first["episode_steps"] == [0, 1, 2]
    assert second["episode_steps"] == [3, 4, 5]


@pytest.mark.parametrize("truncates", [False, True])
def test_dummy_steps_never_reach_the_learner(truncates: bool) -> None:
    """NEXT_STEP gives the learner the same data as SAME_STEP."""
    by_mode = {}
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = StaggeredVectorEnv([2, 3], mode, truncates)
        model = REINFORCE("MlpPolicy", env, n_episodes=2)
        (rollout,) = collect(
            model, 1, "observations", "rewards", "terminated", "truncated"
        )
        rows = zip(
            rollout["observations"],
            rollout["rewards"],
            rollout["terminated"],
            rollout["truncated"],
            strict=True,
        )
        by_mode[mode] = sorted((row for row in rows), key=str)
    assert by_mode[AutoresetMode.NEXT_STEP] == by_mode[AutoresetMode.SAME_STEP]
    assert len(by_mode[AutoresetMode.NEXT_STEP]) == 2 * 2 + 2 * 3


def test_dummy_steps_of_a_rollout_of_steps_are_left_out() -> None:
    env = StaggeredVectorEnv([2, 5])
    model = ActorCritic("MlpPolicy", env, n_steps=6)
    (rollout,) = collect(model, 1, "rewards", "episode_steps")
    by_env = np.array(rollout["recorded"])
    assert by_env[:, 0].tolist() == [True, True, False, True, True, False]
    assert by_env[:, 1].tolist() == [True] * 5 + [False]
    # By rows; a dummy step is no step of the episode that follows it.
    assert rollout["episode_steps"] == [0, 0, 1, 1, 2, 0, 3, 1, 4]


def test_dummy_steps_are_seen_through_wrappers() -> None:
    adapter = VectorEnvAdapter(StaggeredVectorEnv([2, 5]), True)
    model = ActorCritic("MlpPolicy", VecNormalize(adapter), n_steps=6)
    (rollout,) = collect(model, 1, "rewards")
    assert np.array(rollout["recorded"])[:, 0].tolist() == [True, True, False] * 2


def test_cartpoles_own_vector_environment_pays_one_for_every_recorded_step() -> None:
    """On an environment that has NEXT_STEP only."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=3)
    model = REINFORCE("MlpPolicy", env, n_episodes=3, seed=0)
    (rollout,) = collect(model, 1, "rewards", "terminated")
    assert set(rollout["rewards"]) == {1.0}
    assert sum(rollout["terminated"]) == 9


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_truncated_environments_are_bootstrapped_in_one_forward(
    estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bootstrap pass for all truncated environments."""
    env = scripted([2], [2], [2], [3], truncates=True)
    model = ActorCritic("MlpPolicy", env, n_steps=6, estimator=estimator)
    sizes = []
    predict_values = model.policy.predict_values

    def counted(observations: Any) -> Any:
        sizes.append(len(observations))
        return predict_values(observations)

    monkeypatch.setattr(model.policy, "predict_values", counted)
    collect(model, 1, "rewards")
    # Three times three ends and two of the fourth, and four unfinished rows.
    assert sizes[0] == 3 * 3 + 2 + 4
    assert len(sizes) == 1


def test_a_truncated_episode_is_bootstrapped_from_what_was_seen_last() -> None:
    """And not from the state that the environment restarted in."""
    model = ActorCritic(
        "MlpPolicy", ScriptedEnv([2], truncates=True), n_steps=4, learning_rate=0.0
    )
    rollouts = Rollouts(())

    class Compare(BaseCallback):
        successors: Any = None

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.successors = self.locals["rollout_buffer"].next_values[:, 0]

    compare = Compare()
    model.learn(4, callback=[rollouts, compare])
    # Episode and steps of s_{t+1}; the scripted env counts episodes from 0.
    followed = torch.tensor([[0.0, 1], [0, 2], [1, 1], [1, 2]])
    with torch.no_grad():
        expected = model.policy.predict_values(followed).flatten()
    np.testing.assert_allclose(compare.successors, expected.numpy(), atol=1e-6)


def test_callbacks_see_recorded_episodes_only() -> None:
    """An idle environment's episodes are nobody's result."""
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=1)
    model.learn(1)
    assert model.ep_info_buffer is not None
    # No Monitor, no episodes: with one there are two.
    model = REINFORCE("MlpPolicy", VecMonitor(scripted([1], [4])), n_episodes=1)
    dones: list[list[bool]] = []

    def look(local: dict[str, Any], _: dict[str, Any]) -> bool:
        dones.append(local["dones"].tolist())
        return True

    model.learn(1, callback=look)
    assert model.ep_info_buffer is not None
    assert sorted(info["l"] for info in model.ep_info_buffer) == [1, 4]
    assert dones == [[True, False], [False, False], [False, False], [False, True]]


def test_callbacks_find_the_locals_of_stable_baselines3() -> None:
    from stable_baselines3 import A2C

    seen: dict[str, set[str]] = {}
    for algorithm in (A2C, ActorCritic):

        def look(local: dict[str, Any], _: dict[str, Any], name: str = "") -> bool:
            seen[algorithm.__name__] = set(local)  # noqa: B023
            assert isinstance(local["new_obs"], np.ndarray)
            return True

        algorithm("MlpPolicy", ScriptedEnv([3])).learn(5, callback=look)
    missing = seen["A2C"] - seen["ActorCritic"]
    # Loop variables of SB3's bootstrapping, there in some steps only.
    assert missing <= {"idx", "done", "terminal_obs", "terminal_value"}


def test_a_callback_that_stops_in_mid_rollout_learns_nothing_from_it() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([4]))
    model.learn(100, callback=lambda local, _: local["n_steps"] < 2)
    assert model.num_timesteps == 3
    assert model._n_updates == 0


def test_an_episode_that_a_callback_stops_at_its_end_is_still_learnt_from() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([4]))
    model.learn(100, callback=lambda local, _: not local["dones"].any())
    assert model.num_timesteps == 4
    assert model._n_updates == 1


def test_learning_on_begins_whole_episodes_at_their_beginning() -> None:
    """After a stop in mid-episode, without a new count of steps."""
    env = ScriptedEnv([4])
    model = REINFORCE("MlpPolicy", env)
    model.learn(100, callback=lambda local, _: local["n_steps"] < 2)
    kept = Rollouts(("episode_steps",))
    model.learn(1, callback=kept, reset_num_timesteps=False)
    assert kept.kept[0]["episode_steps"] == [0, 1, 2, 3]


def test_actions_of_a_gaussian_are_clipped_for_the_environment_alone() -> None:
    class Narrow(ScriptedEnv):
        def __init__(self) -> None:
            super().__init__([3])
            self.action_space = gymnasium.spaces.Box(-0.1, 0.1, (1,))  # type: ignore[assignment]
            self.seen: list[float] = []

        def step(self, action: Any) -> Any:
            self.seen.append(float(action[0]))
            return super().step(action)

    env = Narrow()
    model = REINFORCE("MlpPolicy", env, n_episodes=5, seed=0)
    (rollout,) = collect(model, 1, "actions")
    drawn = np.array(rollout["actions"]).flatten()
    assert np.abs(env.seen).max() <= 0.1 + 1e-6
    assert np.abs(drawn).max() > 0.5
    np.testing.assert_allclose(np.clip(drawn, -0.1, 0.1), env.seen[:15], atol=1e-6)


def test_a_rollout_of_steps_knows_no_cap() -> None:
    model = ActorCritic("MlpPolicy", ScriptedEnv([0]), n_steps=5, max_episode_steps=2)
    (rollout,) = collect(model, 1, "truncated", "episode_steps")
    assert rollout["truncated"] == [False] * 5
    assert rollout["episode_steps"] == [0, 1, 2, 3, 4]


def test_idle_environments_are_not_stopped_at_the_cap() -> None:
    """Nobody waits for them: no warning."""
    model = REINFORCE(
        "MlpPolicy", scripted([1, 1, 0], [4]), n_episodes=2, max_episode_steps=4
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collect(model, 1)


def test_no_forward_of_the_policy_is_of_a_truncated_environment_alone() -> None:
    """Truncated and unfinished episodes are valued in one forward of their own."""
    env = scripted([2], [2], [2], [3], truncates=True)
    model = ActorCritic("MlpPolicy", env, n_steps=6, learning_rate=0.0)
    sizes: list[int] = []

    def count(_: Any, inputs: tuple[Any, ...]) -> None:
        sizes.append(len(inputs[0]))

    model.policy.value_net.register_forward_pre_hook(count)
    collect(model, 1)
    acting, update, beyond = 4, 4 * 6, 3 * 3 + 2 + 4
    assert [size for size in sizes if size not in (acting, update)] == [beyond]


def test_an_episode_that_ends_by_itself_at_the_cap_is_not_stopped_there() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([3]), max_episode_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (rollout,) = collect(model, 1, "terminated", "truncated")
    assert rollout["terminated"] == [False, False, True]
    assert rollout["truncated"] == [False] * 3


def test_beyond_the_cap_is_not_what_a_reset_of_all_showed() -> None:
    """Stopped in mid-rollout, the next row belongs to another episode."""
    model = ActorCritic(
        "MlpPolicy",
        scripted([0, 2]),
        n_episodes=2,
        max_episode_steps=3,
        learning_rate=0.0,
    )
    with pytest.warns(UserWarning, match="still running after 3 steps"):
        (rollout,) = collect(model, 1, "next_values")
    with torch.no_grad():
        expected = model.policy.predict_values(torch.tensor([[0.0, 3.0]])).item()
    assert rollout["next_values"][2] == pytest.approx(expected, abs=1e-6)
