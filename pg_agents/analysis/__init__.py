"""Analysis of training runs: read them from disk, aggregate, compare and plot them.

`statistics` and `curves` are functions of NumPy arrays; `run_data` reads the folders
that `pgtoy run` writes, `monitor` the files of SB3's `Monitor`; `plots` needs
matplotlib.
"""

from pg_agents.analysis.curves import (
    CurveBand,
    Curves,
    band_of_curves,
    hold,
    learning_curves,
    mean_band,
    running_mean,
    share_above_afterwards,
    steps_to_threshold,
    time_above_afterwards,
)
from pg_agents.analysis.monitor import Episodes, MonitorFileError, read_monitor
from pg_agents.analysis.networks import NetworkGrid, network_grid, network_variants
from pg_agents.analysis.run_data import (
    DamagedRunError,
    Run,
    RunGroup,
    UnfinishedRunError,
    read_group,
    read_groups,
    read_run,
)
from pg_agents.analysis.statistics import (
    Improvement,
    Interval,
    bootstrap_interval,
    improvement_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from pg_agents.analysis.summary import Speed, Summary, speed, summarise, table

__all__ = [
    "CurveBand",
    "Curves",
    "DamagedRunError",
    "Episodes",
    "Improvement",
    "Interval",
    "MonitorFileError",
    "NetworkGrid",
    "Run",
    "RunGroup",
    "Speed",
    "Summary",
    "UnfinishedRunError",
    "band_of_curves",
    "bootstrap_interval",
    "hold",
    "improvement_interval",
    "interquartile_mean",
    "learning_curves",
    "mean_band",
    "network_grid",
    "network_variants",
    "performance_profile",
    "probability_of_improvement",
    "read_group",
    "read_groups",
    "read_monitor",
    "read_run",
    "running_mean",
    "share_above_afterwards",
    "speed",
    "steps_to_threshold",
    "summarise",
    "table",
    "time_above_afterwards",
]
