"""What a callback writes to the rollout buffer is learnt from, as in A2C and PPO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from tests.pg_agents.kinds import CARTPOLE, KINDS, N_ENVS, SEQUENCE

# What is written, by column. Each is another number than what is there.
Written = Callable[[Any], Any]
COLUMNS: dict[str, Written] = {
    "advantages": lambda x: x * 0.5,
    "returns": lambda x: x * 0.5,
    "rewards": lambda x: x * 2.0,
    "values": lambda x: x + 1.0,
    "log_probs": lambda x: x - 0.25,
    "observations": lambda x: x * 0.5,
    "actions": lambda x: x * 0,
}
# By what means: `=`, `*=` and the like, or through an array that was read.
Write = Callable[[Any, str, Written], None]


def assign(buffer: Any, name: str, written: Written) -> None:
    setattr(buffer, name, written(getattr(buffer, name)))


def assign_tensors_memory(buffer: Any, name: str, written: Written) -> None:
    """With another dtype and a read-only array, as computed elsewhere."""
    array = np.asarray(written(getattr(buffer, name)), dtype=np.float64)
    array.flags.writeable = False
    setattr(buffer, name, array)


def in_place(buffer: Any, name: str, written: Written) -> None:
    array = getattr(buffer, name)
    array[:] = written(array)


def row_by_row(buffer: Any, name: str, written: Written) -> None:
    for row in range(len(getattr(buffer, name))):
        getattr(buffer, name)[row] = written(getattr(buffer, name)[row])


def augmented(buffer: Any, name: str, written: Written) -> None:
    if name in ("advantages", "returns", "observations"):
        exec(f"buffer.{name} *= 0.5", {"buffer": buffer})
    elif name == "actions":
        buffer.actions *= 0
    elif name == "rewards":
        buffer.rewards *= 2.0
    elif name == "values":
        buffer.values += 1.0
    else:
        buffer.log_probs -= 0.25


WAYS: dict[str, Write] = {
    "=": assign,
    "= of float64": assign_tensors_memory,
    "[:]": in_place,
    "[row]": row_by_row,
    "*=": augmented,
}


class Writes(BaseCallback):
    """Writes to a column of each rollout's end.

    Args:
        name: of the column.
        write: by what means.
    """

    def __init__(self, name: str, write: Write) -> None:
        super().__init__()
        self.name, self.write = name, write

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.write(buffer, self.name, COLUMNS[self.name])


def weights(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


PPO_SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "gae_lambda": 0.95,
    "n_epochs": 2,
    "batch_size": 8,
    "clip_range": 0.2,
    "clip_range_vf": 0.1,
    "normalize_advantage": True,
}
PAIRS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "A2C": (A2C, {}, {}),
    "PPO": (PPO, PPO_SETTINGS, {"use_rms_prop": False}),
}


def learnt(algorithm: Any, callback: Any, n_envs: int, **settings: Any) -> Tensor:
    env = make_vec_env(CARTPOLE, n_envs, seed=5)
    model = algorithm("MlpPolicy", env, n_steps=16, seed=3, device="cpu", **settings)
    np.random.seed(11)
    return weights(model.learn(3 * 16 * n_envs, callback))


# In float64, SB3's algorithms take rewards alone: they would learn in float64.
WRITES = [
    (name, way)
    for name in COLUMNS
    for way in WAYS
    if way != "= of float64" or name == "rewards"
]


@pytest.mark.parametrize(("name", "way"), WRITES)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_weights_are_those_of_sb3s_algorithm(
    pair: str, name: str, way: str
) -> None:
    """Three updates, with the same callback, to float32 rounding."""
    theirs, settings, ours = PAIRS[pair]
    expected = learnt(theirs, Writes(name, WAYS[way]), 2, **settings)
    found = learnt(ActorCritic, Writes(name, WAYS[way]), 2, **settings, **ours)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("name", ["advantages", "returns", "observations", "actions"])
def test_such_a_write_changes_what_is_learnt(name: str) -> None:
    """The test above is not blind."""
    plain = learnt(ActorCritic, None, 2)
    written = learnt(ActorCritic, Writes(name, assign), 2)
    assert float((plain - written).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["values", "log_probs", "rewards"])
def test_a_write_that_comes_too_late_changes_nothing(name: str) -> None:
    """Returns and advantages are computed; A2C has no other use for these."""
    plain = learnt(ActorCritic, None, 2)
    written = learnt(ActorCritic, Writes(name, assign), 2)
    assert torch.equal(plain, written)


FIELDS = {
    "values": "old_values",
    "log_probs": "old_log_prob",
    **{name: name for name in ("advantages", "returns", "observations", "actions")},
}
AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "reinforce": (REINFORCE, {"baseline": "value", "n_episodes": 2}),
    "reinforce, no critic": (REINFORCE, {"n_episodes": 2}),
    "reinforce, steps": (REINFORCE, {"n_steps": 16}),
    "actor-critic": (ActorCritic, {"n_steps": 16}),
    "actor-critic, mini-batches": (ActorCritic, {"n_steps": 16, "batch_size": 64}),
    "memory": (
        REINFORCE,
        {"n_steps": 16, "memory_size": 2**14, "replay": "returns"},
    ),
}


# Many environments are stepped in arrays, and evaluated while they act.
SIZES = [*((kind, N_ENVS) for kind in KINDS), ("same_step", 512), ("torch", 512)]


@pytest.mark.parametrize("way", ["=", "[:]"])
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("kind", "n_envs"), SIZES)
@pytest.mark.parametrize("agent", AGENTS)
def test_the_loss_gets_what_was_written(
    agent: str, kind: str, n_envs: int, name: str, way: str
) -> None:
    algorithm, settings = AGENTS[agent]
    given: list[Any] = []
    told: dict[str, Any] = {}

    class Looks(algorithm):  # type: ignore[misc, valid-type]
        def loss(self, batch: Any) -> Any:
            given.append(batch)
            return super().loss(batch)

    class Remembers(Writes):
        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            before = np.array(getattr(buffer, name), dtype=np.float64)
            super()._on_rollout_end()
            written = COLUMNS[name](before)
            told["steps"] = written[buffer.recorded]
            np.testing.assert_allclose(getattr(buffer, name), written, rtol=1e-6)

    env = KINDS[kind](SEQUENCE, n_envs)
    model = Looks("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(1, Remembers(name, WAYS[way]))
    seen = torch.cat([getattr(batch, FIELDS[name]) for batch in given]).numpy()
    expected = told["steps"].reshape(seen.shape)
    if "batch_size" in settings or "memory_size" in settings:
        # In another order.
        seen, expected = np.sort(seen, axis=0), np.sort(expected, axis=0)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["rewards", "observations", "actions"])
@pytest.mark.parametrize("replay", ["importance", "v_trace"])
def test_what_the_memory_remembers_is_what_was_written(name: str, replay: str) -> None:
    settings: dict[str, Any] = {"estimator": "td"} if replay == "v_trace" else {}
    algorithm: Any = ActorCritic if replay == "v_trace" else REINFORCE
    model = algorithm(
        "MlpPolicy",
        KINDS["dummy"](SEQUENCE),
        n_steps=16,
        memory_size=64,
        replay=replay,
        seed=0,
        device="cpu",
        **settings,
    )
    model.learn(1, Writes(name, assign))
    (kept,) = model.replay_memory.rollouts
    written = getattr(model.rollout_buffer, name)
    np.testing.assert_allclose(
        getattr(kept, name).numpy().reshape(written.shape), written
    )


class InTheStep(BaseCallback):
    """Writes to what a step's `locals` show, or to the rows of the buffer so far.

    Args:
        name: of the local; `"rollout_buffer"` for the rows.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _on_step(self) -> bool:
        seen = self.locals[self.name]
        if self.name == "rollout_buffer":
            if seen.pos > 0:
                seen.rewards[: seen.pos] *= 0.9
        else:
            seen[:] = seen * (1 if self.name == "actions" else 0.5)
            if self.name == "actions":
                seen[:] = 1 - seen
        return True


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("name", ["rewards", "new_obs", "actions", "rollout_buffer"])
def test_what_is_written_in_a_step_counts_as_in_a2c(name: str, n_envs: int) -> None:
    expected = learnt(A2C, InTheStep(name), n_envs)
    found = learnt(ActorCritic, InTheStep(name), n_envs)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["rewards", "new_obs", "actions"])
