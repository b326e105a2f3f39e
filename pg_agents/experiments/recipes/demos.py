"""Recipes that show or check something instead of training over seeds."""

from pg_agents.experiments.recipe import Recipe, Reported


def _demo(name: str, title: str, function: str, text: str = "no figure") -> Recipe:
    demo = f"pg_agents.experiments.demos{function}"
    return Recipe(name=name, title=title, reported=Reported(text=text), demo=demo)


RECIPES = (
    _demo(
        "solved-stop",
        "a progress bar, and an end once the running reward passes the threshold",
        ":solved_stop",
    ),
    _demo(
        "notebook-view",
        "an episode seen inside a notebook, or as an HTML page",
        ":notebook_view",
    ),
    _demo("checkpoint", "saved every 1,000 episodes and loaded back", ":checkpoint"),
    _demo(
        "watch-trained",
        "a trained agent in a window, or filmed where there is no screen",
        ":watch_trained",
    ),
    _demo(
        "evaluate",
        "mean and standard deviation of the return over 100 episodes",
        ":evaluate_again",
    ),
    _demo("gpu", "the same training on cuda, if there is one", ":gpu"),
    _demo(
        "known-values",
        "three numbers of exercises, with their known values",
        ":known_values",
        "-22.314354; [9.801496, 8.8904, 6.96, 4.0]; 3.1326165",
    ),
    _demo(
        "periodic-evaluator",
        "8 evaluation episodes every 100 of training, on video",
        ":periodic_evaluator",
    ),
    _demo(
        "learning-curve", "episode return against episode, as a plot", ":learning_curve"
    ),
    _demo(
        "bandit-table",
        "a table of three logits, 100 runs of 500 pulls",
        ".bandit:table",
        "plots, no figure",
    ),
    _demo(
        "bandit-network",
        "a linear network, 50 runs of 100 pulls",
        ".bandit:network",
        "plots, no figure",
    ),
    _demo(
        "bandit-plots",
        "probabilities, rewards, totals and the animation of both",
        ".bandit:plots",
        "the plots",
    ),
)
