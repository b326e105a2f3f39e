"""Plots of training records: mean over runs with a band of one standard deviation.

Every function is a pure function of records and returns a matplotlib Figure, which
the caller saves with ``figure.savefig(path)``. Nothing here touches pyplot, so no
backend is chosen and no screen is needed.
"""

from pg_agents.plots.animation import animate_action_probabilities
from pg_agents.plots.figures import (
    plot_action_probabilities,
    plot_learning_curves,
    plot_losses,
    plot_returns,
    plot_rewards,
    plot_total_rewards,
)
from pg_agents.plots.files import save_figure, save_gif

__all__ = [
    "animate_action_probabilities",
    "plot_action_probabilities",
    "plot_learning_curves",
    "plot_losses",
    "plot_returns",
    "plot_rewards",
    "plot_total_rewards",
    "save_figure",
    "save_gif",
]
