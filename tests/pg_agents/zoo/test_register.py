"""What is ours stands in rl_zoo3's own tables, once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

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
    """Its import replaces Gymnasium's TimeLimit for the whole process."""
    code = "import sys, pg_agents.zoo.__main__; print('rl_zoo3' in sys.modules)"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out == "False\n"
