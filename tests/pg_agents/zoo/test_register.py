"""What is ours stands in rl_zoo3's own tables, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents import REINFORCE, ActorCritic
from pg_agents.zoo import register


def test_a_second_registration_changes_nothing(zoo: Any) -> None:
    from rl_zoo3.exp_manager import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    tables = (ALGOS, HYPERPARAMS_SAMPLER, HYPERPARAMS_CONVERTER)
    before, manager = [dict(table) for table in tables], zoo.train.ExperimentManager
    register()
    assert [dict(table) for table in tables] == before
    assert zoo.train.ExperimentManager is manager
    # The very tables that the scripts read.
    assert zoo.train.ALGOS is ALGOS
    assert ALGOS["reinforce"] is REINFORCE and ALGOS["actor_critic"] is ActorCritic
    assert {"ppo", "a2c"} <= ALGOS.keys()
    assert {"reinforce", "actor_critic", "ppo"} <= HYPERPARAMS_SAMPLER.keys()
    assert HYPERPARAMS_SAMPLER.keys() == HYPERPARAMS_CONVERTER.keys()


def test_importing_it_does_not_import_rl_zoo3() -> None:
    """Who does not use it does not wait for it."""
    code = "import sys, pg_agents.zoo.__main__; print('rl_zoo3' in sys.modules)"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_a_model_is_loaded_as_enjoy_and_record_video_do(
    algorithm: type[REINFORCE | ActorCritic], clip_range: float | None, tmp_path: Path
) -> None:
    """They replace schedules by zeros, also where there was none to replace."""
    named: dict[str, Any] = {"clip_range": clip_range, "learning_rate": lambda _: 0.1}
    if clip_range is None:
        # Clipping and a memory do not go together.
        named["memory_size"] = 100
    model = algorithm("MlpPolicy", "pg_envs:PGToy-Sequence-v0", **named)
    model.save(tmp_path / "model")
    zeros = {
        "learning_rate": 0.0,
        "lr_schedule": lambda _: 0.0,
        "clip_range": lambda _: 0.0,
    }
    loaded: Any = algorithm.load(tmp_path / "model", custom_objects=zeros)
    assert loaded.lr_schedule(1) == 0.0
    assert loaded.clip_range is None or loaded.clip_range(1) == 0.0
    assert (loaded.clip_range is None) == (clip_range is None)
    observation = np.zeros((1, 1), dtype=np.float32)
    assert loaded.predict(observation, deterministic=True) == model.predict(
        observation, deterministic=True
    )
