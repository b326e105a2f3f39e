"""Environment variables of processes that run the code of users."""

from __future__ import annotations

import os
from pathlib import Path

from pg_agents.common.threads import default_to_one_thread


def child_environment(**variables: str) -> dict[str, str]:
    """Returns the variables of this process, changed for a child that imports pgtoy.

    Plots are not shown, output is not held back, no warnings are printed and no files
    written beside sources. BLAS has one thread unless the user has set another number.

    Args:
        **variables: more of them.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": root if not path else os.pathsep.join([root, path]),
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    default_to_one_thread(environment)
    return environment
