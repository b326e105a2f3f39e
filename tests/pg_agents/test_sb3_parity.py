"""ActorCritic has the surface of SB3's A2C; differences are listed in docs/sb3.md."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, ActorCritic

PAGE = Path(__file__).parents[2] / "docs" / "sb3.md"
N_ENVS, N_STEPS = 3, 5
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "MlpPolicy": spaces.Box(-1.0, 1.0, (4,), np.float32),
    "CnnPolicy": spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "MultiInputPolicy": spaces.Dict(
        {"x": spaces.Box(-1.0, 1.0, (4,)), "i": spaces.Discrete(7)}
    ),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(4),
    "Box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "MultiDiscrete": spaces.MultiDiscrete([4, 4]),
    "MultiBinary": spaces.MultiBinary(6),
}
HOOKS = [name for name in dir(BaseCallback) if name.startswith(("_on_", "_init_call"))]


class ProbeEnv(gymnasium.Env[Any, Any]):
    """Episodes of N_STEPS steps whose observations depend on the step alone."""

    def __init__(self, truncates: bool, policy: str, action: str) -> None:
        self.observation_space = OBSERVATIONS[policy]
        self.action_space = ACTIONS[action]
        self.truncates, self.steps = truncates, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        done = self.steps == N_STEPS
        info = {"is_success": self.truncates} if done else {}
        ends = done and not self.truncates, done and self.truncates
        return self._observe(), float(np.sum(action)), *ends, info

    def _observe(self) -> Any:
        self.observation_space.seed(self.steps)
        return self.observation_space.sample()


def probe_env(policy: str = "MlpPolicy", action: str = "Discrete") -> DummyVecEnv:
    """A time limit ends the episodes of all environments but the last."""

    def make(truncates: bool) -> Any:
        return lambda: Monitor(ProbeEnv(truncates, policy, action))

    return DummyVecEnv([make(i < N_ENVS - 1) for i in range(N_ENVS)])


def probe(
    algorithm: Any, policy: str = "MlpPolicy", action: str = "Discrete", **more: Any
) -> Any:
    env = probe_env(policy, action)
    return algorithm(policy, env, seed=0, device="cpu", **more)


class Recorder(BaseCallback):
    """Records the hooks, copies of `locals` in each, and the full buffer's columns."""

    COLUMNS = ("observations", "actions", "rewards", "values", "log_probs")
    COMPUTED = ("returns", "advantages", "episode_starts")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.seen: dict[str, dict[str, Any]] = {}
        for hook in HOOKS:
            setattr(self, hook, lambda hook=hook: self._record(hook))

    def _record(self, hook: str) -> bool:
        self.calls.append(hook)
        self.seen[hook] = {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in self.locals.items()
        }
        if hook == "_on_rollout_end":
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            names = (*self.COLUMNS, *self.COMPUTED)
            self.columns = {name: np.array(getattr(buffer, name)) for name in names}
        return True

    def _on_step(self) -> bool:
        raise AssertionError("replaced in the constructor")


class Keys(KVWriter):
    """Collects logger keys with the type of their values."""

    def __init__(self) -> None:
        self.types: dict[str, type] = {}

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        floats = float, np.floating
        self.types |= {
            key: float if isinstance(value, floats) else type(value)
            for key, value in key_values.items()
        }

    def close(self) -> None: ...


@cache
def recorded(algorithm: Any, action: str = "Discrete") -> tuple[Recorder, Keys]:
    """Trains for two rollouts."""
    recorder, keys = Recorder(), Keys()
    model = probe(algorithm, action=action)
    model.set_logger(Logger(None, [keys]))
    model.learn(2 * N_ENVS * N_STEPS, callback=recorder, log_interval=1)
    return recorder, keys


def public(value: Any) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def surface(algorithm: Any) -> dict[str, set[str]]:
    """Returns the names that a user can rely on, by where they are."""
    recorder, keys = recorded(algorithm)
    model = probe(algorithm).learn(N_ENVS * N_STEPS)
    names = {f"locals in {hook}": set(seen) for hook, seen in recorder.seen.items()}
    for policy in OBSERVATIONS:
        # Keyword arguments are passed on to the base classes.
        names[f"policy_kwargs of {policy}"] = {
            name
            for base in model.policy_aliases[policy].__mro__
            if base is not object and "__init__" in vars(base)
            for name in inspect.signature(base).parameters
        }
    return names | {
        "attributes": public(model),
        "policies": set(model.policy_aliases),
        "logger": set(keys.types),
        "buffer": public(model.rollout_buffer),
    }


