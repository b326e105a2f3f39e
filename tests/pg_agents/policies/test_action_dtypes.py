"""Actions and observations keep the dtype of their space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    as_vec_env,
    clone_behaviour,
    record_demonstrations,
)
from pg_agents.common.spaces import nearest_actions, scaled, unscaled
from tests.pg_agents.policies.typed_envs import WAYS, typed_envs

Space = spaces.Space[Any]
PLACE = spaces.Box(-1.0, 1.0, (3,), np.float32)
# Bounds that samples of a standard normal distribution exceed.
ACTIONS: dict[str, Space] = {
    "float32": spaces.Box(-1.5, 0.7, (2,), np.float32),
    "float64": spaces.Box(-0.1, 0.1, (2,), np.float64),
    "float16": spaces.Box(-1.1, 0.3, (2,), np.float16),
    "matrix": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "number": spaces.Box(-1.0, 1.0, (), np.float32),
    "int8": spaces.Box(-128, 127, (2,), np.int8),
    "uint8": spaces.Box(0, 2, (2, 1), np.uint8),
    "int32": spaces.Box(-(2**31), 2**31 - 1, (1,), np.int32),
    "int64": spaces.Box(-1, np.array([0, 2**40]), (2,), np.int64),
    "bool": spaces.Box(0, 1, (3,), np.bool_),
    "discrete": spaces.Discrete(3, start=-1),
    "discrete int32": spaces.Discrete(3, start=2, dtype=np.int32),
    "discrete uint8": spaces.Discrete(2, dtype=np.uint8),
    "multi discrete int32": spaces.MultiDiscrete([3, 2], np.int32, start=[-1, 4]),
    "multi discrete uint8": spaces.MultiDiscrete([3, 2], np.uint8),
    "multi binary": spaces.MultiBinary(3),
}
BOXES = [name for name, space in ACTIONS.items() if isinstance(space, spaces.Box)]
AGENTS: list[tuple[Any, dict[str, Any]]] = [
    (ActorCritic, {"n_steps": 4}),
    (REINFORCE, {"n_episodes": 1}),
]


def nearest(numbers: Any, space: Space) -> Any:
    """Returns the nearest actions, computed with Python's integers."""
    if not isinstance(space, spaces.Box) or space.dtype.kind == "f":
        low, high = getattr(space, "low", None), getattr(space, "high", None)
        clipped = numbers if low is None else np.clip(numbers, low, high)
        return clipped.astype(space.dtype)
    low, high = (np.broadcast_to(b, numbers.shape) for b in (space.low, space.high))
    whole = [
        min(max(round(number), int(least)), int(most))
        for number, least, most in zip(
            numbers.ravel().tolist(), low.ravel(), high.ravel(), strict=True
        )
    ]
    return np.array(whole).astype(space.dtype).reshape(numbers.shape)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize(("agent", "kwargs"), AGENTS)
def test_actions_are_of_their_space_in_every_environment(
    agent: Any, kwargs: dict[str, Any], name: str, way: str
) -> None:
    """The environment asserts it. The buffer stores the unclipped samples."""
    space = ACTIONS[name]
    env = WAYS[way](PLACE, space)
    # Without learning, the log-probabilities can be computed again.
    model = agent("MlpPolicy", env, seed=0, learning_rate=0.0, **kwargs)
    steps: list[dict[str, Any]] = []

    def look(local: dict[str, Any], _: dict[str, Any]) -> bool:
        steps.append(
            {key: np.array(local[key]) for key in ("actions", "clipped_actions")}
        )
        return True

    model.learn(4 * model.n_envs, callback=look)
    buffer = model.rollout_buffer
    steps = steps[-len(buffer) :]
    for step in steps:
        assert step["clipped_actions"].dtype == space.dtype
        np.testing.assert_array_equal(
            step["clipped_actions"], nearest(step["actions"], space)
        )
    for i, each in enumerate(typed_envs(env)):
        acted = [
            steps[t]["clipped_actions"][i]
            for t in np.flatnonzero(buffer.recorded[:, i])
        ]
        np.testing.assert_array_equal(each.received[-len(acted) :], acted)
    drawn = np.stack([step["actions"] for step in steps])
    np.testing.assert_array_equal(buffer.actions, drawn.reshape(buffer.actions.shape))
    # Log-probabilities are of the samples, in both forms of the buffer.
    stored = torch.as_tensor(buffer.actions[buffer.recorded])
    obs, actions = buffer.steps()
    for given in (actions, stored):
        log_prob = model.policy.evaluate_actions(obs, given)[1].detach()
        torch.testing.assert_close(
            torch.as_tensor(buffer.log_probs[buffer.recorded]), log_prob
        )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BOXES)
