"""Statistics of runs: what is computed from results, apart from running anything.

The functions of `scores`, `improvement` and `curves` are pure functions of NumPy
arrays; `folders` reads the runs that `pgtoy run` has left on disk.
"""

from pg_agents.analysis.curves import (
    CurveBand,
    band_of_curves,
    returns_at,
    running_mean,
    share_above_afterwards,
    stays_above,
    steps_to_threshold,
    time_above_afterwards,
)
from pg_agents.analysis.folders import (
    Run,
    RunGroup,
    UnfinishedRunError,
    read_group,
    read_groups,
    read_run,
)
from pg_agents.analysis.improvement import (
    Improvement,
    improvement_interval,
    probability_of_improvement,
)
from pg_agents.analysis.monitor import Episodes, UnreadableRunError, read_monitor
from pg_agents.analysis.networks import NetworkGrid, network_grid, network_variants
from pg_agents.analysis.scores import (
    Interval,
    interquartile_mean,
    median,
    performance_profile,
    stratified_bootstrap,
    stratified_bootstrap_interval,
)
from pg_agents.analysis.summaries import Speed, Summary, speed, summarise, table

__all__ = [
    "CurveBand",
    "Episodes",
    "Improvement",
    "Interval",
    "NetworkGrid",
    "Run",
    "RunGroup",
    "Speed",
    "Summary",
    "UnfinishedRunError",
    "UnreadableRunError",
    "band_of_curves",
    "improvement_interval",
    "interquartile_mean",
    "median",
    "network_grid",
    "network_variants",
    "performance_profile",
    "probability_of_improvement",
    "read_group",
    "read_groups",
    "read_monitor",
    "read_run",
    "returns_at",
    "running_mean",
    "share_above_afterwards",
    "speed",
    "stays_above",
    "steps_to_threshold",
    "stratified_bootstrap",
    "stratified_bootstrap_interval",
    "summarise",
    "table",
    "time_above_afterwards",
]
