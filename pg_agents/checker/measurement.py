"""What was measured of a subject, before anything is concluded from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.geometry import Geometry
from pg_agents.checker.statistics import Mean, controlled_mean, grouped
from pg_agents.checker.task import Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Gradients of many rounds, in coordinates.

    Attributes:
        gradients: `[R, D]`, estimates of dJ/dtheta (ascending), one per round.
        controls: `[R, K]`, noise of the same rounds whose mean is known to be 0.
        n_groups: independent stretches to cut the rounds into; None where the rounds
            themselves are independent.
    """

    gradients: Array
    controls: Array
    n_groups: int | None = None

    def mean(self) -> Mean:
        """Returns the mean gradient with its covariance."""
        if self.n_groups is None:
            return controlled_mean(self.gradients, self.controls)
        return controlled_mean(
            grouped(self.gradients, self.n_groups),
            grouped(self.controls, self.n_groups),
        )


@dataclass(frozen=True)
class Candidate:
    """A known gradient.

    Attributes:
        key: short name.
        title: for people.
        explanation: what it means if a subject has this gradient.
        mean: its mean, in the subject's unit, estimated on episodes of our own.
    """

    key: str
    title: str
    explanation: str
    mean: Mean


@dataclass(frozen=True)
class Measurement:
    """All that is known of a subject.

    Attributes:
        task: the question.
        geometry: the policy and the exact answer, per episode.
        steady: rounds with the policy as it is throughout.
        disturbed: rounds that each follow one with another policy; what a subject
            remembers of it shows there. None where that can't be told apart.
        episodes_per_round: whole episodes a round learns from, on average.
        n_envs: environments played side by side.
        steps_per_unit: None: the subject averages over episodes. A number: it averages
            over steps, that many to an episode, and the exact answer is divided by it.
        outside: length of the mean gradient outside of the scores' span, relative to
            the exact gradient.
        candidates: gradients to expect of this subject in particular.
        notes: what the reader should know.
        adequate: whether a sample like this one shows the textbook's estimator, which
            is right, to be right.
    """

    task: Task
    geometry: Geometry
    steady: Series
    disturbed: Series | None
    episodes_per_round: float
    n_envs: int
    steps_per_unit: float | None = None
    outside: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    adequate: bool = True

    @property
    def exact(self) -> Array:
        """The exact gradient in the subject's unit, per episode or per step, `[D]`."""
        return self.geometry.exact / (self.steps_per_unit or 1.0)
