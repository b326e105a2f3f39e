"""Saving, loading and learning on: bit for bit what not stopping does."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback

import pg_envs
from pg_agents import REINFORCE, ActorCritic, RandomAgent
from pg_agents.checkpoint.state import random_states
from tests.pg_agents.checkpoint.resuming_examples import (
    FRESH,
    MAKERS,
    NEXT,
    SAME,
    Dummies,
    assert_same,
    check_exact,
    continued,
    equal,
    new,
    remains,
    scramble,
    single,
    torch_vector,
    vector,
)

LEARNERS: list[Any] = [REINFORCE, ActorCritic]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("agent", LEARNERS)
def test_learning_goes_on_bit_for_bit(agent: Any, make: Callable[[], Any]) -> None:
    check_exact(agent, make)


@pytest.mark.parametrize("make", ["single", "normalized", "torch, next step"])
@pytest.mark.parametrize("agent", LEARNERS)
def test_counting_anew_it_goes_on_bit_for_bit_too(agent: Any, make: str) -> None:
    check_exact(agent, MAKERS[make], reset=True)


@pytest.mark.parametrize("mode", [SAME, NEXT])
def test_it_does_in_environments_made_by_their_ids(mode: AutoresetMode) -> None:
    form: dict[str, Any] = {"reward_noise": "gaussian", "noise_scale": 0.5}

    def make_vec() -> Any:
        return gymnasium.make_vec("PGToy-Bandit-v0", 3, autoreset_mode=mode, **form)

    def make_torch() -> Any:
        return pg_envs.make_torch_vec("PGToy-Bandit-v0", 3, autoreset_mode=mode, **form)

    check_exact(REINFORCE, make_vec)
    check_exact(ActorCritic, make_torch)
    check_exact(ActorCritic, lambda: gymnasium.make("PGToy-Bandit-v0", **form))


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_steps": 7, "n_episodes": None},
        {"max_episode_steps": 5},
        {"baseline": "value"},
        {"learning_rate": lambda progress: 0.01 * progress},
    ],
)
def test_it_does_with_any_data_and_schedule(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # Of the cap on an episode.
        warnings.filterwarnings("ignore", "an episode was still running")
        check_exact(REINFORCE, MAKERS["DummyVecEnv"], **arguments)


REMEMBERING: list[tuple[Any, dict[str, Any]]] = [
    (REINFORCE, {"memory_size": 60, "replay": "importance"}),
    (REINFORCE, {"memory_size": 60, "replay": "returns", "batch_size": 8}),
    (ActorCritic, {"memory_size": 60, "gradient_steps": 2}),
    (ActorCritic, {"target_update_interval": 3, "tau": 0.5}),
    (ActorCritic, {"critic_learning_rate": 0.05, "ent_coef": lambda p: 0.1 * p}),
    (ActorCritic, {"n_steps": 8, "n_epochs": 2, "batch_size": 8, "clip_range": 0.2}),
]


@pytest.mark.parametrize(("agent", "arguments"), REMEMBERING)
def test_memory_target_network_and_rates_are_kept(
    agent: Any, arguments: dict[str, Any]
) -> None:
    check_exact(agent, MAKERS["DummyVecEnv"], **arguments)


def test_a_memory_of_another_size_or_none_can_be_asked_for() -> None:
    file = io.BytesIO()
    new(ActorCritic, single(), memory_size=40).learn(60).save(file)
    for size in (10, None):
        model = ActorCritic.load(file, env=single(), memory_size=size)
        model.learn(20, reset_num_timesteps=False)
        if size is None:
            assert model.replay_memory is None
        else:
            assert (
                model.replay_memory is not None and 10 <= len(model.replay_memory) < 15
            )
    forgetful = io.BytesIO()
    ActorCritic.load(file).save(forgetful, exclude=["replay_memory"])
    memory = ActorCritic.load(forgetful).replay_memory
    assert memory is not None and len(memory) == 0


def test_it_does_where_the_next_step_is_a_dummy() -> None:
    runs = []
    for stops in (False, True):
        model = new(ActorCritic, Dummies()).learn(15)
        while not model.get_env().unwrapped._last_dones.any():
            model.learn(15, reset_num_timesteps=False)
        if stops:
            model = continued(model, Dummies())
        runs.append(remains(model.learn(15, reset_num_timesteps=False)))
    assert_same(*runs)


def test_a_run_that_a_callback_stopped_goes_on_as_it_would_have() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 11

    runs = []
    for stops in (False, True):
        model = new(ActorCritic, vector(SAME)).learn(100, callback=Stop())
        if stops:
            model = continued(model, vector(SAME))
        runs.append(remains(model.learn(60, reset_num_timesteps=False)))
    assert_same(*runs)


def test_a_model_saved_before_it_learnt_learns_the_same() -> None:
    makers: list[Callable[[], Any]] = [single, lambda: gymnasium.make("CartPole-v1")]
    for make in makers:
        straight = remains(new(ActorCritic, make()).learn(50))
        model = continued(new(ActorCritic, make()), make())
        assert_same(straight, remains(model.learn(50)))


def test_loading_and_saving_again_changes_nothing() -> None:
    model = new(REINFORCE, single()).learn(40)
    file = io.BytesIO()
    model.save(file)
    straight = remains(model.learn(50, reset_num_timesteps=False))
    for env in (single(), None):
        again = io.BytesIO()
        REINFORCE.load(file, env=env).save(again)
        scramble()
        second = REINFORCE.load(again, env=single())
        assert_same(straight, remains(second.learn(50, reset_num_timesteps=False)))


def test_saving_changes_nothing() -> None:
    runs = []
    for saves in (False, True):
        model = new(ActorCritic, torch_vector(SAME)).learn(40)
        if saves:
            model.save(io.BytesIO())
        runs.append(remains(model.learn(40, reset_num_timesteps=False)))
    assert_same(*runs)


def test_a_fresh_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = new(ActorCritic, MAKERS["normalized"]()).learn(40)
    model.save(tmp_path / "model")
    end = remains(model.learn(60, reset_num_timesteps=False))
    script = (
        "import sys\n"
        "from pg_agents import ActorCritic\n"
        "from tests.pg_agents.checkpoint.resuming_examples import MAKERS\n"
        "model = ActorCritic.load(sys.argv[1], env=MAKERS['normalized']())\n"
        "model.learn(60, reset_num_timesteps=False).save(sys.argv[2])\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.zip", tmp_path / "end.zip"],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    other = ActorCritic.load(tmp_path / "end", env=MAKERS["normalized"]())
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name])
    other.learn(0, reset_num_timesteps=False)
    assert_same(end, {**remains(other), "progress": end["progress"]})


@pytest.mark.parametrize("env", [None, "single"])
def test_loading_neither_seeds_nor_draws(env: str | None) -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(20).save(file)
    scramble()
    here = single()
    here.reset(seed=5)
    before = random_states()
    state = here.unwrapped.get_state()  # type: ignore[attr-defined]
    space = here.action_space.np_random.bit_generator.state
    ActorCritic.load(file, env=None if env is None else here)
    after = random_states()
    assert random.getstate() == before["python"]
    assert equal(after["numpy"][1], before["numpy"][1])
    assert after["numpy"][2:] == before["numpy"][2:]
    assert equal(after["torch"], before["torch"])
    assert here.unwrapped.get_state() == state  # type: ignore[attr-defined]
    assert here.action_space.np_random.bit_generator.state == space


def test_what_is_done_between_load_and_learn_does_not_matter() -> None:
    straight = new(ActorCritic, single()).learn(40)
    file = io.BytesIO()
    straight.save(file)
    end = remains(straight.learn(40, reset_num_timesteps=False))
    model = ActorCritic.load(file, env=single())
    env = model.get_env()
    assert env is not None
    env.reset()
    for _ in range(10):
        env.step(np.array([model.action_space.sample()]))
    model.predict(np.zeros((1, 6), dtype=np.float32))
    assert_same(end, remains(model.learn(40, reset_num_timesteps=False)))


def test_an_explicit_seed_wins() -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(40).save(file)
    runs = []
    for disturbed in (False, True):
        model = ActorCritic.load(file, env=single())
        if disturbed:
            scramble()
        model.set_random_seed(11)
        runs.append(remains(model.learn(40, reset_num_timesteps=False)))
    assert_same(*runs)
    loaded = ActorCritic.load(file, env=single(), seed=11)
    assert loaded.seed == 11
    assert_same(runs[0], remains(loaded.learn(40, reset_num_timesteps=False)))
    kept = ActorCritic.load(file, env=single())
    kept.learn(40, reset_num_timesteps=False)
    assert not equal(remains(kept)["torch"], runs[0]["torch"])


def test_a_file_of_the_middle_of_a_rollout_starts_anew(tmp_path: Path) -> None:
    """SB3's own callback saves at a step, with part of a rollout behind it."""
    callback = CheckpointCallback(7, str(tmp_path), "at")
    new(ActorCritic, single(), n_steps=5).learn(20, callback=callback)
    model = ActorCritic.load(tmp_path / "at_7_steps", env=single())
    with pytest.warns(UserWarning, match=FRESH + "it was saved in the middle of a"):
        model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 27


