"""Plots of training records, and of groups of runs compared.

Every function returns a matplotlib `Figure`, which `save_figure` or `Figure.savefig`
writes. pyplot is not imported, so no backend is chosen and no display is needed.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.analysis.plots.animation import (
        animate_action_probabilities,
        save_gif,
        save_mp4,
    )
    from pg_agents.analysis.plots.records import (
        plot_action_probabilities,
        plot_learning_curves,
        plot_losses,
        plot_returns,
        plot_rewards,
        plot_total_rewards,
    )
    from pg_agents.analysis.plots.runs import (
        compare_runs,
        plot_curve_bands,
        plot_network_grid,
        plot_performance_profiles,
        plot_seed_strips,
    )
    from pg_agents.analysis.plots.style import save_figure

__all__ = [
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
    "save_mp4",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "animation": ["animate_action_probabilities", "save_gif", "save_mp4"],
        "records": [
            "plot_action_probabilities",
            "plot_learning_curves",
            "plot_losses",
            "plot_returns",
            "plot_rewards",
            "plot_total_rewards",
        ],
        "runs": [
            "compare_runs",
            "plot_curve_bands",
            "plot_network_grid",
            "plot_performance_profiles",
            "plot_seed_strips",
        ],
        "style": ["save_figure"],
    },
)
