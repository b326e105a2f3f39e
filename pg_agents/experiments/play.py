"""Games against an agent: the bandit, the sequence and Pixelcopter, by keyboard.

The person plays on the left, the agent on the right, each in an environment with the
same seed: the same cave, and the same arms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.callbacks.recorder import action_probabilities
from pg_agents.common.checks import check_choice
from pg_agents.experiments.pretrained import find_pretrained
from pg_envs import TabularEnv
from pg_envs.pixelcopter.game import NOOP, UP
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.env import RenderedEnv
from pg_envs.rendering.scene import Rectangle, Scene, Shape, Text, WindowClosed
from pg_envs.rendering.themes import DARK, THEMES
from pg_envs.rendering.transform import placed, recoloured
from pg_envs.rendering.widgets import BACKGROUND, short

GAMES = ("bandit", "sequence", "pixelcopter")
# Recipes whose pretrained agents play; the bandit's learns in the game.
AGENTS = {"sequence": "sequence-reinforce", "pixelcopter": "pixelcopter-mc"}
# Of the window, for pictures as wide as those of the first two games, and for others.
_SIZE = {"bandit": (1280, 560), "sequence": (1280, 560), "pixelcopter": (1280, 720)}
_FPS = 30
# The agent's pace where it does not wait for the person's moves.
_AGENT_SECONDS = 0.5
_PULLS = 30
_CLIMB = {"up", "w", "space"}
_NEXT = {"return", "enter", "n"}


class Rival(Protocol):
    """An agent and its environment."""

    @property
    def env(self) -> RenderedEnv[Any, Any]:
        """The environment, for its pictures."""

    def reset(self, seed: int) -> None:
        """Starts a game."""

    def step(self) -> tuple[float, bool]:
        """Makes a move; returns reward and whether the game is over."""


class Trained:
    """A trained agent.

    Args:
        model: the agent.
        env: a single environment.
    """

    def __init__(self, model: BaseAlgorithm, env: gymnasium.Env[Any, Any]) -> None:
        self._model, self._env = model, env
        self._obs: Any = None
        if isinstance(env.unwrapped, TabularEnv):
            observations = env.unwrapped.mdp.observations
            env.unwrapped.set_action_probabilities(
                action_probabilities(model, observations)
            )

    @property
    def env(self) -> RenderedEnv[Any, Any]:
        """See `Rival`."""
        return self._env.unwrapped  # type: ignore[return-value]

    def reset(self, seed: int) -> None:
        """See `Rival`."""
        self._obs, _ = self._env.reset(seed=seed)
        self._model.set_random_seed(seed)

    def step(self) -> tuple[float, bool]:
        """See `Rival`."""
        action, _ = self._model.predict(self._obs, deterministic=True)
        self._obs, reward, terminated, truncated, _ = self._env.step(int(action))
        return float(reward), terminated or truncated


class Learning:
    """A table of logits that learns in the game: REINFORCE, an update per pull.

    Args:
        env: a bandit with the observation "index".
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self._env = env
        self._model: REINFORCE | None = None
        self._n_pulls = 0

    @property
    def env(self) -> RenderedEnv[Any, Any]:
        """See `Rival`."""
        return self._env.unwrapped  # type: ignore[return-value]

    def reset(self, seed: int) -> None:
        """See `Rival`."""
        self._model = REINFORCE(
            "TabularPolicy",
            self._env,
            learning_rate=0.4,
            n_steps=1,
            gamma=0.0,
            seed=seed,
        )
        self._model.set_logger(Logger(folder=None, output_formats=[]))
        # It resets the environment, so that there is a picture before the first pull.
        self._env.reset(seed=seed)
        self._n_pulls = 0
        self._show_probabilities()

    def step(self) -> tuple[float, bool]:
        """See `Rival`."""
        model = self._model
        assert model is not None, "made by reset()"
        is_first = self._n_pulls == 0
        rewards: list[float] = []

        def note(variables: dict[str, Any], _: dict[str, Any]) -> bool:
            rewards.append(float(variables["rewards"][0]))
            return True

        model.learn(1, note, log_interval=None, reset_num_timesteps=is_first)
        self._n_pulls += 1
        self._show_probabilities()
        return rewards[0], self._n_pulls >= _PULLS

    def _show_probabilities(self) -> None:
        """Shows what it has learnt: from pulls that the person has seen, too."""
        env: Any = self._env.unwrapped
        assert self._model is not None, "made by reset()"
        probabilities = action_probabilities(self._model, env.mdp.observations)
        env.set_action_probabilities(probabilities)


