"""The battery tells mistakes apart: their exact expected gradients are not parallel.

Expectations are sums over all episodes of short versions of the tasks, with one episode
in each update, so that they have no sampling error.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from pg_agents.checker.battery import battery
from pg_agents.checker.formula import (
    Formula,
    Frame,
    advantages,
    directions,
    multiplier,
    windows,
)
from pg_agents.checker.parts import Context, parts_of
from pg_agents.checker.record import Record, Transitions, Update
from pg_agents.checker.task import Array, Task
from tests.pg_agents.checker.test_battery import table_policy

# Time limits at which all episodes can be listed.
HORIZONS = {"fork": 4, "random MDP": 2, "Sequence": 4}
RIGHT = Formula(gamma=0.9, discount="gamma_t")
TD = replace(RIGHT, credit="td", baseline="value")
MISTAKES = {
    "probability": replace(RIGHT, score="probability"),
    "logit": replace(RIGHT, score="logit"),
    "p_log_p": replace(RIGHT, score="p_log_p"),
    "inverse_probability": replace(RIGHT, score="inverse_probability"),
    "next_state": replace(RIGHT, score="next_state"),
    "all_actions": replace(RIGHT, score="all_actions"),
    "wrong_gather": replace(RIGHT, score="first_action"),
    "double_softmax": replace(RIGHT, score="softmax_twice"),
    "squared_error": replace(RIGHT, score="squared_error"),
    "binary_cross_entropy": replace(RIGHT, score="binary_cross_entropy"),
    "softmax_over_batch": replace(RIGHT, score="softmax_over_batch"),
    "clamped_probability": replace(RIGHT, score="smoothed_0.3"),
    "sign_flipped": RIGHT,
    "off_by_one": replace(RIGHT, order="next"),
    "immediate_reward": replace(RIGHT, credit="immediate"),
    "returns_forward": replace(RIGHT, credit="forward"),
    "returns_reversed": replace(RIGHT, order="reversed_episode"),
    "last_step_lost": replace(RIGHT, steps="episode_last_lost"),
    "first_step_lost": replace(RIGHT, steps="episode_first_lost"),
    "one_step_only": replace(RIGHT, steps="episode_last_only"),
    "gamma_dropped": replace(RIGHT, discount="none"),
    "gamma_twice": replace(RIGHT, discount="gamma_2t"),
    "other_gamma": replace(RIGHT, gamma=1.0),
    "rounded": replace(RIGHT, transform="int"),
    "rewards_clipped": replace(RIGHT, rewards="clipped"),
    "rewards_standardized": replace(RIGHT, rewards="standardized_episode_1"),
    "mean_over_steps": replace(RIGHT, reduction="own_steps"),
    "all_pairs": replace(RIGHT, baseline="product_of_sums"),
    "episode_mean_baseline": replace(RIGHT, baseline="own_episode"),
    "next_value_baseline": replace(RIGHT, baseline="next_value"),
    "advantage_sign_lost": replace(RIGHT, scale="square"),
    "standardized": replace(RIGHT, scale="episode"),
    "through_terminal": replace(TD, bootstrap="ignored"),
    "bootstrap_from_wrong_state": replace(TD, successor="same_always"),
    "action_value_baseline": replace(RIGHT, baseline="action_value"),
    "state_value_weight": replace(RIGHT, credit="value"),
    "no_return": replace(RIGHT, credit="one"),
}
# Pairs with the same expectation, and why.
SAME = {
    # The rewards before an action have no covariance with its score.
    frozenset({"immediate_reward", "returns_forward"}),
    # A mean of zero has no direction.
    *map(
        frozenset,
        combinations(("action_value_baseline", "state_value_weight", "no_return"), 2),
    ),
}


Rows = list[tuple[int, int, float, int, bool]]


def episodes(task: Task, policy: Array) -> Iterator[tuple[float, Rows]]:
    """Every episode (state, action, reward, next state, end) and its probability."""
    mdp = task.mdp

    def go_on(p: float, s: int, rows: Rows) -> Iterator[tuple[float, Rows]]:
        for a, x in np.argwhere(mdp.transition[s] > 0.0).tolist():
            q = p * float(policy[s, a] * mdp.transition[s, a, x])
            end = bool(mdp.terminal[s, a, x])
            now = [*rows, (s, a, float(mdp.reward[s, a, x]), x, end)]
            if end or len(now) == task.horizon:
                yield q, now
            else:
                yield from go_on(q, x, now)

    for s in np.flatnonzero(mdp.initial_distribution):
        yield from go_on(float(mdp.initial_distribution[s]), int(s), [])


@cache
def frames() -> tuple[tuple[Frame, Array, Array], ...]:
    """For each task all episodes, their probabilities, and the exact gradient."""
    result = []
    for task in battery(3):
        task = replace(task, horizon=HORIZONS[task.name])
        policy = table_policy(task, seed=5)
        # Its probabilities are rounded to float32.
        policy = policy / policy.sum(axis=1, keepdims=True)
        listed = list(episodes(task, policy))
        probability = np.array([p for p, _ in listed])
        assert probability.sum() == pytest.approx(1.0)
        lengths = [len(rows) for _, rows in listed]
        columns = zip(*(row for _, rows in listed for row in rows), strict=True)
        state, action, reward, following, end = map(np.array, columns)
        time = np.concatenate([np.arange(n) for n in lengths])
        episode = np.repeat(np.arange(len(lengths)), lengths)
        cut = ~end & (time == task.horizon - 1)
        taken = Transitions(
            state, action, reward, following, end, cut, 0 * time, episode, time
        )
        last = np.cumsum(lengths)
        ones = np.ones(policy.shape)
        updates = tuple(
            Update(int(b - n), int(b), ones) for b, n in zip(last, lengths, strict=True)
        )
        record = Record(task, policy, task.values(policy), taken, updates)
        by_policy = task.return_gradient(policy)
        exact = policy * (by_policy - (policy * by_policy).sum(axis=1, keepdims=True))
        result.append((Frame([record], windows(record, 0)), probability, exact.ravel()))
    return tuple(result)


def expected(formula: Formula) -> list[Array]:
    """The expected gradient of the return by the logits on each task."""
    found = []
    for frame, probability, _ in frames():
        weight = advantages(frame, formula, np.array([formula.gamma]), np.ones(1))[0]
        weight = weight * multiplier(frame, formula, formula.gamma)
        weight = weight * probability[frame.update]
        # Descent by the loss, which all updates scale by the same number.
        scale = float(frame.scale[0])
        found.append(-weight @ directions(frame, formula.score) / scale)
    return found


@cache
def gradients() -> dict[str, list[Array]]:
    result = {key: expected(formula) for key, formula in MISTAKES.items()}
    result["sign_flipped"] = [-g for g in result["sign_flipped"]]
    return result


def are_parallel(one: list[Array], two: list[Array]) -> bool:
    """Whether two gradients have the same direction, or are 0, on every task."""
    cosines = []
    for a, b in zip(one, two, strict=True):
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        if min(lengths) < 1e-9:
            cosines.append(float(max(lengths) < 1e-9))
        else:
            cosines.append(float(a @ b / (lengths[0] * lengths[1])))
    return min(cosines) > 0.99999


def test_the_right_formula_has_the_exact_gradient() -> None:
    for found, (_, _, exact) in zip(expected(RIGHT), frames(), strict=True):
        np.testing.assert_allclose(found, exact, atol=1e-12)


@pytest.mark.parametrize("key", MISTAKES)
def test_a_formula_is_what_it_is_called(key: str) -> None:
    context = Context(gamma=0.9, one_episode=True)
    factor = -1.0 if key == "sign_flipped" else 1.0
    parts = {part.key for part in parts_of(MISTAKES[key], factor, 0.0, context)}
    assert parts == {key}


def test_no_mistake_is_parallel_to_the_exact_gradient() -> None:
    exact = [gradient for _, _, gradient in frames()]
    assert [k for k, g in gradients().items() if are_parallel(g, exact)] == []


def test_no_two_mistakes_are_parallel_but_those_listed() -> None:
    found = {
        frozenset(pair)
        for pair in combinations(MISTAKES, 2)
        if are_parallel(*(gradients()[key] for key in pair))
    }
    assert found == SAME
