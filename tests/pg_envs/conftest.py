"""What the tests of `pg_envs` share beside the examples in `tabular_examples`."""

from functools import lru_cache

import pytest

from pg_envs.bandit import BanditEnv
from pg_envs.rendering import canvas
from pg_envs.sequence import SequenceEnv

# A scene is plain data, and what is drawn is only read: once is enough.
_drawn_once = lru_cache(maxsize=256)(canvas._draw_scene)


@pytest.fixture
def fast_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows frames in a window without waiting, and draws equal ones only once."""
    monkeypatch.setattr(canvas, "_draw_scene", _drawn_once)
    for env_class in (BanditEnv, SequenceEnv):
        monkeypatch.setitem(env_class.metadata, "render_fps", 10_000)