@dataclass
class Side:
    """Score of a player.

    Attributes:
        name: "You" or the agent's.
        score: sum of the rewards of this game.
        is_over: whether it is over for this player.
        finished: scores of the finished games.
    """

    name: str
    score: float = 0.0
    is_over: bool = False
    finished: list[float] = field(default_factory=list)

    def take(self, reward: float, is_over: bool) -> None:
        """Adds the reward of a move."""
        self.score += reward
        self.is_over = is_over


def play(game: str, seed: int = 0, theme: str = "light") -> list[tuple[float, float]]:
    """Plays until the window is closed.

    Args:
        game: "bandit", "sequence" or "pixelcopter".
        seed: seed of the first game; the next one has the next seed.
        theme: "light" or "dark".

    Returns:
        Scores of the person and of the agent in each finished game.

    Raises:
        ValueError: if the game is unknown.
        RuntimeError: if there is no display.
    """
    check_choice("game", game, GAMES)
    canvas = Canvas(f"pgtoy play {game}", _FPS, is_resizable=True, oversampling=2)
    match = Match(game, canvas, theme)
    try:
        while True:
            match.play(seed)
            seed += 1
    except (WindowClosed, KeyboardInterrupt):
        return match.scores
    finally:
        canvas.close()


class Match:
    """Games of a person against an agent.

    Args:
        game: "bandit", "sequence" or "pixelcopter".
        canvas: shows the pictures, and knows the keys.
        theme: "light" or "dark".
    """

    def __init__(self, game: str, canvas: Canvas, theme: str = "light") -> None:
        self.game, self.canvas, self.theme = game, canvas, theme
        self._person: gymnasium.Env[Any, Any]
        self._rival: Rival
        name = "REINFORCE, learning" if game == "bandit" else "Trained agent"
        self.sides = Side("You"), Side(name)
        self._help = {
            "bandit": f"keys 0, 1, 2, 3 pull an arm; {_PULLS} pulls",
            "sequence": "left and right arrow walk; down or space chooses centre",
            "pixelcopter": "hold up, w or space to climb; press it to begin",
        }[game]
        if game != "bandit":
            self._make_trained()

    @property
    def scores(self) -> list[tuple[float, float]]:
        """Scores of person and agent in each finished game."""
        you, agent = self.sides
        return list(zip(you.finished, agent.finished, strict=True))

    def play(self, seed: int) -> None:
        """Plays a game, and waits for the key that starts the next one.

        Raises:
            WindowClosed: if the user has closed the window.
        """
        if self.game == "bandit":
            self._make_bandits(seed)
        person = self._person.unwrapped
        if isinstance(person, TabularEnv):
            person.player = "you"
        self._person.reset(seed=seed)
        self._rival.reset(seed)
        for side in self.sides:
            side.score, side.is_over = 0.0, False
        (self._fly if self.game == "pixelcopter" else self._take_turns)()
        for side in self.sides:
            side.finished.append(side.score)
        you, agent = (side.score for side in self.sides)
        outcome = "a draw"
        if abs(you - agent) > 1e-9:
            outcome = "you win" if you > agent else "the agent wins"
        if self.game == "bandit":
            self._show_means(True)
        self.canvas.pressed_keys()
        while not self._pressed() & _NEXT:
            self._show(f"{outcome}. Enter starts the next game, Escape or Q ends")

    def _make_trained(self) -> None:
        folder = find_pretrained(AGENTS[self.game])
        assert folder is not None, "it comes with the package"
        env_id = folder.config.settings.env_id
        self._person, env = gymnasium.make(env_id), gymnasium.make(env_id)
        self._rival = Trained(folder.load_model(), env)

    def _make_bandits(self, seed: int) -> None:
        """Makes two bandits with the same arms, which are to be found out."""
        means = np.random.default_rng(seed).uniform(0.1, 0.9, 4).round(2).tolist()
        envs = [
            gymnasium.make(
                "PGToy-Bandit-v0",
                arm_rewards=means,
                reward_noise="bernoulli",
                observation="index",
            )
            for _ in range(2)
        ]
        self._person, self._rival = envs[0], Learning(envs[1])
        self._show_means(False)

    def _show_means(self, shows_means: bool) -> None:
        for env in (self._person.unwrapped, self._rival.env):
            env.shows_means = shows_means  # type: ignore[attr-defined]

    def _take_turns(self) -> None:
        """The agent moves with the person, then goes on alone if it has to."""
        you, agent = self.sides
        n_moves, due = 0, 0.0
        self.canvas.pressed_keys()
        while not (you.is_over and agent.is_over):
            self._show(self._help)
            actions = [] if you.is_over else self._chosen_actions()
            for action in actions[:1]:
                _, reward, terminated, truncated, _ = self._person.step(action)
                n_moves += 1
                is_last = self.game == "bandit" and n_moves >= _PULLS
                you.take(float(reward), terminated or truncated or is_last)
            is_due = you.is_over and time.monotonic() >= due
            if not agent.is_over and (actions or is_due):
                agent.take(*self._rival.step())
                due = time.monotonic() + _AGENT_SECONDS

    def _chosen_actions(self) -> list[int]:
        keys = self.canvas.pressed_keys()
        if self.game == "bandit":
            n_arms = int(self._person.action_space.n)  # type: ignore[attr-defined]
            arms = {str(arm): arm for arm in range(n_arms)}
        else:
            arms = {"left": 0, "down": 1, "space": 1, "right": 2}
        return [arms[key] for key in keys if key in arms]

    def _fly(self) -> None:
        """Both fly at thirty steps a second until both have crashed."""
        you, agent = self.sides
        self.canvas.pressed_keys()
        while not self._pressed() & _CLIMB:
            self._show(self._help)
        while not you.is_over:
            self._show(self._help)
            action = UP if self.canvas.keys() & _CLIMB else NOOP
            _, reward, crashed, truncated, _ = self._person.step(action)
            you.take(float(reward), crashed or truncated)
            if not agent.is_over:
                agent.take(*self._rival.step())
        # A good pilot flies for minutes: what counts is who has flown farther so far.
        agent.is_over = True

    def _pressed(self) -> set[str]:
        return set(self.canvas.pressed_keys())

    def _show(self, message: str) -> None:
        width, height = self.canvas.window_size() or _SIZE[self.game]
        scene = match_scene(
            _scene_of(self._person.unwrapped),
            _scene_of(self._rival.env),
            self.sides,
            message,
            (max(width, 480), max(height, 320)),
            self.theme,
        )
        self.canvas.show(scene)


