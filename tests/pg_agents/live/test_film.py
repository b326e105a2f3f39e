"""Films of episodes for notebooks: frames, size, and what is drawn."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from pg_agents import REINFORCE, RandomAgent
from pg_agents.live import Film, film_episode, film_frames

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


def frames_of(film: Film) -> list[Any]:
    """The frames that a browser shows, from the page's HTML."""
    found = re.search(r'src="data:image/gif;base64,([^"]+)"', film._repr_html_())
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as gif:
        frames = ImageSequence.Iterator(gif)
        return [np.asarray(frame.convert("RGB")).astype(int) for frame in frames]


def test_the_html_holds_the_frames_at_their_width() -> None:
    blank = np.full((40, 60, 3), 200, np.uint8)
    film = film_frames([blank, blank // 2], 4.0, 'a "grey" square', width=30)
    first, second = frames_of(film)
    assert first.shape == (20, 30, 3)
    assert (first == 200).all() and (second == 100).all()
    assert 'alt="a &quot;grey&quot; square"' in film._repr_html_()
    assert frames_of(film_frames([blank], 4.0, "", 80))[0].shape == (40, 60, 3)


def test_a_film_has_every_state_of_the_episode_and_the_policy() -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE, learning_rate=0.01, gamma=0.6, seed=0)
    before = film_episode(model, SEQUENCE, seed=3)
    model.learn(2000)
    after = film_episode(model, SEQUENCE, seed=3, deterministic=True)
    assert "3 steps, return 0.9" in after.alt
    assert len(frames_of(after)) == 4
    # The bars of the first frame are those of the policy.
    assert (frames_of(before)[0] != frames_of(after)[0]).any()


def test_filming_leaves_the_training_as_it_is() -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = film_episode(model, SEQUENCE, seed=2, max_steps=5)
    assert torch.equal(torch.rand(3), expected)
    assert film_episode(model, SEQUENCE, seed=2, max_steps=5) == one


def test_fast_environments_show_every_second_frame() -> None:
    name = "pg_envs:PGToy-Pixelcopter-v0"
    model = RandomAgent("MlpPolicy", name, seed=0)
    film = film_episode(model, name, seed=0, max_steps=9, width=96)
    # Steps 0, 2, 4, 6, 8 and the last.
    assert len(frames_of(film)) <= 6
    assert frames_of(film)[0].shape == (106, 96, 3)


@pytest.mark.parametrize("name", ["max_steps", "width"])
def test_numbers_out_of_range_are_named(name: str) -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0)
    arguments: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be"):
        film_episode(model, SEQUENCE, **arguments)
