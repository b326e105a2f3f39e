"""The rows that are shown or checked, not trained over seeds."""

from pg_agents.experiments.recipe import Recipe, Reported

_SHOWS = "pg_agents.experiments.shows."


def _shown(name: str, title: str, show: str, source: str, text: str = "") -> Recipe:
    return Recipe(
        name=name,
        title=title,
        reported=Reported(text=text or "no figure", source=source),
        show=_SHOWS + show,
    )


RECIPES = (
    _shown(
        "solved-stop",
        "a progress bar, and an end once the running reward passes the threshold",
        "runs:solved_stop",
        "A",
    ),
    _shown(
        "notebook-view",
        "an episode seen inside a notebook, or as an HTML page",
        "notebook:show",
        "A",
    ),
    _shown(
        "checkpoint",
        "saved every 1,000 episodes and loaded back",
        "checkpoint:show",
        "A",
    ),
    _shown(
        "watch-trained",
        "a trained agent in a window, or filmed where there is no screen",
        "runs:watch_trained",
        "B",
    ),
    _shown(
        "evaluate",
        "mean and standard deviation of the return over 100 episodes",
        "runs:evaluate",
        "B",
    ),
    _shown("gpu", "the same training on cuda, if there is one", "runs:gpu", "B"),
    _shown(
        "known-values",
        "three numbers that the notebook checks its exercises by",
        "known_values:show",
        "C",
        "-22.314354; [9.801496, 8.8904, 6.96, 4.0]; 3.1326165",
    ),
    _shown(
        "periodic-evaluator",
        "8 evaluation episodes every 100 of training, on video",
        "evaluator:show",
        "C",
    ),
    _shown(
        "learning-curve",
        "episode return against episode, as a plot",
        "runs:learning_curve",
        "C",
    ),
    _shown(
        "bandit-table",
        "a table of three logits, 100 runs of 500 pulls",
        "bandit:show_table",
        "D",
        "plots, no figure",
    ),
    _shown(
        "bandit-network",
        "a linear network, 50 runs of 100 pulls",
        "bandit:show_network",
        "D",
        "plots, no figure",
    ),
    _shown(
        "bandit-plots",
        "probabilities, rewards, totals and the animation of both",
        "bandit:show_plots",
        "D",
        "the plots",
    ),
)
