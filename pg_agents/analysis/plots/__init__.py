"""Plots of training records, and of runs compared.

Records are shown as a mean over runs with a band of one standard deviation; `runs` and
`networks` compare groups of finished runs by robust statistics. Every function is a
pure function of what it is given and returns a matplotlib Figure, which the caller
saves with ``figure.savefig(path)``; `commands`, which draws for `pgtoy plot` and
`pgtoy compare`, saves them itself. Nothing here touches pyplot, so no backend is
chosen and no screen is needed.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.analysis.plots.animation import animate_action_probabilities
    from pg_agents.analysis.plots.figures import (
        plot_action_probabilities,
        plot_learning_curves,
        plot_losses,
        plot_returns,
        plot_rewards,
        plot_total_rewards,
    )
    from pg_agents.analysis.plots.files import save_figure, save_gif
    from pg_agents.analysis.plots.networks import plot_network_grid
    from pg_agents.analysis.plots.panels import Curves
    from pg_agents.analysis.plots.runs import (
        compare_runs,
        plot_curve_bands,
        plot_performance_profiles,
        plot_seed_strips,
    )

__all__ = [
    "Curves",
    "animate_action_probabilities",
    "compare_runs",
    "plot_action_probabilities",
    "plot_curve_bands",
    "plot_learning_curves",
    "plot_losses",
    "plot_network_grid",
    "plot_performance_profiles",
    "plot_returns",
    "plot_rewards",
    "plot_seed_strips",
    "plot_total_rewards",
    "save_figure",
    "save_gif",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "animation": ["animate_action_probabilities"],
        "figures": [
            "plot_action_probabilities",
            "plot_learning_curves",
            "plot_losses",
            "plot_returns",
            "plot_rewards",
            "plot_total_rewards",
        ],
        "files": ["save_figure", "save_gif"],
        "networks": ["plot_network_grid"],
        "panels": ["Curves"],
        "runs": [
            "compare_runs",
            "plot_curve_bands",
            "plot_performance_profiles",
            "plot_seed_strips",
        ],
    },
)