def test_squashed_actions_are_within_the_bounds(name: str, way: str) -> None:
    space: Any = ACTIONS[name]
    env = WAYS[way](PLACE, space)
    kwargs = {"squash_output": True, "log_std_init": 2.0}
    model = ActorCritic(
        "MlpPolicy", env, seed=0, use_sde=True, policy_kwargs=kwargs, learning_rate=0.0
    )
    model.learn(10)
    buffer = model.rollout_buffer
    assert np.abs(buffer.actions).max() <= 1.0
    arrived = np.concatenate([each.received for each in typed_envs(env)])
    assert len(np.unique(arrived)) > 1
    chosen, _ = model.predict(np.zeros((4, 3), np.float32))
    assert chosen.dtype == space.dtype
    assert all(space.contains(np.asarray(one)) for one in chosen)


@pytest.mark.parametrize("name", ACTIONS)
def test_random_agents_act_in_every_space(name: str) -> None:
    for way, make in WAYS.items():
        env = make(PLACE, ACTIONS[name])
        RandomAgent("MlpPolicy", env, seed=0).learn(6)
        assert all(len(each.received) > 2 for each in typed_envs(env)), way


@pytest.mark.parametrize("way", ["sync", "same_step", "next_step", "torch"])
@pytest.mark.parametrize("name", [*BOXES, "multi binary"])
def test_a2c_acts_through_as_vec_env(name: str, way: str) -> None:
    """It returns floats; the environment asserts what it receives."""
    space = ACTIONS[name]
    env = WAYS[way](PLACE, space)
    given: list[Any] = []

    def look(local: dict[str, Any], _: dict[str, Any]) -> bool:
        given.append(local["clipped_actions"][0])
        return True

    A2C("MlpPolicy", as_vec_env(env), seed=0, device="cpu").learn(20, callback=look)
    expected = [nearest(np.asarray(one), space) for one in given]
    np.testing.assert_array_equal(typed_envs(env)[0].received, expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ACTIONS)
def test_demonstrated_actions_are_recorded_and_cloned(name: str, way: str) -> None:
    space = ACTIONS[name]
    env = WAYS[way](PLACE, space)
    space.seed(0)
    demos = record_demonstrations(env, lambda _: space.sample(), n_steps=6)
    arrived = np.concatenate([each.received for each in typed_envs(env)])
    np.testing.assert_array_equal(np.sort(arrived, 0), np.sort(demos.actions, 0))
    squashes = [False, True] if name in BOXES else [False]
    for squash in squashes:
        kwargs: dict[str, Any] = {"learning_rate": 0.0, "use_sde": squash, "seed": 0}
        kwargs["policy_kwargs"] = {"squash_output": squash}
        model = ActorCritic("MlpPolicy", env, **kwargs)
        policy = model.policy
        actions = policy.scale_action(demos.actions) if squash else demos.actions
        _, log_prob, _ = policy.evaluate_actions(
            torch.as_tensor(demos.observations), torch.as_tensor(actions)
        )
        result = clone_behaviour(model, demos, n_epochs=1, held_out_fraction=0.0)
        expected = -log_prob.mean().item()
        assert result.training_losses == pytest.approx([expected], rel=1e-5)


EXTREMES = [-1e30, -(2.0**63), -3.5, -2.5, -0.5, -0.2, 0.5, 1.5, 254.6, 2.0**63, 1e30]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "bool"]
)
def test_rounding_to_integers_does_not_overflow(dtype: str, as_tensor: bool) -> None:
    kind: Any = np.dtype(dtype).type
    # The bounds of a Box are at most these.
    low, high = (0, 1) if kind is np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
    space = spaces.Box(low, min(high, 2**63 - 2), (len(EXTREMES),), kind)
    for precision in (np.float32, np.float64):
        numbers: Any = np.array([EXTREMES], precision)
        expected = nearest(numbers, space)
        if as_tensor:
            numbers = torch.as_tensor(numbers)
        actions = nearest_actions(numbers, space)
        assert isinstance(actions, torch.Tensor) == as_tensor
        actions = np.asarray(actions)
        assert actions.dtype == dtype
        np.testing.assert_array_equal(actions, expected)
        assert space.contains(actions[0])
        # Actions stay unchanged.
        np.testing.assert_array_equal(nearest_actions(actions, space), actions)