def _scene_of(env: Any) -> Scene:  # noqa: ANN401
    scene: Scene | None = env.current_scene()
    assert scene is not None, "the game has begun"
    return scene


def match_scene(
    left: Scene,
    right: Scene,
    sides: tuple[Side, Side],
    message: str,
    size: tuple[int, int],
    theme: str,
) -> Scene:
    """Returns the picture of a game: two environments with the scores above them.

    Args:
        left: the person's environment.
        right: the agent's.
        sides: the scores of both.
        message: a line below.
        size: width and height in pixels.
        theme: "light" or "dark".
    """
    width, height = size
    colours = THEMES[theme]
    k = min(width / 1280, height / 560)
    margin, top, bottom = 16 * k, 92 * k, 44 * k
    panel = (width - 3 * margin) / 2
    shapes: list[Shape] = []
    for i, (scene, side) in enumerate(zip((left, right), sides, strict=True)):
        x = margin + i * (panel + margin)
        accent = colours.main if i == 0 else colours.second
        shapes += [
            Rectangle(
                x, margin, panel, top - 1.5 * margin, colours.card, 8 * k, accent
            ),
            Text(
                side.name, x + 18 * k, 50 * k, 24 * k, colours.ink, "left", 0.4 * panel
            ),
            Text(
                "score", x + 0.6 * panel, 52 * k, 18 * k, colours.muted, "right", 80 * k
            ),
            Text(
                short(round(side.score, 2)),
                x + 0.6 * panel + 14 * k,
                50 * k,
                34 * k,
                accent,
                "left",
                0.17 * panel,
            ),
        ]
        if side.finished:
            mean = short(round(float(np.mean(side.finished)), 2))
            text = f"mean of {len(side.finished)}: {mean}"
            end = x + panel - 18 * k
            muted = colours.muted
            shapes.append(Text(text, end, 50 * k, 16 * k, muted, "right", 0.22 * panel))
        if colours is DARK and scene.background == BACKGROUND:
            scene = recoloured(scene, colours.colours, colours.text_colours)
        shapes += placed(scene, x, top, panel, height - top - bottom)
    line = Text(message, width / 2, height - 22 * k, 18 * k, colours.ink)
    return Scene(width, height, colours.background, (*shapes, line))
