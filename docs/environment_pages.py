"""The site's pages of environments: text from docstrings, pictures by rendering.

The docstring of an environment's class has the headings of Gymnasium's pages, each on a
line of its own; what stands before the first is its description.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

import pg_envs
from pg_agents.analysis.plots import save_gif
from pg_agents.experiments.pretrained import find_pretrained
from pg_envs import TabularMDP, oracle
from pg_envs.rendering import Scene, recoloured
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.themes import DARK

HEADINGS = (
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Arguments",
    "Version History",
)
Frame = NDArray[np.uint8]


class Film(NamedTuple):
    """Frames, and the same in colours for a dark page."""

    light: list[Frame]
    dark: list[Frame]


@dataclass(frozen=True)
class Page:
    """A page of an environment.

    Attributes:
        name: of the file, without suffix.
        title: of the page.
        cls: the class whose docstring it shows.
        code: makes the environment.
        make: makes it, too.
        film: draws the film of the page.
        film_text: what the film shows.
        fps: its frames per second.
        variant: draws a second picture, as a film of one frame; None for none.
        variant_text: what that picture shows.
    """

    name: str
    title: str
    cls: type
    code: str
    make: Callable[[], Any]
    film: Callable[[], Film]
    film_text: str
    fps: int
    variant: Callable[[], Film] | None = None
    variant_text: str = ""


def sections(docstring: str) -> dict[str, str]:
    """Splits a docstring at its headings.

    Args:
        docstring: with headings such as `Rewards:`, each on a line of its own.

    Returns:
        The texts by heading, without their indentation; `"Description"` is the text
        before the first heading.
    """
    name = "Description"
    texts: dict[str, list[str]] = {name: []}
    for line in inspect.cleandoc(docstring).split("\n"):
        heading = re.fullmatch(r"([A-Z][A-Za-z ]+):(?: (.+))?", line)
        if heading and (heading[2] is None or heading[1] == "Reference"):
            name = heading[1]
            texts[name] = ["", heading[2] or ""]
        else:
            texts[name].append(line)
    return {name: inspect.cleandoc("\n".join(text)) for name, text in texts.items()}


def markdown(page: Page) -> str:
    """Returns a page as MyST Markdown."""
    texts = sections(page.cls.__doc__ or "")
    env = page.make()
    action_space, observation_space = _single_spaces(env)
    texts["Observation Space"] += _bounds(observation_space)
    texts["Arguments"] = _arguments(page.cls, texts["Arguments"])
    texts["Version History"] = re.sub("^", "- ", texts["Version History"], flags=re.M)
    if page.variant:
        picture = _pictures(f"{page.name}-variant", "png", page.variant_text)
        texts["Arguments"] += f"\n\n{picture}\n\n*{page.variant_text}*"
    facts = {
        "Action Space": _space(action_space),
        "Observation Space": _space(observation_space),
        "Made by": f"`{page.code}`",
    }
    parts = [
        f"# {page.title}",
        _pictures(page.name, "gif", page.film_text),
        f"*{page.film_text}*",
        "\n".join(["```{list-table}", *(f"* - {k}\n  - {v}" for k, v in facts.items())])
        + "\n```",
        f"## Description\n\n{texts['Description']}",
        *(f"## {heading}\n\n{texts[heading]}" for heading in HEADINGS),
    ]
    if "Reference" in texts:
        parts.append(f"## Reference\n\n{texts['Reference']}")
    name = page.cls.__name__
    parts.append(f"Methods and attributes are those of {{py:class}}`pg_envs.{name}`.")
    return "\n\n".join(parts) + "\n"


def write_pictures(page: Page, folder: Path) -> None:
    """Writes the pictures that a page shows into an existing folder."""
    for theme, frames in page.film()._asdict().items():
        save_gif(frames, folder / f"{page.name}-{theme}.gif", page.fps)
    if page.variant:
        for theme, frames in page.variant()._asdict().items():
            path = folder / f"{page.name}-variant-{theme}.png"
            Image.fromarray(frames[0]).save(path)


def _pictures(name: str, suffix: str, text: str) -> str:
    return "\n\n".join(
        f"```{{image}} {name}-{theme}.{suffix}\n:alt: {text}\n:class: only-{theme}\n```"
        for theme in Film._fields
    )


def _single_spaces(env: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:  # noqa: ANN401
    """Returns the action and the observation space, of one copy if there are many."""
    if isinstance(env, gymnasium.vector.VectorEnv):
        return env.single_action_space, env.single_observation_space
    return env.action_space, env.observation_space


def _has_many_bounds(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and np.unique(space.low).size > 1


def _space(space: spaces.Space[Any]) -> str:
    if _has_many_bounds(space):
        return f"`Box` of shape `{space.shape}`, `{space.dtype}`"
    return f"`{space}`"


def _bounds(space: spaces.Space[Any]) -> str:
    """Returns the bounds of a box as a table, unless all its numbers have the same."""
    if not isinstance(space, spaces.Box) or not _has_many_bounds(space):
        return ""
    rows = [
        f"| {i} | {low:.5g} | {high:.5g} |"
        for i, (low, high) in enumerate(zip(space.low, space.high, strict=True))
    ]
    return "\n".join(["\n", "| number | lowest | highest |", "|---|---:|---:|", *rows])


def _arguments(cls: type, text: str) -> str:
    """Returns the arguments as a list, with their defaults from the signature."""
    parameters = inspect.signature(cls).parameters
    items = []
    for part in re.split(r"^(?=\w+: )", text, flags=re.M)[1:]:
        name, meaning = part.split(": ", 1)
        default = parameters[name].default
        value = repr(default) if isinstance(default, str) else default
        optional = "" if default is inspect.Parameter.empty else f" = `{value}`"
        items.append(f"- `{name}`{optional}: {' '.join(meaning.split())}")
    return "\n".join(items)


# Films -----------------------------------------------------------------------------

_ALL, _LAST = slice(None), slice(-1, None)


def _draw(scenes: list[Scene]) -> Film:
    canvas = Canvas("", 1)
    dark = [recoloured(s, DARK.colours, DARK.text_colours) for s in scenes]
    return Film(
        [canvas.rgb_array(scene) for scene in scenes],
        [canvas.rgb_array(scene) for scene in dark],
    )


def exact_ascent(
    mdp: TabularMDP, gamma: float, horizon: int, step_size: float, n_updates: int
) -> Iterator[NDArray[np.float64]]:
    """Yields the policies `[S, A]` of gradient ascent on the logits, from uniform."""
    logits = np.zeros((mdp.n_states, mdp.n_actions))
    for _ in range(n_updates):
        policy = np.exp(logits - logits.max(axis=1, keepdims=True))
        policy /= policy.sum(axis=1, keepdims=True)
        yield policy
        slope = oracle.return_gradient(mdp, policy, gamma, horizon)
        logits += step_size * policy * (slope - (policy * slope).sum(1, keepdims=True))


def _learning(
    env_id: str,
    gamma: float,
    horizon: int,
    step_size: float,
    n_updates: int,
    drawn: slice = _ALL,
    **arguments: Any,
) -> Film:
    """Steps a tabular environment once after each update of the policy."""
    env: Any = gymnasium.make(env_id, **arguments).unwrapped
    rng, scenes, ended = np.random.default_rng(0), [], True
    policies = exact_ascent(env.mdp, gamma, horizon, step_size, n_updates)
    for update, policy in enumerate(policies):
        env.set_action_probabilities(policy)
        env.set_caption(f"update {update}")
        if ended:
            env.reset(seed=update)
            ended = False
        else:
            probabilities = policy[env.get_state()["state"]]
            _, _, ended, _, _ = env.step(rng.choice(env.mdp.n_actions, p=probabilities))
        scenes.append(env.current_scene())
    return _draw(scenes[drawn])


def _flight(n_steps: int, theme: str, drawn: slice = _ALL) -> Film:
    """Flies Pixelcopter by the trained policy that comes with the package."""
    env: Any = gymnasium.make("PGToy-Pixelcopter-v0", theme=theme).unwrapped
    model = _trained("pixelcopter-mc")
    obs, _ = env.reset(seed=0)
    scenes = []
    for _ in range(n_steps):
        obs, *_ = env.step(int(model.predict(obs, deterministic=True)[0]))
        scenes.append(env.current_scene())
    canvas = Canvas("", 1)
    frames = [canvas.rgb_array(scene) for scene in scenes[drawn]]
    # Its colours are the game's.
    return Film(frames, frames)


def _balanced_pole() -> Film:
    """Balances Gymnasium's pole by a trained policy, every other step drawn."""
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    model = _trained("improvements")
    obs, _ = env.reset(seed=0)
    frames: list[Any] = [env.render()]
    for step in range(1, 150):
        obs, *_ = env.step(int(model.predict(obs, deterministic=True)[0]))
        if step % 2 == 0:
            frames.append(env.render())
    env.close()
    return Film(frames, frames)