@pytest.mark.parametrize("name", BOXES)
def test_scaling_is_invertible(name: str) -> None:
    space: Any = ACTIONS[name]
    space.seed(0)
    actions = np.stack([space.sample() for _ in range(20)] + [space.low, space.high])
    numbers = scaled(actions, space)
    assert np.abs(numbers).max() == 1.0
    again = unscaled(numbers, space)
    np.testing.assert_allclose(again, actions.astype(np.float64), rtol=1e-6, atol=1e-6)
    if space.dtype.kind != "f":
        np.testing.assert_array_equal(nearest_actions(again, space), actions)


OBSERVATIONS: dict[str, Space] = {
    "uint8": spaces.Box(0, 255, (3,), np.uint8),
    "uint16": spaces.Box(0, 60_000, (3,), np.uint16),
    "int8": spaces.Box(-128, 127, (2, 2), np.int8),
    "int32": spaces.Box(-(2**20), 2**20, (2,), np.int32),
    "int64": spaces.Box(-(2**20), 2**20, (2,), np.int64),
    "float16": spaces.Box(-1.0, 1.0, (2,), np.float16),
    "float32": spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    "float64": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "bool": spaces.Box(0, 1, (4,), np.bool_),
    "discrete int32": spaces.Discrete(5, start=-2, dtype=np.int32),
    "multi discrete uint8": spaces.MultiDiscrete([3, 2], np.uint8, start=[1, 0]),
    "multi binary": spaces.MultiBinary(3),
    "dict": spaces.Dict(
        {
            "a": spaces.Box(0, 9, (2,), np.int64),
            "b": spaces.Box(0, 1, (2,), np.bool_),
            "c": spaces.Box(-1.0, 1.0, (2,), np.float64),
        }
    ),
    "dict shifted": spaces.Dict(
        {"a": spaces.Discrete(3, start=1), "b": spaces.Box(0, 9, (1,), np.uint8)}
    ),
}
SHIFTED = ("discrete int32", "multi discrete uint8", "dict shifted")


def trained(agent: Any, name: str, way: str, **kwargs: Any) -> tuple[Any, Any]:
    env = WAYS[way](OBSERVATIONS[name], spaces.Discrete(2))
    policy = "MultiInputPolicy" if name.startswith("dict") else "MlpPolicy"
    model = agent(policy, env, seed=0, device="cpu", **kwargs)
    return model.learn(16 * model.n_envs), env


def weights(model: Any) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize(("agent", "kwargs"), AGENTS)
def test_observations_are_stored_unchanged(
    agent: Any, kwargs: dict[str, Any], name: str, way: str
) -> None:
    model, env = trained(agent, name, way, **kwargs)
    buffer = model.rollout_buffer
    for i, each in enumerate(typed_envs(env)):
        recorded = buffer.recorded[:, i]
        obs = each.acted_on[-int(recorded.sum()) :]
        for key, part in parts_of(OBSERVATIONS[name]):
            stored = buffer.observations if key is None else buffer.observations[key]
            rows = [row if key is None else row[key] for row in obs]
            assert stored.dtype == part.dtype
            stored = stored[:, i][recorded]
            np.testing.assert_array_equal(stored, np.reshape(rows, stored.shape))


def parts_of(space: Space) -> list[tuple[str | None, Space]]:
    return [*space.items()] if isinstance(space, spaces.Dict) else [(None, space)]


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_learning_does_not_depend_on_the_kind_of_environment(name: str) -> None:
    """And equals A2C's."""
    reference = trained(ActorCritic, name, "dummy")[0]
    for way in ("sync", "same_step", "next_step", "disabled", "torch"):
        model = trained(ActorCritic, name, way)[0]
        torch.testing.assert_close(weights(model), weights(reference))
    # SB3 counts from 0, whatever the space says.
    if name not in SHIFTED:
        for way in ("single", "dummy"):
            ours, theirs = (trained(each, name, way)[0] for each in (ActorCritic, A2C))
            # Inputs of up to 255 are rounded to 1e-5 before they are summed.
            torch.testing.assert_close(
                weights(ours), weights(theirs), rtol=0, atol=1e-4
            )
