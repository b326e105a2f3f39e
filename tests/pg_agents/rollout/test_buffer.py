"""TrajectoryBuffer: stores transitions, and reads and writes as SB3's buffer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.learning.advantages import estimate_advantages
from tests.pg_agents.algorithms.argument_examples import make_env
from tests.pg_agents.kinds import CARTPOLE, KINDS, N_ENVS, SEQUENCE

# Three rows of two environments: 0 is truncated in row 1, 1 terminates in row 0.

VALUES = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
REWARDS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
TERMINATED = np.array([[0, 1], [0, 0], [0, 0]], dtype=np.bool_)
TRUNCATED = np.array([[0, 0], [1, 0], [0, 0]], dtype=np.bool_)
RECORDED = np.array([[1, 1], [1, 0], [1, 1]], dtype=np.bool_)
LAST_OBS = np.full((2, 3), 3.0)


def filled_buffer() -> TrajectoryBuffer:
    buffer = TrajectoryBuffer()
    for t in range(3):
        buffer.add(
            observations=np.full((2, 3), t, dtype=np.float32),
            actions=np.array([t, 10 + t]),
            rewards=REWARDS[t],
            terminated=TERMINATED[t],
            truncated=TRUNCATED[t],
            recorded=RECORDED[t],
            episode_steps=np.array([t, 0]),
            values=VALUES[t],
            log_probs=torch.zeros(2),
            final_obs=np.full((2, 3), 99.0) if t == 1 else None,
        )
    return buffer


def complete_buffer(estimator: Any = "td") -> TrajectoryBuffer:
    buffer = filled_buffer()
    config = PolicyGradientConfig(
        gamma=0.5, n_steps=3, baseline="value", estimator=estimator
    )
    states = buffer.bootstrap_states(LAST_OBS)
    rollout = buffer.collected(states, None)
    bootstrap_values = torch.tensor([7.0, 8.0, 50.0])
    next_values = states.successor_values(rollout.values, bootstrap_values)
    rollout = replace(rollout, next_values=next_values)
    buffer.complete(rollout, *estimate_advantages(rollout, config))
    return buffer


def test_rewards_do_not_include_bootstrap_values() -> None:
    """SB3's buffer adds gamma V of truncated states to them."""
    np.testing.assert_array_equal(complete_buffer().rewards, REWARDS)


@pytest.mark.parametrize(
    "rewards", [np.array([0.1, 2.0]), torch.tensor([0.1, 2.0], dtype=torch.double)]
)
def test_rewards_are_stored_as_float32(rewards: Any) -> None:
    """SubprocVecEnv returns float64."""
    buffer = TrajectoryBuffer()
    buffer.add(
        observations=np.zeros((2, 3), dtype=np.float32),
        actions=np.zeros(2, dtype=np.int64),
        rewards=rewards,
        terminated=np.zeros(2, dtype=np.bool_),
        truncated=np.zeros(2, dtype=np.bool_),
        episode_steps=np.zeros(2, dtype=np.int64),
    )
    assert buffer.column("rewards").dtype is torch.float32
    np.testing.assert_array_equal(buffer.rewards, np.array([[0.1, 2.0]], np.float32))


def test_truncated_steps_bootstrap_from_their_final_observation() -> None:
    buffer = complete_buffer()
    states = buffer.bootstrap_states(LAST_OBS)
    assert states.observations.tolist() == [[3.0] * 3, [3.0] * 3, [99.0] * 3]
    assert states.rows.tolist() == [1] and states.envs.tolist() == [0]
    assert buffer.next_values.tolist() == [[3.0, 4.0], [50.0, 6.0], [7.0, 8.0]]
    # r + gamma V(s'), and the reward alone where the episode terminated.
    assert buffer.returns[:, 0].tolist() == [1 + 1.5, 3 + 25.0, 5 + 3.5]
    assert buffer.returns[0, 1] == 2.0


def test_a_batch_contains_the_recorded_steps_in_time_order() -> None:
    batch = complete_buffer().batch()
    assert batch.actions.tolist() == [0, 10, 1, 2, 12]
    assert batch.observations.shape == (5, 3)
    assert batch.n_samples == 5
    assert batch.old_values.tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]
    torch.testing.assert_close(batch.advantages, batch.returns - batch.old_values)


def test_steps_that_are_not_recorded_have_estimates_of_0() -> None:
    buffer = complete_buffer("gae")
    assert buffer.advantages[1, 1] == buffer.returns[1, 1] == 0.0


