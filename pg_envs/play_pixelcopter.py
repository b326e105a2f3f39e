"""Pixelcopter by hand: `python -m pg_envs.play_pixelcopter`.

Hold the up arrow, w or the space bar to climb; release it to fall. Escape, Q or the
close button ends the program.
"""

from __future__ import annotations

import argparse
from typing import get_args

from pg_envs.pixelcopter import PixelcopterEnv
from pg_envs.pixelcopter.game import CRASH_REWARD, NOOP, UP
from pg_envs.pixelcopter.scene import Theme
from pg_envs.rendering.scene import WindowClosed

CLIMB_KEYS = {"up", "w", "space"}


def play(env: PixelcopterEnv, seed: int | None = None) -> list[float]:
    """Plays games by keyboard until the window is closed.

    A game starts when a key is pressed.

    Args:
        env: an environment with `render_mode="human"`.
        seed: seed of the first game.

    Returns:
        The scores of the games that were played to their end.

    Raises:
        RuntimeError: if there is no display.
    """
    scores: list[float] = []
    message = "Hold up, w or space to climb. Press it to begin."
    try:
        env.reset(seed=seed)
        while True:
            _wait_for_key(env, message)
            scores.append(_play_game(env))
            _wait_for_key(env, f"Score {scores[-1]:g}. Press up, w or space.")
            env.reset()
            message = "Press it again to begin."
    except (WindowClosed, KeyboardInterrupt):
        return scores
    finally:
        env.close()


def _wait_for_key(env: PixelcopterEnv, message: str) -> None:
    """Shows a message until a key is pressed anew."""
    was_held = True
    while True:
        env.canvas.show(env.scene(message))
        is_held = bool(env.canvas.keys() & CLIMB_KEYS)
        if is_held and not was_held:
            return
        was_held = is_held


def _play_game(env: PixelcopterEnv) -> float:
    """Plays until the crash; returns the score."""
    score, terminated = 0.0, False
    while not terminated:
        # The step also draws the picture and limits the pace.
        climbs = bool(env.canvas.keys() & CLIMB_KEYS)
        action = UP if climbs else NOOP
        _, reward, terminated, _, _ = env.step(action)
        score += reward
    return score


def main() -> None:
    """Reads the arguments and plays."""
    parser = argparse.ArgumentParser(
        prog="python -m pg_envs.play_pixelcopter", description=__doc__
    )
    parser.add_argument("--seed", type=int, help="seed of the first game")
    parser.add_argument(
        "--reward-scheme",
        choices=sorted(CRASH_REWARD),
        default="original",
        help="a crash costs 5, or 1 (Hugging Face's course); default: %(default)s",
    )
    parser.add_argument(
        "--theme",
        choices=get_args(Theme),
        default="helicopter",
        help="how it is drawn: as in the original, or with a helicopter; default: "
        "%(default)s",
    )
    options = parser.parse_args()
    if options.seed is not None and options.seed < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    env = PixelcopterEnv(options.reward_scheme, "human", options.theme)
    try:
        scores = play(env, options.seed)
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    if scores:
        print(f"Games: {len(scores)}, best score: {max(scores):g}.")


if __name__ == "__main__":
    main()