def test_an_exception_in_a_rollout_leaves_no_state_behind() -> None:
    class Fail(BaseCallback):
        def _on_step(self) -> bool:
            raise KeyboardInterrupt

    model = new(ActorCritic, single())
    with pytest.raises(KeyboardInterrupt):
        model.learn(20, callback=Fail())
    loaded = continued(model, single())
    with pytest.warns(UserWarning, match=FRESH + "it was saved in the middle"):
        loaded.learn(20, reset_num_timesteps=False)
    file = io.BytesIO()
    loaded.save(file)
    # Learning has put it in order again.
    ActorCritic.load(file, env=single()).learn(20, reset_num_timesteps=False)


def test_the_random_agent_draws_on() -> None:
    runs = []
    for stops in (False, True):
        model: Any = RandomAgent("RandomPolicy", single(), seed=3).learn(40)
        if stops:
            model = continued(model, single())
        model.learn(40, reset_num_timesteps=False)
        runs.append([(e["r"], e["l"]) for e in model.ep_info_buffer])
    assert runs[0] == runs[1]


def test_the_resume_point_can_be_left_out() -> None:
    model = new(ActorCritic, single()).learn(20)
    file, small = io.BytesIO(), io.BytesIO()
    model.save(file)
    model.save(small, exclude=["training_state"])
    assert len(small.getvalue()) < len(file.getvalue())
    scramble()
    before = random_states()["torch"]
    model = ActorCritic.load(small, env=single())
    model.learn(0)
    assert equal(before, random_states()["torch"])
    ActorCritic.load(small, env=single()).learn(20)


def test_generators_of_the_model_are_kept() -> None:
    model = new(ActorCritic, single())
    model.noise = torch.Generator().manual_seed(5)
    torch.rand(3, generator=model.noise)
    loaded = continued(model, single())
    assert not hasattr(loaded, "noise")
    loaded.noise = torch.Generator()
    loaded.learn(0)
    assert torch.equal(
        torch.rand(3, generator=loaded.noise), torch.rand(3, generator=model.noise)
    )
