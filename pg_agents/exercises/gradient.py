"""Asks the gradient checker what an answer does to the policy gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pg_agents.checker import GradientReport, check_policy_gradient
from pg_agents.checker.battery import battery
from pg_agents.checker.episodes import Episode

# Enough for the mean of 256 gradients, where no formula is found.
_N_EPISODES = 2_048


def exact_weights(episode: Episode) -> Tensor:
    """Returns the weight of each step in the exact policy gradient, `gamma^t G_t`."""
    discounted = episode.gamma**episode.time * episode.rewards
    return discounted.flip(0).cumsum(0).flip(0)


def episode_return(episode: Episode) -> Tensor:
    """Returns the discounted return of a whole episode."""
    return (episode.gamma**episode.time * episode.rewards).sum()


def check_gradient(subject: Callable[..., Any]) -> GradientReport | None:
    """Compares the expected gradient with the exact one on one small task.

    Returns:
        The report; None if the gradient can't be checked.
    """
    task = battery()[0]
    try:
        return check_policy_gradient(
            subject,
            task.mdp,
            gamma=task.gamma,
            horizon=task.horizon,
            n_episodes=_N_EPISODES,
            progress_bar=False,
        )
    except Exception:
        # No gradient, or an exception of the answer.
        return None


def in_words(report: GradientReport) -> str:
    """Returns what a report says in one or two sentences."""
    task = report.tasks[0]
    if report.verdict == "no gradient":
        return "Its expected gradient is zero: nothing is learnt from it."
    if report.verdict == "undecided":
        return "The sample is too small to tell whether the gradient is right."
    if report.verdict == "right":
        text = "Its expected gradient has the direction of the exact one"
        # Two digits are certain where a formula was found.
        length = f"{task.length:.2g}"
        if report.formula is not None and length != "1":
            text += f", and {length} times its length"
        return f"{text}."
    text = "Its expected gradient has another direction than the exact one"
    if task.cosine is not None:
        text += f" (cosine {task.cosine:.3f}, where 1 is right)"
    if mistakes := report.named("mistake", "no gradient"):
        return f"{text}. Mistake: {mistakes}."
    return f"{text}. Departure: {report.name}." if report.name else f"{text}."
