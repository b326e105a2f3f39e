"""The three implementations beside the game, written out one thing at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pg_envs import pixelcopter_dynamics as dynamics
from pg_envs import pixelcopter_games as games
from pg_envs.pixelcopter import PixelcopterEnv
from pg_envs.pixelcopter_vector import PixelcopterVectorEnv
from pg_envs.torch_pixelcopter import TorchArrays, TorchPixelcopterVectorEnv
from tests.pg_envs.pixelcopter_players import careful
from tests.pg_envs.pixelcopter_reference import Reference, Thing


class Tape:
    """The same uniform draws for everyone: those of environment i, one after another.

    A game asks for its draws at the same moments whoever computes it, so the k-th block
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
    def __init__(self, num_envs: int, mode: str) -> None:
        super().__init__(num_envs, autoreset_mode=mode)
        self.tape = Tape()

    def _uniform(self, n_rows: int, which: Any) -> Any:
        return np.array([self.tape(n_rows, int(i)) for i in which]).T


class TapedTorchEnv(TorchPixelcopterVectorEnv):
    def __init__(self, num_envs: int, mode: str) -> None:
        super().__init__(num_envs, autoreset_mode=mode)
        self.tape = Tape()

    def _uniform(self, n_rows: int, which: Any) -> Any:
        return np.array([self.tape(n_rows, int(i)) for i in which]).T


class TapedMaskEnv(TapedTorchEnv):
    """As on a GPU, with tensors and masks."""

    def _make_arrays(self) -> Any:
        return TorchArrays(self.device)

    def _uniform(self, n_rows: int, which: Any) -> Any:
        draws = torch.zeros(n_rows, self.num_envs, dtype=torch.float64)
        for i in which.nonzero().view(-1).tolist():
            draws[:, i] = torch.tensor(self.tape(n_rows, i), dtype=torch.float64)
        return draws


def reference(i: int = 0) -> Reference:
    tape = Tape()
    return Reference(lambda kind, n: tape(n, i))


def test_one_game_is_that_of_the_reference_step_by_step() -> None:
    """Ten thousand steps of a careful player with some errors, in float64."""
    env, game, rng = TapedEnv(), reference(), np.random.default_rng(0)
    seen, _ = env.reset()
    n_ended, longest, length = 0, 0, 0
    for _ in range(10_000):
        assert env._copters.seen[:, 0].tolist() == game.seen()
        assert seen.tolist() == np.array(game.seen(), np.float32).tolist()
        action = careful(seen[None])[0] if rng.random() < 0.98 else rng.integers(2)
        seen, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated) == game.step(int(action))
        assert not truncated
        length += 1
        if terminated:
            assert seen.tolist() == np.array(game.seen(), np.float32).tolist()
            n_ended, longest, length = n_ended + 1, max(longest, length), 0
            game.reset()
            seen, _ = env.reset()
    assert n_ended > 20
    assert longest > 519


def test_a_game_that_nothing_ends_is_that_of_the_reference() -> None:
    """Players put at random heights, across several batches of terrain: all collisions.

    The pattern of the columns repeats from step 816 on.
    """
    n, rng = 4, np.random.default_rng(0)
    env = TapedVectorEnv(n, "SameStep")
    env.reset()
    copters, flights = env._copters, [reference(i) for i in range(n)]
    n_crashes = np.zeros(2, np.int64)
    for _ in range(1_800):
        actions = rng.integers(2, size=n)
        gained, terminated, passed = dynamics.advance(copters, actions)
        env._place_blocks(passed)
        env._lay_terrain(copters.fresh[copters.clock])
        for i, game in enumerate(flights):
            reward, over = game.step(int(actions[i]))
            assert over == terminated[i]
            assert reward == gained[i] - 5.0 * terminated[i]
            assert copters.seen[:, i].tolist() == game.seen()
            n_crashes[int(over)] += 1
            game.lives = 1
            y = rng.uniform(6, 42)
            game.player.y = float(round(y) if rng.random() < 0.5 else y)
            game.momentum = rng.uniform(-2, 2) if rng.random() < 0.5 else 0.0
        copters.y[:] = [game.player.y for game in flights]
        copters.momentum[:] = [game.momentum for game in flights]
    assert (n_crashes > 1_000).all()


@pytest.mark.parametrize("row", [games.BLOCK_X, games.PASSED_X])
def test_blocks_are_touched_where_rectangles_overlap(row: int) -> None:
    """At whole pixels and at the float64 on either side of them."""
    copters = games.Copters(games.NumPyArrays(), 1)
    numbers, steps = copters.numbers, np.arange(-7.0, 8.0)
    xs, ys = (
        np.concatenate([whole, np.nextafter(whole, 0.0), np.nextafter(whole, 99.0)])
        for whole in (steps + 16.0, steps + 24.0)
    )
    for x in xs:
        for y in ys:
            numbers[[games.BLOCK_X, games.PASSED_X]] = -48.0
            numbers[[games.BLOCK_Y, games.PASSED_Y]] = 24.0
            numbers[row], numbers[games.Y] = x, y
            player, block = Thing(16, float(y), 2, 2), Thing(float(x), 24, 4, 9)
            hit = bool(player.rect.colliderect(block.rect))
            assert dynamics._hits_block(copters).tolist() == [hit], (x, y)


@pytest.mark.parametrize("kind", [TapedVectorEnv, TapedTorchEnv, TapedMaskEnv])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_every_implementation_makes_the_same_transitions(kind: Any, mode: str) -> None:
    """In single precision, as they are handed out, over the ends of episodes."""
    n, rng = 5, np.random.default_rng(1)
    env, singles = kind(n, mode), [TapedEnv(i) for i in range(n)]
    batch, _ = env.reset()
    seen = [single.reset()[0] for single in singles]
    was_over, n_ended = np.zeros(n, np.bool_), 0
    for _ in range(900):
        assert batch.tolist() == np.array(seen).tolist()
        actions = np.where(rng.random(n) < 0.97, careful(np.array(seen)), 0)
        given = torch.from_numpy(actions) if "torch" in env.metadata else actions
        batch, rewards, terminated, truncated, infos = env.step(given)
        assert not truncated.any()
        for i, single in enumerate(singles):
            if was_over[i]:
                seen[i], reward, over = single.reset()[0], 0.0, False
            else:
                seen[i], reward, over, _, _ = single.step(actions[i])
            assert (float(rewards[i]), bool(terminated[i])) == (reward, over)
            if over and mode == "SameStep":
                assert infos["final_obs"][i].tolist() == seen[i].tolist()
                assert infos["_final_obs"][i]
                seen[i] = single.reset()[0]
            was_over[i] = over and mode == "NextStep"
            n_ended += over
    assert n_ended > 15
