"""Files and parameters: what SB3's test_save_load asks of A2C."""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    IMAGE_LAST,
    SMALL,
    VECTOR,
    same,
    sample_env,
    weights,
)


def vec_env(n_envs: int = 1) -> DummyVecEnv:
    return DummyVecEnv([lambda: sample_env(action_space=VECTOR)] * n_envs)


def small(agent: Any, env: Any = None, **kwargs: Any) -> Any:
    return agent("MlpPolicy", env or vec_env(), policy_kwargs=SMALL, seed=0, **kwargs)


def observations() -> Any:
    return np.random.default_rng(0).uniform(-1.0, 1.0, (10, 2)).astype(np.float32)


# test_save_load::test_save_load
@pytest.mark.parametrize("agent", AGENTS)
def test_parameters_that_do_not_fit_are_refused(agent: Any) -> None:
    model = small(agent)
    given = copy.deepcopy(model.get_parameters())
    assert list(given) == ["policy", "policy.optimizer"]
    for exact in (True, False):
        with pytest.raises(ValueError, match="nobody"):
            model.set_parameters({**given, "nobody": {}}, exact_match=exact)
    with pytest.raises(ValueError, match="optimizer"):
        model.set_parameters({"policy": given["policy"]}, exact_match=True)
    *names, last = given["policy"]
    part = {name: torch.ones_like(given["policy"][name]) for name in names}
    with pytest.raises(RuntimeError, match="Missing"):
        model.set_parameters({**given, "policy": part}, exact_match=True)
    model.set_parameters({**given, "policy": part}, exact_match=False)
    after = weights(model)
    assert torch.equal(after.pop(last), given["policy"][last])
    assert all((value == 1.0).all() for value in after.values())


# test_save_load::test_save_load
@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_model_comes_back_and_learns_on(
    agent: Any, device: str, tmp_path: Path
) -> None:
    model = small(agent, learning_rate=1e-3).learn(32)
    model.save(tmp_path / "model")
    env = vec_env()
    loaded = agent.load(str(tmp_path / "model.zip"), env=env, device=device)
    assert loaded.policy.device == loaded.device
    assert same(weights(model), weights(loaded))
    steps = [m.policy.optimizer.state_dict()["state"] for m in (model, loaded)]
    assert steps[0].keys() == steps[1].keys() and len(steps[0]) > 0
    for expected, action in zip(
        model.predict(observations(), deterministic=True)[0],
        loaded.predict(observations(), deterministic=True)[0],
        strict=True,
    ):
        np.testing.assert_array_equal(expected, action)
    loaded.learn(32)
    assert not same(weights(model), weights(loaded))


