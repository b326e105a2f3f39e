"""The RL Zoo (rl_zoo3) with our algorithms, environments and hyperparameters in it.

`python -m pg_agents.zoo train --algo reinforce --env PGToy-Sequence-v0`, and likewise
`enjoy`, `record_video`, `all_plots`, `plot_train` and `plot_from_file`. A program that
uses rl_zoo3 itself calls `register()` first. Needs `pip install "pgtoy[zoo]"`, which
importing this package does not.
"""

from pg_agents.zoo.register import ALGORITHMS, register

__all__ = ["ALGORITHMS", "register"]
