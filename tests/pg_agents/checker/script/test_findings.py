from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pg_agents.checker.battery import battery
from pg_agents.checker.record import Record, Transitions
from pg_agents.checker.report import Finding
from pg_agents.checker.script.decode import Actions
from pg_agents.checker.script.findings import SIGNIFICANCE, action_test, findings_of
from pg_agents.checker.script.recording import Recording
from pg_agents.checker.script.taps import Faults

TASK = battery(3)[1]
S = TASK.mdp.n_states


def record_of(
    state: np.ndarray, action: np.ndarray, policy: np.ndarray, family: str
) -> Record:
    n = len(state)
    zeros, no = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    taken = Transitions(
        state, action, np.zeros(n), state, no, no, zeros, np.arange(n), zeros
    )
    return Record(TASK, policy, None, taken, (), family)  # type: ignore[arg-type]


def discrete(seed: int, greedy: float = 0.0, n: int = 400) -> Record:
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.full(3, 3.0), size=S)
    state = rng.integers(S, size=n)
    drawn = (rng.random(n)[:, None] > policy[state].cumsum(axis=1)).sum(axis=1)
    best = policy[state].argmax(axis=1)
    action = np.where(rng.random(n) < greedy, best, np.minimum(drawn, 2))
    return record_of(state, action, policy, "categorical")


def gaussian(seed: int, scale: float = 1.0, n: int = 400) -> Record:
    rng = np.random.default_rng(seed)
    policy = rng.normal(size=(S, 4))
    state = rng.integers(S, size=n)
    noise = scale * rng.normal(size=(n, 2))
    action = policy[state, :2] + np.exp(policy[state, 2:]) * noise
    return record_of(state, action, policy, "gaussian")


@pytest.mark.parametrize("make", [discrete, gaussian])
def test_false_alarms_are_at_most_as_frequent_as_the_p_value_says(
    make: Callable[[int], Record],
) -> None:
    # Bonferroni's correction: P(p < 0.05) <= 0.05. Of 200 samples 10 are expected at
    # most; more than 22 have probability 2e-4.
    p_values = np.array([action_test([make(seed)])[0] for seed in range(200)])
    assert (p_values < 0.05).sum() <= 22
    assert p_values.min() > SIGNIFICANCE


def test_greedy_steps_and_other_deviations_are_found() -> None:
    for seed in range(5):
        assert action_test([discrete(seed, greedy=0.5)])[0] < SIGNIFICANCE
        assert action_test([gaussian(seed, scale=1.5)])[0] < SIGNIFICANCE
        assert action_test([gaussian(seed, scale=0.6)])[0] < SIGNIFICANCE


def test_the_sentence_says_what_was_counted() -> None:
    _, text = action_test([discrete(0, greedy=1.0)])
    assert "in state" in text and "would be about" in text


def keys(**faults: Any) -> list[str]:
    recording = Recording(faults=Faults(n_steps=100, **faults))
    return [finding.key for finding in findings_of(recording)]


def test_faults_between_zero_grad_backward_and_step() -> None:
    assert keys() == []
    assert keys(stale=99) == ["gradients_not_zeroed"]
    # A single one may come from the start.
    assert keys(stale=1) == []
    assert keys(zeroed=100) == ["zeroed_before_step"]
    assert keys(clipped=50) == ["gradient_clipped"]


def test_a_nan_gradient_is_a_mistake_unless_only_episodes_of_one_step_cause_it() -> (
    None
):
    def found(bad: set[int], short: set[int]) -> Finding:
        faults = Faults(
            n_steps=100, not_finite=len(bad), not_finite_at=bad, short_at=short
        )
        (finding,) = findings_of(Recording(faults=faults))
        assert f"in {len(bad)} of 100" in finding.explanation
        return finding

    # The user's task may have no such episodes.
    short = found({3, 9}, {3, 9})
    assert (short.key, short.kind) == ("nan_deviation", "warning")
    # After some of the short episodes, or after others: another cause.
    for other in (found({3}, {3, 9, 12}), found({3, 9}, {3})):
        assert (other.key, other.kind) == ("not_finite", "mistake")


def test_replaced_actions_need_no_statistics() -> None:
    recording = Recording(records=(discrete(0),), actions=(Actions(360, 40, 0),))
    (finding,) = findings_of(recording)
    assert finding.key == "actions_not_sampled" and finding.kind == "mistake"
    assert "40 of 400 steps" in finding.explanation


def test_ends_that_are_ignored() -> None:
    found = findings_of(Recording(past_limit=3, past_end=2))
    assert [f.key for f in found] == ["truncation_ignored", "end_ignored"]