def test_columns_are_arrays_of_rows_and_environments() -> None:
    buffer = complete_buffer()
    for name in ("rewards", "values", "log_probs", "returns", "advantages", "actions"):
        column = getattr(buffer, name)
        assert isinstance(column, np.ndarray) and column.shape == (3, 2), name
    assert buffer.observations.shape == (3, 2, 3)
    starts = [[True, True], [False, True], [False, True]]
    assert buffer.episode_starts.tolist() == starts


def test_an_incomplete_rollout_has_no_batch() -> None:
    buffer = filled_buffer()
    assert not buffer.full and len(buffer) == 3
    with pytest.raises(RuntimeError, match="rollout is not complete"):
        buffer.batch()


def test_reset_empties_the_buffer() -> None:
    buffer = complete_buffer()
    buffer.reset()
    assert len(buffer) == 0 and not buffer.full
    with pytest.raises(AttributeError, match="no column 'rewards'"):
        buffer.rewards  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'reward'"):
        buffer.reward  # type: ignore[attr-defined] # noqa: B018


# Attributes of SB3's rollout buffer.


def test_an_empty_buffer_has_no_sizes() -> None:
    buffer = TrajectoryBuffer()
    assert (buffer.pos, buffer.size(), len(buffer), buffer.full) == (0, 0, 0, False)
    for name in ("buffer_size", "n_envs", "obs_shape", "action_dim", "gamma"):
        assert getattr(buffer, name) is None, name


def test_pos_counts_rows_within_a_rollout() -> None:
    model = ActorCritic("MlpPolicy", make_env("scalar", 2), n_steps=4)
    buffer, sizes = model.rollout_buffer, []

    def on_step(_locals: object, _globals: object) -> bool:
        sizes.append((buffer.pos, buffer.size(), buffer.buffer_size))
        return True

    model.learn(8, on_step)
    assert sizes == [(row, row, 4) for row in range(4)]
    assert (buffer.pos, buffer.full, buffer.n_envs) == (4, True, 2)


def test_buffer_size_of_whole_episodes_is_known_afterwards() -> None:
    model = REINFORCE("MlpPolicy", make_env("box actions", 1), n_episodes=2)
    assert model.rollout_buffer.buffer_size is None
    model.learn(1)
    assert model.rollout_buffer.buffer_size == 6


def test_gamma_and_gae_lambda_are_those_of_the_model() -> None:
    model = ActorCritic("MlpPolicy", make_env("scalar", 1), gamma=0.9, gae_lambda=0.8)
    buffer = model.rollout_buffer
    assert (buffer.gamma, buffer.gae_lambda) == (0.9, 0.8)
    model.gamma = 0.5
    assert buffer.gamma == 0.5


def test_dir_names_the_columns_that_can_be_read() -> None:
    buffer = ActorCritic("MlpPolicy", make_env("scalar", 1)).learn(5).rollout_buffer
    assert {"rewards", "returns", "episode_starts", "next_values"} <= set(dir(buffer))
    assert "values" not in dir(TrajectoryBuffer())
    np.testing.assert_array_equal(copy.deepcopy(buffer).rewards, buffer.rewards)


def test_sample_draws_recorded_steps_with_replacement() -> None:
    model = ActorCritic("MlpPolicy", make_env("box actions", 2), n_steps=3).learn(6)
    sample = model.rollout_buffer.sample(200)
    assert len(sample) == 200
    actions = model.rollout_buffer.batch().actions
    assert {*map(tuple, sample.actions.tolist())} == {*map(tuple, actions.tolist())}
    tensor = model.rollout_buffer.to_torch(np.ones(2))
    assert torch.equal(tensor, torch.ones(2).double())


@pytest.mark.parametrize("n_envs", [1, 3])
def test_mini_batches_partition_the_rollout(n_envs: int) -> None:
    """Their shares of the policy loss add up to that of the whole."""
    model = REINFORCE("MlpPolicy", KINDS["dummy"](CARTPOLE, n_envs), n_episodes=2)
    model.learn(1)
    whole, parts = model.rollout_buffer.batch(), list(model.rollout_buffer.get(16))
    assert sum(len(part) for part in parts) == len(whole)
    assert sum(part.n_samples for part in parts) == pytest.approx(2 * n_envs)
    obs = torch.cat([part.observations for part in parts])
    assert sorted(obs.tolist()) == sorted(whole.observations.tolist())
    policy_loss = model.loss(whole)[1]["policy_loss"].item()
    shares = [
        model.loss(part)[1]["policy_loss"].item() * len(part) / len(whole)
        for part in parts
    ]
    assert sum(shares) == pytest.approx(policy_loss, rel=1e-4)


# Writing to columns. Each function returns other numbers than the column's.