def undocumented(theirs: Any, ours: Any) -> set[str]:
    """Returns names of A2C that are neither in our class nor in docs/sb3.md."""
    page = PAGE.read_text()
    of_ours = surface(ours)
    return {
        f"{where}: {name}"
        for where, names in surface(theirs).items()
        for name in names - of_ours[where]
        if f'locals["{name}"]' not in page
        and f"rollout_buffer.{name}()" not in page
        and f"`{name}`" not in page
    }


@pytest.mark.parametrize("agent", [ActorCritic, REINFORCE])
def test_every_name_of_a2c_is_here_or_in_the_documentation(agent: Any) -> None:
    assert undocumented(A2C, agent) == set()


def test_the_arguments_of_a2c_come_first_with_its_defaults() -> None:
    theirs = list(inspect.signature(A2C).parameters.values())
    ours = list(inspect.signature(ActorCritic).parameters.values())
    for their, our in zip(theirs, ours, strict=False):
        assert (our.name, our.kind) == (their.name, their.kind)
        # None: A2C's number of steps, unless n_episodes is given.
        default = None if our.name == "n_steps" else their.default
        assert our.default == default, our.name
    assert ActorCritic("MlpPolicy", "CartPole-v1").n_steps == 5
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@pytest.mark.parametrize("agent", [ActorCritic, REINFORCE])
def test_methods_take_the_arguments_of_a2cs(agent: Any) -> None:
    for name, method in inspect.getmembers(A2C, callable):
        if name.startswith("_"):
            continue
        theirs = inspect.signature(method).parameters
        ours = inspect.signature(getattr(agent, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs), name
        for parameter in theirs.values():
            if parameter.name != "tb_log_name":
                assert ours[parameter.name].default == parameter.default, name


@pytest.mark.parametrize("agent", [ActorCritic, REINFORCE])
def test_hooks_are_called_as_by_a2c(agent: Any) -> None:
    calls = recorded(A2C)[0].calls
    assert recorded(agent)[0].calls == calls
    assert set(calls) == set(HOOKS) and calls.count("_on_step") == 2 * N_STEPS


def test_logged_values_have_the_types_of_a2cs() -> None:
    theirs, ours = recorded(A2C)[1].types, recorded(ActorCritic)[1].types
    assert {key: ours[key] for key in theirs} == theirs


# A2C changes these before the rollout ends, or leaves them behind: see docs/sb3.md.
NOT_COMPARED = {
    "_on_step": ("terminal_obs", "terminal_value"),
    "_on_rollout_end": ("terminal_obs", "terminal_value", "rewards", "actions"),
}


@pytest.mark.parametrize("hook", NOT_COMPARED)
@pytest.mark.parametrize("action", ACTIONS)
def test_callbacks_see_the_numbers_of_a2c(hook: str, action: str) -> None:
    """From the same seed every array in `locals` is equal."""
    ours = recorded(ActorCritic, action)[0].seen[hook]
    compared = []
    for name, value in recorded(A2C, action)[0].seen[hook].items():
        is_array = isinstance(value, np.ndarray | torch.Tensor)
        if not is_array or name in NOT_COMPARED[hook]:
            continue
        our = ours[name]
        if our is None and name in ("values", "log_probs"):
            # Known once the rollout is complete.
            our = getattr(ours["rollout_buffer"], name)[-1]
        their = np.asarray(value)
        our = np.asarray(our)
        if name == "values":
            their, our = their.reshape(-1), our.reshape(-1)
        assert our.shape == their.shape, name
        np.testing.assert_allclose(our, their, 1e-4, 1e-6, err_msg=name)
        compared.append(name)
    assert {"values", "log_probs", "new_obs", "dones"} <= set(compared)


def test_the_buffer_reads_like_a2cs() -> None:
    theirs, ours = (recorded(agent)[0].columns for agent in (A2C, ActorCritic))
    # Time limits end all episodes but the last environment's, in the last row.
    limited = np.zeros((N_STEPS, N_ENVS), dtype=np.bool_)
    limited[-1, :-1] = True
    for name, column in theirs.items():
        assert ours[name].dtype == column.dtype, name
        rows = ~limited if name == "rewards" else np.ones_like(limited)
        np.testing.assert_allclose(ours[name][rows], column[rows], 1e-4, 1e-6)
    # A2C adds the value of the final observation.
    assert (ours["rewards"] != theirs["rewards"])[limited].all()


def test_passing_the_defaults_of_policy_kwargs_changes_nothing() -> None:
    parameters = inspect.signature(A2C.policy_aliases["MlpPolicy"]).parameters
    others = ("observation_space", "action_space", "lr_schedule", "use_sde")
    defaults = {k: p.default for k, p in parameters.items() if k not in others}
    weights = []
    for policy_kwargs in (None, defaults):
        model = probe(ActorCritic, policy_kwargs=policy_kwargs, use_rms_prop=False)
        model.learn(N_ENVS * N_STEPS)
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(*weights)
