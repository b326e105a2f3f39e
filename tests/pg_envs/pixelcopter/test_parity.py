"""Single, NumPy and torch implementations against the game written out plainly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pg_envs.pixelcopter import PixelcopterEnv, PixelcopterVectorEnv
from pg_envs.vector.backend import Backend, NumpyBackend, TorchBackend
from tests.pg_envs.pixelcopter.players import careful
from tests.pg_envs.pixelcopter.reference import Reference
from tests.pg_envs.vector.kinds import GpuLikeBackend


class Tape:
    """Uniform draws that are the same for every implementation.

    A game asks for its draws at the same steps whatever computes it, so the k-th block
    of environment i is the same everywhere.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int], int] = {}

    def __call__(self, n: int, i: int) -> list[float]:
        count = self.counts.get((n, i), 0)
        self.counts[n, i] = count + 1
        return list(np.random.default_rng((n, i, count)).random(n).tolist())


class TapedEnv(PixelcopterEnv):
    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.tape, self.number = Tape(), number

    def _uniform(self, n_rows: int) -> Any:
        return np.array(self.tape(n_rows, self.number))[:, None]


class TapedVectorEnv(PixelcopterVectorEnv):
    def __init__(self, num_envs: int, mode: str, backend: Backend) -> None:
        super().__init__(num_envs, autoreset_mode=mode, backend=backend)
        self.tape = Tape()

    def _uniform(self, n_rows: int, rows: Any) -> Any:
        if isinstance(self.backend, GpuLikeBackend):
            # The rows are a mask, and there are draws for all environments.
            draws = torch.zeros(n_rows, self.num_envs, dtype=torch.float64)
            for i in rows.nonzero().view(-1).tolist():
                draws[:, i] = torch.tensor(self.tape(n_rows, i), dtype=torch.float64)
            return draws
        tapes = [self.tape(n_rows, int(i)) for i in rows]
        return self.backend.array(np.array(tapes).T)


def reference(i: int = 0) -> Reference:
    tape = Tape()
    return Reference(lambda kind, n: tape(n, i))


def test_one_game_equals_the_reference_step_by_step() -> None:
    """Ten thousand steps of a careful player with errors, in float64."""
    env, game, rng = TapedEnv(), reference(), np.random.default_rng(0)
    obs, _ = env.reset()
    n_ended, longest, length = 0, 0, 0
    for _ in range(10_000):
        assert env._games.observations()[0].tolist() == game.observation()
        assert obs.tolist() == np.array(game.observation(), np.float32).tolist()
        action = careful(obs[None])[0] if rng.random() < 0.98 else rng.integers(2)
        obs, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated) == game.step(int(action))
        assert not truncated
        length += 1
        if terminated:
            assert obs.tolist() == np.array(game.observation(), np.float32).tolist()
            n_ended, longest, length = n_ended + 1, max(longest, length), 0
            game.reset()
            obs, _ = env.reset()
    assert n_ended > 20
    assert longest > 519


def test_endless_games_equal_the_reference() -> None:
    """All collisions, with players put at random heights, over several batches.

    The schedule of the columns repeats from step 816 on.
    """
    n, rng = 4, np.random.default_rng(0)
    env = TapedVectorEnv(n, "SameStep", NumpyBackend())
    env.reset()
    games, flights = env._games, [reference(i) for i in range(n)]
    n_crashes = np.zeros(2, np.int64)
    for _ in range(1_800):
        actions = rng.integers(2, size=n)
        rewards, terminated, passed = games.advance(actions)
        rows = np.flatnonzero(passed)
        games.place_blocks(rows, env._uniform(2, rows).reshape(2, -1))
        rows = np.flatnonzero(games.is_due())
        games.lay_terrain(rows, env._uniform(49, rows).reshape(49, -1))
        for i, game in enumerate(flights):
            reward, over = game.step(int(actions[i]))
            assert over == terminated[i]
            assert reward == rewards[i] - 5.0 * terminated[i]
            assert games.observations()[i].tolist() == game.observation()
            n_crashes[int(over)] += 1
            game.lives = 1
            y = rng.uniform(6, 42)
            game.player.y = float(round(y) if rng.random() < 0.5 else y)
            game.momentum = rng.uniform(-2, 2) if rng.random() < 0.5 else 0.0
        games.y[:] = [game.player.y for game in flights]
        games.momentum[:] = [game.momentum for game in flights]
    assert (n_crashes > 1_000).all()


@pytest.mark.parametrize(
    "backend", [NumpyBackend(), TorchBackend("cpu"), GpuLikeBackend("cpu")]
)
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_every_backend_makes_the_transitions_of_single_games(
    backend: Backend, mode: str
) -> None:
    """In single precision, as `step` returns them, over the ends of episodes."""
    n, rng = 5, np.random.default_rng(1)
    env = TapedVectorEnv(n, mode, backend)
    singles = [TapedEnv(i) for i in range(n)]
    batch, _ = env.reset()
    single_obs = [single.reset()[0] for single in singles]
    was_over, n_ended = np.zeros(n, np.bool_), 0
    for _ in range(900):
        assert batch.tolist() == np.array(single_obs).tolist()
        actions = np.where(rng.random(n) < 0.97, careful(np.array(single_obs)), 0)
        batch, rewards, terminated, truncated, infos = env.step(backend.array(actions))
        assert not truncated.any()
        for i, single in enumerate(singles):
            if was_over[i]:
                single_obs[i], reward, over = single.reset()[0], 0.0, False
            else:
                single_obs[i], reward, over, _, _ = single.step(actions[i])
            assert (float(rewards[i]), bool(terminated[i])) == (reward, over)
            if over and mode == "SameStep":
                assert infos["final_obs"][i].tolist() == single_obs[i].tolist()
                assert infos["_final_obs"][i]
                single_obs[i] = single.reset()[0]
            was_over[i] = over and mode == "NextStep"
            n_ended += over
    assert n_ended > 15