# test_save_load::test_save_load
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("agent", AGENTS)
def test_a_compiled_policy_is_saved_as_what_it_was(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.compile turns it off for the whole process.
    distribution = torch.distributions.Distribution
    monkeypatch.setattr(distribution, "_validate_args", True)
    model = small(agent)
    expected = weights(model)
    model.policy = torch.compile(model.policy)
    model.save(tmp_path / "model")
    assert same(expected, weights(agent.load(tmp_path / "model")))


# test_save_load::test_set_env
@pytest.mark.parametrize("agent", AGENTS)
def test_environments_are_exchanged_and_steps_counted_on(
    agent: Any, tmp_path: Path
) -> None:
    model = small(agent, n_steps=16).learn(32)
    model.set_env(vec_env(), force_reset=True)
    assert model._last_obs is None
    assert model.learn(32, reset_num_timesteps=True).num_timesteps == 32
    model.set_env(sample_env(action_space=VECTOR))
    model.learn(32)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(vec_env(2))
    current = model.get_env()
    model.set_env(current, force_reset=False)
    assert model._last_obs is not None
    assert model.learn(32, reset_num_timesteps=False).num_timesteps == 64
    model.save(tmp_path / "model")
    kept = agent.load(tmp_path / "model", env=current, force_reset=False)
    assert kept._last_obs is not None
    assert kept.learn(32, reset_num_timesteps=False).num_timesteps == 96
    fresh = agent.load(tmp_path / "model", env=vec_env(), force_reset=True)
    assert fresh._last_obs is None
    # It counts on, and says that it does not go on in the same episode.
    with pytest.warns(UserWarning, match="is reset"):
        assert fresh.learn(32, reset_num_timesteps=False).num_timesteps == 96
    assert agent.load(tmp_path / "model", env=vec_env(2)).learn(32).n_envs == 2


# test_save_load::test_exclude_include_saved_params
@pytest.mark.parametrize("agent", AGENTS)
def test_attributes_are_left_out_put_in_and_replaced(
    agent: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small(agent, verbose=2)
    model.save(tmp_path / "model", exclude=["verbose"])
    assert agent.load(tmp_path / "model").verbose == 0
    model.save(tmp_path / "model", exclude=["verbose"], include=["verbose"])
    loaded = agent.load(
        tmp_path / "model",
        custom_objects={"learning_rate": 2e-5, "unknown": 1.0},
        print_system_info=True,
    )
    assert loaded.verbose == 2 and loaded.learning_rate == 2e-5
    assert not hasattr(loaded, "unknown")
    assert "CURRENT SYSTEM INFO" in capsys.readouterr().out


# test_save_load::test_save_load_env_cnn
@pytest.mark.parametrize("agent", AGENTS)
def test_an_image_environment_is_wrapped_again_on_loading(
    agent: Any, tmp_path: Path
) -> None:
    kwargs = {"features_extractor_kwargs": {"features_dim": 8}}
    env = FakeImageEnv(screen_height=40, screen_width=40, n_channels=2, discrete=False)
    model = agent("CnnPolicy", env, policy_kwargs=kwargs)
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model", env=env, policy_kwargs=kwargs).learn(1)
    assert loaded.observation_space.shape == (2, 40, 40)
    # A model saved when there was one features extractor for both.
    del model.policy.pi_features_extractor
    model.save(tmp_path / "old")
    with pytest.warns(UserWarning, match="SB3 < 1.7.0"):
        agent.load(tmp_path / "old", env=env, policy_kwargs=kwargs)


# test_save_load::test_save_load_policy
@pytest.mark.parametrize("use_sde", [False, True])
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_policy_alone_comes_back(
    agent: Any, images: bool, use_sde: bool, tmp_path: Path
) -> None:
    space = IMAGE_LAST if images else VECTOR
    kwargs = {"features_extractor_kwargs": {"features_dim": 8}} if images else SMALL
    name = "CnnPolicy" if images else "MlpPolicy"
    env = sample_env(space, VECTOR)
    model = agent(name, env, policy_kwargs=kwargs, use_sde=use_sde, seed=0).learn(8)
    policy = model.policy
    seen = model.get_env().reset()
    policy.save(tmp_path / "policy")
    loaded = type(policy).load(tmp_path / "policy")
    assert same(policy.state_dict(), loaded.state_dict())
    expected = policy.predict(seen, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(seen, deterministic=True)[0], expected)


class Rate:
    """A learning rate whose class may be gone when it is loaded."""

    def __call__(self, progress: float) -> float:
        return 0.25 * progress


# test_save_load::test_load_invalid_object
@pytest.mark.parametrize("agent", AGENTS)
def test_an_object_that_cannot_be_unpickled_is_replaced(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(agent, learning_rate=Rate()).save(tmp_path / "model")
    monkeypatch.delattr(sys.modules[__name__], "Rate")
    with pytest.warns(UserWarning, match="custom_objects"):
        agent.load(tmp_path / "model")
    # Both as in SB3: the schedule that is made of the learning rate is saved as well.
    given = {"learning_rate": 0.5, "lr_schedule": None}
    loaded = agent.load(tmp_path / "model", custom_objects=given)
    assert loaded.lr_schedule(1.0) == 0.5


# test_save_load::test_no_resource_warning
@pytest.mark.parametrize("agent", AGENTS)
def test_files_are_closed_unless_they_are_the_callers(
    agent: Any, tmp_path: Path
) -> None:
    """A file left open would be a ResourceWarning, and so an error."""
    model = small(agent)
    for path in (tmp_path / "model", str(tmp_path / "model")):
        model.save(path)
        agent.load(path)
    with tempfile.TemporaryFile() as file:
        model.save(file)
        file.seek(0)
        assert same(weights(model), weights(agent.load(file)))
        assert not file.closed


# test_save_load::test_cast_lr_schedule
@pytest.mark.parametrize("agent", AGENTS)
def test_learning_rates_are_plain_floats(agent: Any, tmp_path: Path) -> None:
    model = small(agent, learning_rate=lambda progress: progress * np.sin(1.0))
    model.save(tmp_path / "model")
    for each in (model, agent.load(tmp_path / "model")):
        assert type(each.lr_schedule(1.0)) is float
        assert each.lr_schedule(0.5) == pytest.approx(0.5 * np.sin(1.0))


# test_save_load::test_save_load_net_arch_none
@pytest.mark.parametrize("agent", AGENTS)
def test_net_arch_none_is_the_usual_one(agent: Any, tmp_path: Path) -> None:
    model = agent("MlpPolicy", vec_env(), policy_kwargs={"net_arch": None})
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model")
    assert loaded.policy.net_arch is not None
    widths = [len(value) for name, value in weights(loaded).items() if "bias" in name]
    assert widths[:2] == [64, 64]


# test_save_load::test_save_load_backward_compatible,
# test_save_load::test_save_load_clip_range_portable
@pytest.mark.parametrize("agent", AGENTS)
def test_schedules_come_back(agent: Any, tmp_path: Path) -> None:
    schedules = {
        "learning_rate": lambda _: 0.001,
        "clip_range": LinearSchedule(0.3, 0.1, 1.0),
        "ent_coef": lambda progress: 0.01 * progress,
    }
    model = small(agent, **schedules)
    model.learn(16).save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model", env=vec_env()).learn(16)
    for name in schedules:
        for progress in (1.0, 0.3):
            expected = getattr(model, name)(progress)
            assert getattr(loaded, name)(progress) == expected


# test_save_load::test_load_bad_zip
@pytest.mark.parametrize("agent", AGENTS)
def test_a_file_that_is_no_zip_is_refused(agent: Any, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="zip"):
        agent.load(tmp_path / "text")
