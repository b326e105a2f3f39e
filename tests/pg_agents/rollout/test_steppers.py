"""Native steps and steps through SB3's interface give the same rollouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
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
TRANSITIONS = (
    *("observations", "actions", "rewards", "terminated", "truncated", "recorded"),
    "episode_steps",
)
ESTIMATES = ("values", "next_values", "log_probs", "returns", "advantages")
Env = VectorEnv[Any, Any, Any]


def cartpole(mode: AutoresetMode) -> Env:
    """Gymnasium's, which has NEXT_STEP only."""
    return CartPoleVectorEnv(N_ENVS, max_episode_steps=18)


def bandit(mode: AutoresetMode) -> Env:
    """Random rewards; episodes end by the time limit only."""
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


class Identity(VecEnvWrapper):
    """Changes nothing; environments in it are stepped through SB3's interface."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


class RecordRollouts(BaseCallback):
    """Stores rollouts, and infos at the end of episodes."""

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
            truncated = info["TimeLimit.truncated"]
            self.ends.append((self.num_timesteps, i, episode, last, truncated))
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.rollouts.append(
            {name: getattr(buffer, name) for name in TRANSITIONS + ESTIMATES}
        )


def trained(
    make: Callable[[AutoresetMode], Env], mode: AutoresetMode, wrapped: bool, **kw: Any
) -> tuple[Any, RecordRollouts]:
    adapter = VectorEnvAdapter(make(mode), learner_skips_dummy_steps=True)
    env = Identity(adapter) if wrapped else adapter
    settings = {"seed": 1, "device": "cpu", "n_steps": N_STEPS, **kw}
    # SGD does not amplify rounding errors.
    kwargs = {"optimizer_class": torch.optim.SGD, "net_arch": [16]}
    model = ActorCritic(
        "MlpPolicy", env, learning_rate=0.05, policy_kwargs=kwargs, **settings
    )
    callback = RecordRollouts()
    model.learn(4 * N_ENVS * N_STEPS, callback=callback)
    return model, callback


@pytest.mark.parametrize("mode", [SAME, NEXT], ids=["same", "next"])
@pytest.mark.parametrize("make", ENVS, ids=lambda make: make.__name__)
def test_rollouts_and_weights_are_equal(
    make: Callable[[AutoresetMode], Env], mode: AutoresetMode
) -> None:
    """Transitions exactly, estimates and weights up to rounding.

    Gymnasium's CartPole returns transposed arrays; their matrix products can differ
    from those of copies in the last digit.
    """
    model, native = trained(make, mode, wrapped=False)
    other, through_sb3 = trained(make, mode, wrapped=True)
    assert native.n_array_steps == 4 * N_STEPS
    assert through_sb3.n_array_steps == 0
    assert len(native.rollouts) == len(through_sb3.rollouts) == 4
    for one, two in zip(native.rollouts, through_sb3.rollouts, strict=True):
        for name in TRANSITIONS:
            np.testing.assert_array_equal(one[name], two[name], name)
        for name in ESTIMATES:
            np.testing.assert_allclose(one[name], two[name], 1e-6, 1e-6, err_msg=name)
    kinds = {"truncated": make is not sequence, "terminated": make is not bandit}
    for name, occurs in kinds.items():
        assert any(rollout[name].any() for rollout in native.rollouts) or not occurs
    weights, others = model.policy.state_dict(), other.policy.state_dict()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-6, atol=1e-6)
    assert len(native.ends) > 3
    for end, same in zip(native.ends, through_sb3.ends, strict=True):
        assert end[:2] == same[:2]
        assert end[2] == pytest.approx(same[2], abs=1e-5)
        assert end[3:] == same[3:]
    results = model.ep_info_buffer, other.ep_info_buffer
    for result, same in zip(*results, strict=True):
        assert result["l"] == same["l"]
        # One of them sums in float32.
        assert result["r"] == pytest.approx(same["r"], abs=2e-5)


def test_whole_episodes_are_equal() -> None:
    """In arrays, with idle environments."""

    def weights(wrapped: bool) -> dict[str, torch.Tensor]:
        adapter = VectorEnvAdapter(torch_cartpole(SAME))
        env = Identity(adapter) if wrapped else adapter
        model = REINFORCE("MlpPolicy", env, n_episodes=2, seed=0, device="cpu")
        return model.learn(200).policy.state_dict()

    native, through_sb3 = weights(False), weights(True)
    for name, weight in native.items():
        assert torch.equal(weight, through_sb3[name]), name


class AdapterSubclass(VectorEnvAdapter):
    """Can override `step`."""


def test_only_an_unwrapped_adapter_has_native_steps() -> None:
    steps, device = np.zeros(N_ENVS, dtype=np.int64), torch.device("cpu")

    def stepper(env: Any) -> type:
        return type(make_stepper(env, device, steps, True))

    adapter = VectorEnvAdapter(torch_cartpole(SAME))
    assert stepper(adapter) is NativeStepper
    assert stepper(AdapterSubclass(torch_cartpole(SAME))) is VecEnvStepper
    assert stepper(Identity(adapter)) is VecEnvStepper
    listed = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    adapter = VectorEnvAdapter(listed, learner_skips_dummy_steps=True)
    assert stepper(adapter) is VecEnvStepper


class ReversedKeys(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Returns the entries of Dict observations in another order than the space."""

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        return dict(reversed(obs.items())), info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return dict(reversed(obs.items())), *rest


class TwoBoxes(gymnasium.Env[Any, Any]):
    """Counts steps in two observations of different shapes; truncates after three."""

    observation_space = spaces.Dict(
        {
            "a": spaces.Box(0.0, 9.0, (2,), np.float32),
            "b": spaces.Box(0.0, 9.0, (3, 4), np.float32),
        }
    )
    action_space = spaces.Discrete(2)

    def _obs(self) -> dict[str, Any]:
        shapes = {"a": (2,), "b": (3, 4)}
        return {key: np.full(s, self.t, np.float32) for key, s in shapes.items()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self._obs(), 1.0, False, self.t == 3, {}


def test_final_observations_of_dicts_are_matched_by_key() -> None:
    model = ActorCritic("MultiInputPolicy", ReversedKeys(TwoBoxes()), n_steps=3, seed=0)
    model.learn(3)
    states = model.rollout_buffer.rollout.bootstrap_states
    assert states is not None and states.rows.tolist() == [2]
    for key, shape in (("a", (2,)), ("b", (3, 4))):
        # After the last row the environment has restarted.
        assert states.observations[key].shape == (2, *shape)
        assert states.observations[key].flatten(1)[:, 0].tolist() == [0.0, 3.0]