Change = Callable[[Any], Any]
CHANGES: dict[str, Change] = {
    "advantages": lambda x: x * 0.5,
    "returns": lambda x: x * 0.5,
    "rewards": lambda x: x * 2.0,
    "values": lambda x: x + 1.0,
    "log_probs": lambda x: x - 0.25,
    "observations": lambda x: x * 0.5,
    "actions": lambda x: x * 0,
}
Write = Callable[[Any, str], None]


def assign(buffer: Any, name: str) -> None:
    setattr(buffer, name, CHANGES[name](getattr(buffer, name)))


def assign_read_only_float64(buffer: Any, name: str) -> None:
    array = np.asarray(CHANGES[name](getattr(buffer, name)), dtype=np.float64)
    array.flags.writeable = False
    setattr(buffer, name, array)


def assign_in_place(buffer: Any, name: str) -> None:
    array = getattr(buffer, name)
    array[:] = CHANGES[name](array)


def assign_rows(buffer: Any, name: str) -> None:
    for row in range(len(getattr(buffer, name))):
        getattr(buffer, name)[row] = CHANGES[name](getattr(buffer, name)[row])


def assign_augmented(buffer: Any, name: str) -> None:
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


WRITES: dict[str, Write] = {
    "=": assign,
    "= of float64": assign_read_only_float64,
    "[:]": assign_in_place,
    "[row]": assign_rows,
    "*=": assign_augmented,
}


class WriteAtEnd(BaseCallback):
    """Writes to a column at the end of each rollout."""

    def __init__(self, name: str, write: Write) -> None:
        super().__init__()
        self.name, self.write = name, write

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.write(self.model.rollout_buffer, self.name)  # type: ignore[attr-defined]


PPO_SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "gae_lambda": 0.95,
    "n_epochs": 2,
    "batch_size": 8,
    "clip_range": 0.2,
    "clip_range_vf": 0.1,
    "normalize_advantage": True,
}
# SB3's algorithm, its settings, and those that ActorCritic needs besides.
REFERENCES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "A2C": (A2C, {}, {}),
    "PPO": (PPO, PPO_SETTINGS, {"use_rms_prop": False}),
}


def trained_weights(
    algorithm: Any, callback: Any, n_envs: int = 2, **settings: Any
) -> Tensor:
    """Returns the weights after three rollouts."""
    env = make_vec_env(CARTPOLE, n_envs, seed=5)
    model = algorithm("MlpPolicy", env, n_steps=16, seed=3, device="cpu", **settings)
    np.random.seed(11)
    model.learn(3 * 16 * n_envs, callback)
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (name, way)
        for name in CHANGES
        for way in WRITES
        # SB3 would learn in float64 from all columns but the rewards.
        if way != "= of float64" or name == "rewards"
    ],
)
@pytest.mark.parametrize("reference", REFERENCES)
def test_writes_at_the_end_of_a_rollout_act_as_in_sb3(
    reference: str, name: str, way: str
) -> None:
    algorithm, settings, more = REFERENCES[reference]
    callback = WriteAtEnd(name, WRITES[way])
    expected = trained_weights(algorithm, callback, **settings)
    callback = WriteAtEnd(name, WRITES[way])
    weights = trained_weights(ActorCritic, callback, **settings, **more)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=2e-5)