def test_what_is_written_in_a_step_is_stored(name: str, kind: str) -> None:
    env = KINDS[kind](CARTPOLE)
    model = ActorCritic("MlpPolicy", env, n_steps=4, seed=0, device="cpu")
    number = 7.0 if name != "actions" else 1

    def write(seen: dict[str, Any], _: Any) -> bool:
        seen[name][:] = number
        return True

    model.learn(4 * model.n_envs, write)
    buffer = model.rollout_buffer
    if name == "new_obs":
        assert (buffer.observations[1:] == number).all()
    else:
        assert (getattr(buffer, name) == number).all()


def rollout_end(kind: str, look: Callable[[TrajectoryBuffer], None]) -> None:
    """Calls a function with the buffer at the end of a rollout."""

    class Looks(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            look(self.model.rollout_buffer)  # type: ignore[attr-defined]

    env = KINDS[kind](CARTPOLE)
    model = ActorCritic("MlpPolicy", env, n_steps=4, seed=0, device="cpu")
    model.learn(4 * model.n_envs, Looks())


READ_ONLY = ("episode_starts", "terminated", "truncated", "recorded", "next_values")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READ_ONLY)
def test_what_would_be_ignored_is_refused(name: str, kind: str) -> None:
    def write(buffer: TrajectoryBuffer) -> None:
        with pytest.raises(AttributeError, match=f"{name} is read-only"):
            setattr(buffer, name, getattr(buffer, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(buffer, name)[0] = 1

    rollout_end(kind, write)


@pytest.mark.parametrize("value", [0.0, np.zeros(3), np.zeros((5, N_ENVS))])
def test_another_shape_is_refused(value: Any) -> None:
    def write(buffer: TrajectoryBuffer) -> None:
        says = rf"rollout_buffer.advantages must have the shape \(4, {N_ENVS}\), got"
        with pytest.raises(ValueError, match=says):
            buffer.advantages = value

    rollout_end("dummy", write)


def test_an_array_that_was_kept_stays_when_the_next_rollout_is_collected() -> None:
    kept: list[Any] = []

    class Keeps(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            batch = next(iter(buffer.get()))
            arrays = buffer.rewards, buffer.observations, buffer.advantages
            tensors = batch.observations.numpy(), batch.advantages.numpy()
            for array in (*arrays, *tensors):
                kept.append((array, array.copy()))

    env = KINDS["torch"](CARTPOLE)
    ActorCritic("MlpPolicy", env, n_steps=4, seed=0, device="cpu").learn(60, Keeps())
    assert len(kept) > 20
    for array, before in kept:
        np.testing.assert_array_equal(array, before)
