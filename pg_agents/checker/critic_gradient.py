"""The gradient to expect of a model whose returns go on with a critic's values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.episodes import Steps, sample_episodes
from pg_agents.checker.geometry import Geometry
from pg_agents.checker.measurement import Array, Candidate
from pg_agents.checker.statistics import MAX_TESTED, controlled_mean, grouped
from pg_agents.checker.task import Table, Task
from pg_agents.learning.baselines import standardize
from pg_agents.learning.returns import generalized_advantage

CRITIC = "critic"
_TITLE = "a critic that is not exact"
_EXPLANATION = (
    "Returns are cut off and go on with the critic's value. While the critic is not "
    "exact, neither is the gradient; critic='exact' shows what else there is."
)
STANDARDIZED = "standardized_advantages"
_NORMALIZED = "advantages standardised over a batch of {size} steps"
_NORMALIZED_EXPLANATION = (
    "Advantages are measured by their own mean and deviation, so that the step size "
    "does not depend on the rewards' scale; on top of it comes what the critic gets "
    "wrong, and gamma^t is dropped. critic='exact' shows the first alone."
)

_N_EPISODES = 16_384
_N_GROUPS = 1_000
# Stands for whole episodes: few are cut by so long a window.
_WHOLE = 2_000


def critic_candidates(
    copy: Any,  # noqa: ANN401
    task: Task,
    geometry: Geometry,
    worth: Array,
    exact_critic: bool,
    seed: int,
) -> Iterator[Candidate]:
    """Yields the gradient that the model's own critic leads to, gamma^t dropped.

    Generalised advantage estimation in windows of the model's `n_steps`, with the
    values that its critic gives now, and standardised as the model does it.

    Args:
        copy: the model; nothing is yielded if it does not use generalised advantages.
        task: MDP and objective.
        geometry: the policy.
        worth: `[S, A, D]`, scores times centred action values, a control variate.
        exact_critic: whether its critic has been made exact.
        seed: of the episodes.
    """
    gae_lambda = _lambda(copy)
    standardized = bool(getattr(copy, "normalize_advantage", False))
    if gae_lambda is None or (exact_critic and not standardized):
        return
    rng = np.random.default_rng([seed, 2])
    steps = sample_episodes(task, geometry.policy, _N_EPISODES, rng)
    window = _WHOLE if getattr(copy, "n_episodes", None) else copy.n_steps
    values = _values(copy, task)
    advantages = _advantages(steps, task, values, window, gae_lambda)
    n = len(advantages)
    state, action = steps.state[:n], steps.action[:n]
    scores = geometry.scores[state, action]
    controls = np.column_stack(
        [scores[:, :MAX_TESTED], worth[state, action, :MAX_TESTED]]
    )
    key, title, text = CRITIC, _TITLE, _EXPLANATION
    if standardized:
        size = getattr(copy, "batch_size", copy.n_envs * (copy.n_steps or 1))
        # Mini-batches are drawn from all over the rollout.
        order = rng.permutation(n) if hasattr(copy, "batch_size") else np.arange(n)
        for chunk in np.array_split(order, max(1, n // size)):
            advantages[chunk] = standardize(torch.as_tensor(advantages[chunk])).numpy()
        key, title = STANDARDIZED, _NORMALIZED.format(size=size)
        text = _NORMALIZED_EXPLANATION
    mean = controlled_mean(
        grouped(advantages[:, None] * scores, _N_GROUPS), grouped(controls, _N_GROUPS)
    )
    yield Candidate(key, title, text, mean)


def _lambda(copy: Any) -> float | None:  # noqa: ANN401
    """Returns the lambda of its advantages; None if they are computed otherwise."""
    if getattr(copy, "baseline", "value") != "value":
        return None
    estimator = getattr(copy, "estimator", "gae")
    known = {"td": 0.0, "gae": copy.gae_lambda}
    return known.get(estimator)


def _values(copy: Any, task: Task) -> Table:  # noqa: ANN401
    observations, _ = copy.policy.obs_to_tensor(np.array(task.mdp.observations))
    with torch.no_grad():
        values: Tensor = copy.policy.predict_values(observations)
    found: Table = values.double().flatten().numpy()
    return found


def _advantages(
    steps: Steps, task: Task, values: Table, window: int, gae_lambda: float
) -> Array:
    """Returns advantages of the steps as one chain in windows, less a remainder."""
    n = len(steps.state) // window * window

    def rows(column: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(column[:n].reshape(-1, window).T.copy())

    advantages = generalized_advantage(
        rows(steps.reward),
        rows(values[steps.state]),
        task.gamma,
        gae_lambda,
        rows(steps.terminated),
        rows(steps.truncated),
        rows(values[steps.next_state]),
    )
    flat: Array = advantages.T.reshape(-1).numpy()
    return flat