BATCH_FIELDS = {
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
SIZES = [*((kind, N_ENVS) for kind in KINDS), ("same_step", 512), ("torch", 512)]


# Half of the grid is slow: the other half has every combination of three of agent,
# environments, column and way.
WRITTEN = [
    pytest.param(
        *(agent, kind, n_envs, name, way),
        marks=pytest.mark.slow if n % 2 else (),
        id=f"{agent}-{kind}-{n_envs}-{name}-{way}",
    )
    for n, agent, (kind, n_envs), name, way in (
        (a + s + c + w, agent, size, name, way)
        for a, agent in enumerate(AGENTS)
        for s, size in enumerate(SIZES)
        for c, name in enumerate(BATCH_FIELDS)
        for w, way in enumerate(("=", "[:]"))
    )
]


@pytest.mark.parametrize(("agent", "kind", "n_envs", "name", "way"), WRITTEN)
def test_the_loss_gets_what_a_callback_has_written(
    agent: str, kind: str, n_envs: int, name: str, way: str
) -> None:
    algorithm, settings = AGENTS[agent]
    batches: list[Any] = []
    expected = np.zeros(0)

    class RecordBatches(algorithm):  # type: ignore[misc, valid-type]
        def loss(self, batch: Any) -> Any:
            batches.append(batch)
            return super().loss(batch)

    def write(buffer: Any, name: str) -> None:
        nonlocal expected
        changed = CHANGES[name](np.array(getattr(buffer, name), dtype=np.float64))
        WRITES[way](buffer, name)
        np.testing.assert_allclose(getattr(buffer, name), changed, rtol=1e-6)
        expected = changed[buffer.recorded]

    env = KINDS[kind](SEQUENCE, n_envs)
    model = RecordBatches("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(1, WriteAtEnd(name, write))
    column = torch.cat([getattr(batch, BATCH_FIELDS[name]) for batch in batches])
    found, expected = column.numpy(), expected.reshape(column.shape)
    if "batch_size" in settings or "memory_size" in settings:
        # Shuffled.
        found, expected = np.sort(found, axis=0), np.sort(expected, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["rewards", "observations", "actions"])
@pytest.mark.parametrize("replay", ["importance", "v_trace"])
def test_the_replay_memory_stores_what_was_written(name: str, replay: str) -> None:
    settings: dict[str, Any] = {"estimator": "td"} if replay == "v_trace" else {}
    algorithm: Any = ActorCritic if replay == "v_trace" else REINFORCE
    model = algorithm(
        "MlpPolicy",
        KINDS["dummy"](SEQUENCE),
        n_steps=16,
        memory_size=64,
        replay=replay,
        device="cpu",
        **settings,
    )
    model.learn(1, WriteAtEnd(name, assign))
    (rollout,) = model.replay_memory.rollouts
    written = getattr(model.rollout_buffer, name)
    stored = getattr(rollout, name).numpy().reshape(written.shape)
    np.testing.assert_allclose(stored, written)


class WriteInStep(BaseCallback):
    """Writes to a local variable of each step, or to the rows of the buffer so far."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _on_step(self) -> bool:
        variable = self.locals[self.name]
        if self.name == "actions":
            variable[:] = 1 - variable
        elif self.name != "rollout_buffer":
            variable[:] = variable * 0.5
        elif variable.pos > 0:
            variable.rewards[: variable.pos] *= 0.9
        return True


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("name", ["rewards", "new_obs", "actions", "rollout_buffer"])
def test_writes_within_a_rollout_act_as_in_a2c(name: str, n_envs: int) -> None:
    expected = trained_weights(A2C, WriteInStep(name), n_envs)
    weights = trained_weights(ActorCritic, WriteInStep(name), n_envs)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["rewards", "new_obs", "actions"])
def test_locals_written_in_a_step_are_stored(name: str, kind: str) -> None:
    model = ActorCritic("MlpPolicy", KINDS[kind](CARTPOLE), n_steps=4, device="cpu")
    number = 1 if name == "actions" else 7.0

    def write(variables: dict[str, Any], _: Any) -> bool:
        variables[name][:] = number
        return True

    model.learn(4 * model.n_envs, write)
    buffer = model.rollout_buffer
    stored = buffer.observations[1:] if name == "new_obs" else getattr(buffer, name)
    assert (stored == number).all()


def at_rollout_end(kind: str, function: Write, name: str = "") -> None:
    model = ActorCritic("MlpPolicy", KINDS[kind](CARTPOLE), n_steps=4, device="cpu")
    model.learn(4 * model.n_envs, WriteAtEnd(name, function))


READ_ONLY = ("episode_starts", "terminated", "truncated", "recorded", "next_values")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READ_ONLY)
def test_columns_that_the_update_does_not_read_are_read_only(
    name: str, kind: str
) -> None:
    def write(buffer: TrajectoryBuffer, name: str) -> None:
        with pytest.raises(AttributeError, match=f"{name} is read-only"):
            setattr(buffer, name, getattr(buffer, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(buffer, name)[0] = 1

    at_rollout_end(kind, write, name)


@pytest.mark.parametrize("value", [0.0, np.zeros(3), np.zeros((5, N_ENVS))])
def test_assigning_another_shape_is_refused(value: Any) -> None:
    def write(buffer: TrajectoryBuffer, _: str) -> None:
        message = rf"rollout_buffer.advantages must have the shape \(4, {N_ENVS}\), got"
        with pytest.raises(ValueError, match=message):
            buffer.advantages = value

    at_rollout_end("dummy", write)


def test_arrays_of_a_rollout_stay_valid_in_the_next() -> None:
    arrays: list[tuple[Any, Any]] = []

    def read(buffer: TrajectoryBuffer, _: str) -> None:
        batch = next(iter(buffer.get()))
        for array in (
            *(buffer.rewards, buffer.observations, buffer.advantages),
            *(batch.observations.numpy(), batch.advantages.numpy()),
        ):
            arrays.append((array, array.copy()))

    model = ActorCritic("MlpPolicy", KINDS["torch"](CARTPOLE), n_steps=4, device="cpu")
    model.learn(60, WriteAtEnd("", read))
    assert len(arrays) > 20
    for array, before in arrays:
        np.testing.assert_array_equal(array, before)
