"""Stepping in arrays brings what stepping through SB3's interface does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper

from pg_agents import REINFORCE, ActorCritic
from pg_agents.rollout.steppers import NativeStepper, VecEnvStepper, make_stepper
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.infos import LazyInfos
from pg_envs import BanditEnv, SequenceEnv, TabularVectorEnv, make_torch_vec

N_ENVS, N_STEPS = 6, 16
SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
HAPPENED = (
    *("observations", "actions", "rewards", "terminated", "truncated", "recorded"),
    "episode_steps",
)
COMPUTED = ("values", "next_values", "log_probs", "returns", "advantages")
Env = VectorEnv[Any, Any, Any]


def cartpole(mode: AutoresetMode) -> Env:
    """Gymnasium's own, which knows but one mode."""
    return CartPoleVectorEnv(N_ENVS, max_episode_steps=18)


def bandit(mode: AutoresetMode) -> Env:
    """NumPy's, with random rewards, whose episodes end by the time limit alone."""
    return TabularVectorEnv(BanditEnv(), N_ENVS, 5, mode)


def sequence(mode: AutoresetMode) -> Env:
    return TabularVectorEnv(SequenceEnv(), N_ENVS, None, mode)


def torch_cartpole(mode: AutoresetMode) -> Env:
    return make_torch_vec(
        "CartPole-v1", N_ENVS, "cpu", autoreset_mode=mode, max_episode_steps=18
    )


def torch_lake(mode: AutoresetMode) -> Env:
    return make_torch_vec(
        "FrozenLake-v1", N_ENVS, "cpu", autoreset_mode=mode, max_episode_steps=7
    )


ENVS: list[Callable[[AutoresetMode], Env]] = [
    *(cartpole, bandit, sequence, torch_cartpole, torch_lake),
]


class Nothing(VecEnvWrapper):
    """Does nothing, but is in between."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


class Kept(BaseCallback):
    """Keeps rollouts, dones and infos of episodes' ends."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[dict[str, Any]] = []
        self.ends: list[Any] = []
        self.n_array_steps = 0

    def _on_step(self) -> bool:
        self.n_array_steps += isinstance(self.locals["infos"], LazyInfos)
        for i in np.flatnonzero(self.locals["dones"]):
            info = self.locals["infos"][i]
            episode = {key: info["episode"][key] for key in ("r", "l")}
            last = np.asarray(info["terminal_observation"]).tolist()
            cut = info["TimeLimit.truncated"]
            self.ends.append((self.num_timesteps, i, episode, last, cut))
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.rollouts.append(
            {name: getattr(buffer, name) for name in HAPPENED + COMPUTED}
        )


def learnt(
    make: Callable[[AutoresetMode], Env], mode: AutoresetMode, between: bool, **kw: Any
) -> tuple[Any, Kept]:
    adapter = VectorEnvAdapter(make(mode), learner_skips_dummy_steps=True)
    env = Nothing(adapter) if between else adapter
    settings = {"seed": 1, "device": "cpu", "n_steps": N_STEPS, **kw}
    # One step of an optimiser that does not magnify the last digit of a gradient.
    kwargs = {"optimizer_class": torch.optim.SGD, "net_arch": [16]}
    model = ActorCritic(
        "MlpPolicy", env, learning_rate=0.05, policy_kwargs=kwargs, **settings
    )
    kept = Kept()
    model.learn(4 * N_ENVS * N_STEPS, callback=kept)
    return model, kept


@pytest.mark.parametrize("mode", [SAME, NEXT], ids=["same", "next"])
@pytest.mark.parametrize("make", ENVS, ids=lambda make: make.__name__)
def test_facts_and_weights_are_those_of_the_ordinary_path(
    make: Callable[[AutoresetMode], Env], mode: AutoresetMode
) -> None:
    """What happened is equal to the bit, what is computed of it to 1e-6.

    Gymnasium's CartPole hands out transposed arrays, of which a matrix product may
    differ by the last digit from that of their copies.
    """
    model, direct = learnt(make, mode, between=False)
    other, ordinary = learnt(make, mode, between=True)
    assert direct.n_array_steps == 4 * N_STEPS
    assert ordinary.n_array_steps == 0
    assert len(direct.rollouts) == len(ordinary.rollouts) == 4
    for one, two in zip(direct.rollouts, ordinary.rollouts, strict=True):
        for name in HAPPENED:
            np.testing.assert_array_equal(one[name], two[name], name)
        for name in COMPUTED:
            np.testing.assert_allclose(one[name], two[name], 1e-6, 1e-6, err_msg=name)
    ends = "truncated" if make is bandit else "terminated"
    assert any(rollout[ends].any() for rollout in direct.rollouts)
    weights, others = model.policy.state_dict(), other.policy.state_dict()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-6, atol=1e-6)
    assert len(direct.ends) > 3
    for end, same in zip(direct.ends, ordinary.ends, strict=True):
        assert end[:2] == same[:2]
        assert end[2] == pytest.approx(same[2], abs=1e-5)
        assert end[3:] == same[3:]


@pytest.mark.parametrize("mode", [SAME, NEXT], ids=["same", "next"])
@pytest.mark.parametrize("make", ENVS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("window", [100, 3])
def test_results_of_episodes_are_those_of_the_ordinary_path(
    make: Callable[[AutoresetMode], Env], mode: AutoresetMode, window: int
) -> None:
    model, _ = learnt(make, mode, between=False, stats_window_size=window)
    other, _ = learnt(make, mode, between=True, stats_window_size=window)
    mine, theirs = model.ep_info_buffer, other.ep_info_buffer
    assert len(mine) == len(theirs) > 0
    for one, two in zip(mine, theirs, strict=True):
        assert one["l"] == two["l"]
        # Sums of float32 rewards, in one precision or another.
        assert one["r"] == pytest.approx(two["r"], abs=2e-5)


def test_truncated_episodes_are_among_them() -> None:
    """What the two tests above compare contains time limits."""
    for make in (cartpole, bandit, torch_cartpole, torch_lake):
        _, kept = learnt(make, SAME, between=False)
        cut = [rollout["truncated"] for rollout in kept.rollouts]
        assert np.any(cut), make.__name__


def test_whole_episodes_are_those_of_the_ordinary_path() -> None:
    """Arrays, not tensors, and some environments idle."""

    def weights(between: bool) -> dict[str, torch.Tensor]:
        adapter = VectorEnvAdapter(torch_cartpole(SAME))
        env = Nothing(adapter) if between else adapter
        model = REINFORCE("MlpPolicy", env, n_episodes=2, seed=0, device="cpu")
        return model.learn(200).policy.state_dict()

    direct, ordinary = weights(False), weights(True)
    for name, weight in direct.items():
        assert torch.equal(weight, ordinary[name]), name


class OwnAdapter(VectorEnvAdapter):
    """Might do something of its own in a step."""


def test_only_the_adapter_itself_is_stepped_in_arrays() -> None:
    steps, device = np.zeros(N_ENVS, dtype=np.int64), torch.device("cpu")

    def way(env: Any) -> type:
        return type(make_stepper(env, device, steps, True))

    adapter = VectorEnvAdapter(torch_cartpole(SAME))
    assert way(adapter) is NativeStepper
    assert way(OwnAdapter(torch_cartpole(SAME))) is VecEnvStepper
    assert way(Nothing(adapter)) is VecEnvStepper
    listed = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    adapter = VectorEnvAdapter(listed, learner_skips_dummy_steps=True)
    assert way(adapter) is VecEnvStepper
