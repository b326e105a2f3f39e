"""Episodes as animated GIFs that a notebook shows in place."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.analysis.plots.animation import encode_gif
from pg_agents.common.checks import check_count
from pg_envs import TabularEnv

# GIFs are large: of a fast environment they show every second frame, or fewer.
_MAX_FPS = 25
# Tables are read, at their own four steps a second too fast.
_TABULAR_FPS = 2.0


@dataclass(frozen=True)
class Film:
    """An animated GIF, which a notebook shows where it is the value of a cell.

    Attributes:
        gif: the file's content.
        alt: text for those who do not see it.
    """

    gif: bytes = field(repr=False)
    alt: str

    def _repr_html_(self) -> str:
        """Returns an image that holds the GIF itself, at most as wide as the page."""
        data = base64.b64encode(self.gif).decode()
        return (
            f'<img alt="{html.escape(self.alt)}" style="max-width: 100%" '
            f'src="data:image/gif;base64,{data}">'
        )


def film_frames(
    frames: Sequence[NDArray[np.uint8]], fps: float, alt: str, width: int = 400
) -> Film:
    """Returns a film of frames.

    Args:
        frames: at least one, uint8 `[H, W, 3]`, of the same size.
        fps: frames per second, in (0, 50].
        alt: text for those who do not see it.
        width: largest width in pixels; wider frames are scaled down.

    Raises:
        ValueError: if there are no frames, or a number is out of range.
    """
    check_count("width", width)
    return Film(encode_gif([_narrowed(frame, width) for frame in frames], fps), alt)


def film_episode(
    model: BaseAlgorithm,
    env: str,
    seed: int = 0,
    max_steps: int = 200,
    *,
    deterministic: bool = False,
    width: int = 400,
    caption: str = "",
    **env_kwargs: Any,
) -> Film:
    """Plays an episode and returns its film; needs no screen.

    Of a tabular environment the policy is drawn, too. The random numbers of the
    training are left as they are.

    Args:
        model: the agent, with SB3's `predict`.
        env: id of an environment with `render_mode="rgb_array"`.
        seed: of environment and actions.
        max_steps: steps after which the film ends.
        deterministic: whether it takes the most probable actions.
        width: largest width in pixels; wider frames are scaled down.
        caption: words drawn into the pictures of a tabular environment.
        **env_kwargs: arguments of the environment.

    Raises:
        ValueError: if a number is out of range.
    """
    check_count("max_steps", max_steps)
    made = gymnasium.make(env, render_mode="rgb_array", **env_kwargs)
    with closing(made), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fps, tabular = float(made.metadata.get("render_fps", 30)), made.unwrapped
        if isinstance(tabular, TabularEnv):
            fps = _TABULAR_FPS
            tabular.set_caption(caption)
            tabular.set_action_probabilities(
                _action_probabilities(model, tabular.mdp.observations)
            )
        every = math.ceil(fps / _MAX_FPS)
        frames: list[Any] = []
        total, n_steps, done = 0.0, 0, False
        obs, _ = made.reset(seed=seed)
        frames.append(made.render())
        while n_steps < max_steps and not done:
            action, _ = model.predict(obs, deterministic=deterministic)
            obs, reward, terminated, truncated, _ = made.step(action)
            total, n_steps = total + float(reward), n_steps + 1
            done = terminated or truncated
            if n_steps % every == 0 or done:
                frames.append(made.render())
    alt = f"{type(model).__name__} in {env}: {n_steps} steps, return {total:.4g}"
    return film_frames(frames, fps / every, alt, width)


def _action_probabilities(
    model: BaseAlgorithm, observations: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Returns pi(a|o), `[K, A]`; None for a policy that is not categorical."""
    if not isinstance(model.policy, ActorCriticPolicy):
        return None
    with torch.no_grad():
        obs, _ = model.policy.obs_to_tensor(observations)
        distribution: Any = model.policy.get_distribution(obs).distribution
    if not isinstance(distribution, torch.distributions.Categorical):
        return None
    probabilities: NDArray[np.float64] = distribution.probs.double().cpu().numpy()
    return probabilities


def _narrowed(frame: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    if frame.shape[1] <= width:
        return frame
    height = round(frame.shape[0] * width / frame.shape[1])
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
