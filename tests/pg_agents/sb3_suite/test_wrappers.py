"""SB3's vector environment wrappers around environments that agents learn in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
    unwrap_vec_normalize,
)

from pg_agents import REINFORCE
from tests.pg_agents.envs import ScriptedEnv
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    IMAGE_LAST,
    TWO,
    VECTOR,
    rows_of,
    sample_env,
    small,
)

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


def scripted(n_envs: int = 2) -> DummyVecEnv:
    """Returns environments whose rewards count the steps and that truncate."""
    return DummyVecEnv([lambda: Monitor(ScriptedEnv([4], truncates=True))] * n_envs)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_buffer_holds_normalised_observations_and_rewards(agent: Any) -> None:
    env = VecNormalize(scripted(), training=False, epsilon=0.0)
    statistics: Any = env.obs_rms
    statistics.mean, statistics.var = np.array([1.0, 2.0]), np.array([4.0, 0.25])
    env.ret_rms.var = np.array(16.0)
    model = small(agent, env, n_steps=4).learn(8)
    stored = model.rollout_buffer
    # Observations were [0, 0] to [0, 3], finally [0, 4]; rewards 0 to 3.
    expected = [[-0.5, -4.0], [-0.5, -2.0], [-0.5, 0.0], [-0.5, 2.0]]
    np.testing.assert_allclose(stored.observations[:, 0], expected)
    states = stored.rollout.bootstrap_states
    assert states is not None
    np.testing.assert_allclose(states.observations[2:], [[-0.5, 4.0]] * 2)
    np.testing.assert_allclose(stored.rewards[:, 0], [0.0, 0.25, 0.5, 0.75])
    # Logged returns are those of the environment.
    assert [episode["r"] for episode in model.ep_info_buffer] == [6.0, 6.0]


@pytest.mark.parametrize("agent", AGENTS)
def test_normalisation_is_saved_beside_the_model(agent: Any, tmp_path: Path) -> None:
    env = VecNormalize(scripted())
    model = small(agent, env, n_steps=4).learn(40)
    assert model.get_vec_normalize_env() is unwrap_vec_normalize(env) is env
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "statistics"))
    again = VecNormalize.load(str(tmp_path / "statistics"), scripted())
    again.training = False
    loaded = agent.load(tmp_path / "model", env=again)
    raw: Any = np.array([[3.0, 2.0]], dtype=np.float32)
    one, other = env.normalize_obs(raw), again.normalize_obs(raw)
    np.testing.assert_array_equal(one, other)
    assert same_prediction(model, loaded, one)
    returns, _ = evaluate_policy(loaded, again, 2, return_episode_rewards=True)
    assert returns == [6.0, 6.0]


def same_prediction(one: Any, other: Any, obs: Any) -> bool:
    tensor, _ = one.policy.obs_to_tensor(obs)
    first, second = (model.policy.get_distribution(tensor) for model in (one, other))
    return bool((first.distribution.probs == second.distribution.probs).all())


@pytest.mark.parametrize("agent", AGENTS)
def test_chosen_entries_of_a_dict_are_normalised(agent: Any) -> None:
    space = spaces.Dict({"vec": VECTOR, "number": spaces.Discrete(4)})
    env = VecNormalize(DummyVecEnv([lambda: sample_env(space)]), norm_obs_keys=["vec"])
    model = small(agent, env, "MultiInputPolicy", n_steps=32).learn(64)
    stored = model.rollout_buffer.observations
    assert set(np.unique(stored["number"])) <= {0, 1, 2, 3}
    assert np.abs(stored["vec"]).max() > 1.0


@pytest.mark.parametrize("agent", AGENTS)
def test_stacked_frames_restart_with_an_episode(agent: Any) -> None:
    env = VecFrameStack(scripted(1), n_stack=3)
    model = small(agent, env, n_steps=8).learn(8)
    steps = model.rollout_buffer.observations[:, 0, 1::2]
    np.testing.assert_array_equal(
        steps, [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]] * 2
    )


@pytest.mark.parametrize("agent", AGENTS)
def test_images_wrapped_by_hand_are_not_wrapped_again(agent: Any) -> None:
    env = VecTransposeImage(DummyVecEnv([lambda: sample_env(IMAGE_LAST)]))
    kwargs = {"features_extractor_kwargs": {"features_dim": 8}}
    model = agent("CnnPolicy", env, policy_kwargs=kwargs, n_steps=4).learn(4)
    assert model.get_env() is env
    assert model.rollout_buffer.observations.shape == (4, 1, 1, 36, 36)


@pytest.mark.parametrize("agent", AGENTS)
def test_episodes_are_monitored_in_the_vector_environment(
    agent: Any, tmp_path: Path
) -> None:
    plain = DummyVecEnv([lambda: ScriptedEnv([4], truncates=True)] * 2)
    env = VecMonitor(plain, str(tmp_path / "log"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(agent, env, n_steps=4).learn(16)
        returns, lengths = evaluate_policy(model, env, 2, return_episode_rewards=True)
    assert [round(e["r"]) for e in model.ep_info_buffer] == [6, 6, 46, 46]
    assert lengths == [4, 4] and len(returns) == 2  # type: ignore[arg-type]
    env.close()
    # A comment, the columns' names, four episodes of training, two of evaluation.
    assert len((tmp_path / "log.monitor.csv").read_text().splitlines()) == 8


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_videos_are_written(agent: Any, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = make_vec_env(SEQUENCE, n_envs=1, env_kwargs={"render_mode": "rgb_array"})
    recorder = VecVideoRecorder(
        VecNormalize(env), str(tmp_path), lambda step: step % 30 == 0, video_length=5
    )
    small(agent, recorder, n_steps=4).learn(40)
    recorder.close()
    names = {path.name for path in tmp_path.glob("*.mp4")}
    assert names == {"rl-video-step-0-to-step-5.mp4", "rl-video-step-30-to-step-35.mp4"}


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_the_same_in_subprocesses(agent: Any, start_method: str) -> None:
    learnt = []
    for kwargs in (
        {"vec_env_cls": DummyVecEnv},
        {
            "vec_env_cls": SubprocVecEnv,
            "vec_env_kwargs": {"start_method": start_method},
        },
    ):
        env = make_vec_env(SEQUENCE, n_envs=2, seed=0, **kwargs)
        model = small(agent, env).learn(40)
        learnt.append([p.detach().numpy() for p in model.policy.parameters()])
        env.close()
    for one, other in zip(*learnt, strict=True):
        # Rounding depends on the memory alignment of the observations.
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_dicts_come_from_subprocesses(agent: Any) -> None:
    space = spaces.Dict({"vec": VECTOR, "number": spaces.Discrete(4)})
    env = SubprocVecEnv([lambda: sample_env(space, TWO)] * 2)
    model = small(agent, env, "MultiInputPolicy", n_steps=8).learn(32)
    assert model.rollout_buffer.observations["vec"].shape == (8, 2, 2)
    env.close()


def test_idle_environments_add_no_episodes_to_a_monitor() -> None:
    """Each environment contributes one episode; the short one idles afterwards."""
    envs: list[Any] = [
        lambda length=length: Monitor(ScriptedEnv([length])) for length in (1, 3)
    ]
    model = small(REINFORCE, DummyVecEnv(envs))
    rows = rows_of(model)
    model.learn(6, log_interval=1)
    assert [episode["l"] for episode in model.ep_info_buffer] == [1, 3]
    assert rows.rows[0][1]["rollout/ep_len_mean"] == 2.0
    # Two of six steps.
    assert rows.rows[0][1]["rollout/idle_fraction"] == pytest.approx(1 / 3)
