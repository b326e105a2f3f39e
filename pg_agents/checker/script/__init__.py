"""Checks a whole training script, without any edit.

The process that runs the script imports this package: its names are loaded when they
are first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.checker.script.check import check_script
    from pg_agents.checker.script.handover import hand_in

__all__ = ["check_script", "hand_in"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"check": ["check_script"], "handover": ["hand_in"]}
)