def _trained(recipe: str) -> Any:  # noqa: ANN401
    run = find_pretrained(recipe)
    assert run is not None, "its weights come with the package"
    return run.load_model()


_ARMS = tuple(np.linspace(-1, 1, 12).round(2).tolist())

PAGES = (
    Page(
        "bandit",
        "Bandit",
        pg_envs.BanditEnv,
        'gymnasium.make("PGToy-Bandit-v0")',
        lambda: gymnasium.make("PGToy-Bandit-v0"),
        lambda: _learning("PGToy-Bandit-v0", 1.0, 1, 0.5, 48),
        "A policy that follows the exact gradient of its expected reward",
        4,
        lambda: _learning(
            "PGToy-Bandit-v0",
            *(1.0, 1, 1.0, 12, _LAST),
            arm_rewards=_ARMS,
            reward_noise="gaussian",
        ),
        "Twelve arms with Gaussian noise",
    ),
    Page(
        "sequence",
        "Sequence",
        pg_envs.SequenceEnv,
        'gymnasium.make("PGToy-Sequence-v0")',
        lambda: gymnasium.make("PGToy-Sequence-v0"),
        lambda: _learning("PGToy-Sequence-v0", 0.9, 100, 0.5, 48),
        "A policy that follows the exact gradient of its expected return",
        4,
        lambda: _learning("PGToy-Sequence-v0", 0.9, 100, 0.5, 12, _LAST, n_states=8),
        "Eight states, n_states=8",
    ),
    Page(
        "pixelcopter",
        "Pixelcopter",
        pg_envs.PixelcopterEnv,
        'gymnasium.make("PGToy-Pixelcopter-v0")',
        lambda: gymnasium.make("PGToy-Pixelcopter-v0"),
        lambda: _flight(150, "original"),
        "A trained policy flies, drawn as in PLE",
        30,
        lambda: _flight(60, "helicopter", _LAST),
        'The same game, theme="helicopter"',
    ),
    Page(
        "cartpole",
        "CartPole, many at once",
        pg_envs.CartPoleVectorEnv,
        'pg_envs.make_numpy_vec("CartPole-v1", num_envs)',
        lambda: pg_envs.make_numpy_vec("CartPole-v1", 2),
        _balanced_pole,
        "A trained policy, drawn by Gymnasium; the vector environment has no pictures",
        25,
    ),
)
