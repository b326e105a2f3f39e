"""A batch of R groups with R seeds: each group does what it would do alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from pg_envs import (
    CartPoleVectorEnv,
    TabularEnv,
    TabularVectorEnv,
    bandit_mdp,
    mdp_from_env,
    sequence_mdp,
)
from pg_envs.mdp import TabularMDP
from tests.pg_envs.tabular_examples import random_mdp, two_step_mdp
from tests.pg_envs.vector.kinds import COPIES, KINDS, MODES, NEXT, TORCH_KINDS, make


def tables(mdp: TabularMDP) -> Callable[..., TabularVectorEnv]:
    return lambda n, *arguments: TabularVectorEnv(TabularEnv(mdp), n, *arguments)


def toy(env_id: str, **arguments: Any) -> Callable[..., TabularVectorEnv]:
    return tables(mdp_from_env(gymnasium.make(env_id, **arguments)))


def registered(env_id: str, **form: Any) -> Callable[..., Any]:
    def make_env(n: int, limit: int, mode: AutoresetMode, render_mode: Any) -> Any:
        arguments = {"max_episode_steps": limit, "autoreset_mode": mode, **form}
        return gymnasium.make_vec(env_id, n, render_mode=render_mode, **arguments)

    return make_env


BANDIT, SEQUENCE = "pg_envs:PGToy-Bandit-v0", "pg_envs:PGToy-Sequence-v0"
ENVS: dict[str, Callable[..., Any]] = {
    "bandit": registered(BANDIT),
    "gaussian bandit": registered(BANDIT, reward_noise="gaussian"),
    "bernoulli bandit": tables(bandit_mdp((0.2, 0.7), "bernoulli")),
    "sequence": registered(SEQUENCE, observation="one_hot"),
    "long sequence": tables(sequence_mdp(7, observation="index")),
    "random start": tables(two_step_mdp()),
    "dense": tables(random_mdp(1)),
    "dense gaussian": tables(random_mdp(2, reward_noise="gaussian")),
    "FrozenLake": toy("FrozenLake-v1", is_slippery=True),
    "CliffWalking": toy("CliffWalking-v1", is_slippery=True),
    "Taxi": toy("Taxi-v4"),
    "CartPole": CartPoleVectorEnv,
    "Pixelcopter": registered("pg_envs:PGToy-Pixelcopter-v0"),
    "Pixelcopter with its limit": registered("pg_envs:PGToy-PixelcopterTimeLimit-v0"),
}
every_env = pytest.mark.parametrize("name", ENVS)
every_mode = pytest.mark.parametrize("mode", MODES)


class Batch:
    """A batch whose group r takes random actions drawn from its own seed.

    Every 33 steps some of the environments are reset, after 200 steps all of them.
    """

    def __init__(
        self, name: str, n: int, seeds: Sequence[int], mode: Any = NEXT
    ) -> None:
        self.n, self.seeds = n, seeds
        self.env = ENVS[name](n * len(seeds), 30, mode, None)
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.t = 0

    def reset(self) -> np.ndarray:
        seed: Any = list(self.seeds) if len(self.seeds) > 1 else self.seeds[0]
        return self._groups(self.env.reset(seed=seed)[0])

    def play(self, n_steps: int) -> list[list[np.ndarray]]:
        """Returns for every step its arrays, `[R, N, ...]` each."""
        env, played = self.env, []
        n_actions = int(env.single_action_space.n)
        for _ in range(n_steps):
            self.t += 1
            actions = [rng.integers(n_actions, size=self.n) for rng in self.rngs]
            obs, rewards, terminated, truncated, infos = env.step(np.ravel(actions))
            final_obs = infos.get("final_obs", obs)
            arrays = [obs, rewards, terminated, truncated, final_obs]
            if self.t % 33 == 0:
                draws = np.ravel([rng.random(self.n) for rng in self.rngs])
                arrays.append(env.reset(options={"reset_mask": draws < 0.5})[0])
            if self.t == 200:
                arrays.append(env.reset()[0])
            played.append([self._groups(array) for array in arrays])
        return played

    def _groups(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(len(self.seeds), self.n, *array.shape[1:])


def assert_equal(batch: list[Any], r: int, alone: list[Any]) -> None:
    """Asserts that group r of a batch has played what one group has played alone."""
    for t, (many, one) in enumerate(zip(batch, alone, strict=True)):
        for part, (found, expected) in enumerate(zip(many, one, strict=True)):
            assert found.dtype == expected.dtype
            assert np.array_equal(found[r], expected[0]), (t, part)


@every_mode
@every_env
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("seeds", [[5], [5, 2**40, 0]])
def test_a_group_equals_its_environments_alone(
    name: str, mode: AutoresetMode, n: int, seeds: list[int]
) -> None:
    batch = Batch(name, n, seeds, mode)
    starts, played = batch.reset(), batch.play(250)
    for r, seed in enumerate(seeds):
        alone = Batch(name, n, [seed], mode)
        assert np.array_equal(starts[r], alone.reset()[0])
        assert_equal(played, r, alone.play(250))
    assert np.any([step[2] | step[3] for step in played])


@every_env
def test_companions_do_not_matter(name: str) -> None:
    batches = [Batch(name, 2, seeds) for seeds in ([7, 8, 9], [1, 7], [3, 4, 5, 6, 7])]
    rows = [0, 1, 4]
    for batch in batches:
        batch.reset()
    played = [batch.play(150) for batch in batches]
    first = [[array[:1] for array in step] for step in played[0]]
    for steps, r in zip(played, rows, strict=True):
        assert_equal(steps, r, first)


@every_env
@pytest.mark.parametrize("make_copy", COPIES)
def test_copies_and_saved_states_continue_bit_for_bit(
    name: str, make_copy: Any
) -> None:
    batch = Batch(name, 2, [7, 8, 9])
    batch.reset()
    batch.play(50)
    copied, restored = make_copy(batch), Batch(name, 2, [7, 8, 9])
    restored.reset()
    restored.env.set_state(make_copy(batch.env.get_state()))
    restored.rngs, restored.t = make_copy(batch.rngs), batch.t
    expected = batch.play(300)
    for other in (copied, restored):
        found = other.play(300)
        for r in range(3):
            alone = [[array[r : r + 1] for array in step] for step in expected]
            assert_equal(found, r, alone)
    assert str(restored.env.get_state()) == str(batch.env.get_state())


@every_env
def test_the_generators_of_a_state_are_those_of_the_groups_alone(name: str) -> None:
    """Whatever is drawn ahead, a state says what has been used."""
    seeds = [7, 8, 9]
    batch = Batch(name, 2, seeds)
    batch.reset()
    batch.play(77)
    for r, seed in enumerate(seeds):
        alone = Batch(name, 2, [seed])
        alone.reset()
        alone.play(77)
        state = alone.env.get_state()
        assert batch.env.get_state()["generator"][r] == state["generator"]


@every_env
def test_a_single_seed_or_a_state_ends_the_groups(name: str) -> None:
    batch, alone = Batch(name, 4, [1, 2]), Batch(name, 8, [3])
    batch.reset()
    batch.play(10)
    alone.reset()
    state = alone.env.get_state()
    expected = alone.play(40)
    for seed in (3, [3], None):
        again = Batch(name, 8, [3])
        again.env = batch.env
        if seed is None:
            batch.env.set_state(state)
        else:
            batch.env.reset(seed=seed)
        assert_equal(again.play(40), 0, expected)


def test_sequences_of_every_kind_are_seeds() -> None:
    kinds: list[Any] = [[0, 1, 2], (0, 1, 2), range(3), np.arange(3)]
    starts = [CartPoleVectorEnv(6).reset(seed=seeds)[0].tolist() for seeds in kinds]
    assert all(start == starts[0] for start in starts)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], r"got 0: \[\]"),
        ([1, 2, 3, 4], r"a divisor of num_envs=6, got 4: \[1, 2, 3, 4\]"),
        ([1] * 12, "a divisor of num_envs=6, got 12"),
        ([1, -1], r"an integer >= 0 or a sequence .*, got 2: \[1, -1\]"),
        ([1.0, 2.0], r"got 2: \[1.0, 2.0\]"),
        ([1, None], r"got 2: \[1, None\]"),
        ([True, False], r"got 2: \[True, False\]"),
        (np.array([[1, 2], [3, 4]]), "got 2: array"),
        ("12", "got 2: '12'"),
    ],
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in TORCH_KINDS])
def test_wrong_seeds_are_refused_and_change_nothing(
    kind: str, seeds: Any, message: str
) -> None:
    env, twin = make(kind, 6), make(kind, 6)
    env.reset(seed=[1, 2])
    twin.reset(seed=[1, 2])
    with pytest.raises(ValueError, match=f"seed must be .*{message}"):
        env.reset(seed=seeds)
    assert str(env.get_state()) == str(twin.get_state())


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_torch_has_one_generator(kind: str) -> None:
    env = make(kind, 6)
    with pytest.raises(ValueError, match=r"seed must be one integer .* got 3 seeds"):
        env.reset(seed=[1, 2, 3])
    one, other = env.reset(seed=[4])[0], env.reset(seed=4)[0]
    assert torch.equal(one, other)


@pytest.mark.parametrize("damage", [lambda s: [], lambda s: s[:1] * 4])
def test_states_of_a_wrong_number_of_generators_are_refused(damage: Any) -> None:
    env = CartPoleVectorEnv(6)
    env.reset(seed=[1, 2, 3])
    state = env.get_state()
    state["generator"] = damage(state["generator"])
    with pytest.raises(ValueError, match=r"'generator'\] must .* num_envs=6, got [04]"):
        env.set_state(state)
