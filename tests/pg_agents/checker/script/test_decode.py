"""Gradients of known outputs through a random network are decoded to these outputs."""

from collections.abc import Sequence

import numpy as np
import pytest

from pg_agents.checker.battery import battery
from pg_agents.checker.script.decode import NotDecodableError, decode
from pg_agents.checker.script.stage import Log, Row
from pg_agents.checker.script.taps import Outputs, Step

TASK = battery(3)[1]
S, A, P = TASK.mdp.n_states, 3, 60
POLICY, TRUNK, CRITIC = 1, 2, 3


def transitions(n: int, episodes: Sequence[int] | None = None) -> Log:
    rng = np.random.default_rng(7)
    episodes = [i // 3 for i in range(n)] if episodes is None else episodes
    rows = [
        Row(
            phase=0,
            state=int(rng.integers(S)),
            sent=int(rng.integers(A)),
            drawn=None,
            graph=True,
            reward=float(rng.normal()),
            next_state=int(rng.integers(S)),
            terminated=i + 1 == n or episodes[i + 1] != episodes[i],
            truncated=False,
            env=4,
            episode=episodes[i],
            time=i % 3,
        )
        for i in range(n)
    ]
    return Log(rows)


def networks(
    keys: dict[int, int], of_critic: dict[int, int], seed: int = 0
) -> tuple[Outputs, Outputs]:
    """Returns a policy and a critic with random derivatives by some parameters."""
    rng = np.random.default_rng(seed)
    policy, critic = Outputs(), Outputs()
    for state in range(S):
        probabilities = rng.dirichlet(np.ones(A))
        policy.see(state, probabilities)
        logits = {k: rng.normal(size=(A, n)) for k, n in keys.items()}
        # Derivatives of log-probabilities.
        policy.jacobian[state] = {k: d - probabilities @ d for k, d in logits.items()}
        critic.see(state, rng.normal(size=1))
        critic.jacobian[state] = {
            k: rng.normal(size=(1, n)) for k, n in of_critic.items()
        }
    return policy, critic


def gradient(
    policy: Outputs, critic: Outputs | None, outputs: np.ndarray, values: np.ndarray
) -> dict[int, np.ndarray]:
    total: dict[int, np.ndarray] = {}
    for state in range(S):
        for key, part in policy.jacobian[state].items():
            total[key] = total.get(key, 0.0) + outputs[state] @ part
        for key, part in ({} if critic is None else critic.jacobian[state]).items():
            total[key] = total.get(key, 0.0) + values[state] * part[0]
    return total


def centred(rng: np.random.Generator) -> np.ndarray:
    outputs = rng.normal(size=(S, A))
    result: np.ndarray = outputs - outputs.mean(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("shared", [False, True])
def test_outputs_and_values_are_recovered(shared: bool) -> None:
    trunk = {TRUNK: P} if shared else {}
    policy, critic = networks({POLICY: P, **trunk}, {CRITIC: P, **trunk})
    rng = np.random.default_rng(3)
    expected = [(centred(rng), rng.normal(size=S)) for _ in range(4)]
    steps = [
        Step(6 * (i + 1), gradients=gradient(policy, critic, *pair))
        for i, pair in enumerate(expected)
    ]
    log = transitions(24)
    record, _ = decode(TASK, 0, log, policy, {CRITIC: critic}, steps, begins_clean=True)
    assert [(u.first, u.last) for u in record.updates] == [
        (0, 6),
        (6, 12),
        (12, 18),
        (18, 24),
    ]
    for update, (outputs, values) in zip(record.updates, expected, strict=True):
        np.testing.assert_allclose(update.outputs, outputs, atol=1e-9)
        assert update.value is not None
        np.testing.assert_allclose(update.value, values, atol=1e-9)
        assert update.residual < 1e-9
    assert record.basis is None and record.value_basis is None
    assert record.transitions.env.tolist() == [0] * 24
    np.testing.assert_allclose(
        record.policy, [policy.table[s] for s in range(S)], atol=1e-12
    )


def test_a_small_network_tells_a_projection() -> None:
    policy, _ = networks({POLICY: 6}, {})
    outputs = centred(np.random.default_rng(1))
    steps = [Step(6, gradients=gradient(policy, None, outputs, np.zeros(S)))]
    record, _ = decode(TASK, 0, transitions(6), policy, {}, steps, begins_clean=True)
    basis = record.basis
    assert basis is not None and basis.shape == (S * A, 6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(
        record.updates[0].outputs.ravel(),
        basis @ (basis.T @ outputs.ravel()),
        atol=1e-9,
    )


def test_what_bypasses_the_outputs_is_the_residual() -> None:
    policy, _ = networks({POLICY: P}, {})
    rng = np.random.default_rng(2)
    step = Step(6, gradients=gradient(policy, None, centred(rng), np.zeros(S)))
    other = rng.normal(size=P)
    step.gradients[POLICY] = step.gradients[POLICY] + other
    record, _ = decode(TASK, 0, transitions(6), policy, {}, [step], begins_clean=True)
    assert 0.1 < record.updates[0].residual < 1.0


def test_windows_skip_what_began_before_and_what_is_not_finite() -> None:
    policy, _ = networks({POLICY: P}, {})
    rng = np.random.default_rng(2)
    steps = [
        Step(6 * i, gradients=gradient(policy, None, centred(rng), np.zeros(S)))
        for i in range(1, 5)
    ]
    steps[2].gradients[POLICY] = np.full(P, np.nan)
    critic_only = Step(21, gradients={CRITIC: np.ones(3)})
    steps.insert(3, critic_only)
    log = transitions(24)
    record, _ = decode(TASK, 0, log, policy, {}, steps, begins_clean=False)
    assert [(u.first, u.last) for u in record.updates] == [(6, 12), (18, 24)]


def test_test_episodes_are_left_out() -> None:
    policy, _ = networks({POLICY: P}, {})
    log = transitions(12)
    # The second episode is played without gradients.
    for i in (3, 4, 5):
        log.rows[i] = log.rows[i]._replace(graph=False)
    outputs = centred(np.random.default_rng(0))
    steps = [Step(12, gradients=gradient(policy, None, outputs, np.zeros(S)))]
    record, _ = decode(TASK, 0, log, policy, {}, steps, begins_clean=True)
    assert record.transitions.episode.tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    assert (record.updates[0].first, record.updates[0].last) == (0, 9)


def test_actions_that_are_not_learnt_from_are_not_counted() -> None:
    policy, _ = networks({POLICY: P}, {})
    log = transitions(15)
    # Drawn are the actions of the first two episodes. Of the others, which no update
    # uses, one lies between the updates and one after them.
    for i in range(15):
        drawn = np.array([0]) if i < 3 or 6 <= i < 9 else None
        row = log.rows[i]
        log.rows[i] = row._replace(graph=False, drawn=drawn, sent=0)
    rng = np.random.default_rng(0)
    steps = [
        Step(9, np.array([0, 1, 2]), gradient(policy, None, centred(rng), np.zeros(S))),
        Step(9, np.array([6, 7, 8]), gradient(policy, None, centred(rng), np.zeros(S))),
    ]
    record, actions = decode(TASK, 0, log, policy, {}, steps, begins_clean=True)
    assert record.transitions.episode.tolist() == [0] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert (actions.drawn, actions.replaced, actions.other) == (6, 0, 0)


def test_a_window_of_two_tasks_hides_no_test_episode() -> None:
    # It names no transitions, for its observations are of two tasks.
    policy, _ = networks({POLICY: P}, {})
    log = transitions(15)
    for i in range(15):
        log.rows[i] = log.rows[i]._replace(graph=False, phase=int(i >= 3))
    parts = [
        gradient(policy, None, centred(np.random.default_rng(i)), np.zeros(S))
        for i in range(2)
    ]
    steps = [Step(6, None, parts[0]), Step(12, np.array([6, 7, 8]), parts[1])]
    record, _ = decode(TASK, 1, log, policy, {}, steps, begins_clean=False)
    assert record.transitions.episode.tolist() == [1] * 3 + [2] * 3 + [4] * 3
    assert [(u.first, u.last) for u in record.updates] == [(3, 6)]


def test_a_loss_of_logits_is_decoded_with_their_mean() -> None:
    policy, _ = networks({POLICY: 4 * P}, {})
    rng = np.random.default_rng(4)
    for state in range(S):
        policy.logits[state] = np.log(policy.table[state]) + 0.5
        policy.mean_logit[state] = {POLICY: rng.normal(size=(1, 4 * P))}
    # Derivatives by the logits, which do not sum to 0 in a state.
    outputs = rng.normal(size=(S, A))
    total = gradient(policy, None, outputs - outputs.mean(1)[:, None], np.zeros(S))
    for state in range(S):
        total[POLICY] += outputs[state].sum() * policy.mean_logit[state][POLICY][0]
    steps = [Step(6, gradients=total)]
    record, _ = decode(TASK, 0, transitions(6), policy, {}, steps, begins_clean=True)
    (update,) = record.updates
    assert update.residual < 1e-9
    np.testing.assert_allclose(update.outputs, outputs, atol=1e-9)
    assert record.logits is not None
    np.testing.assert_allclose(record.logits, np.log(record.policy) + 0.5)
    # Unknown logits leave their part unexplained.
    policy.mean_logit.clear()
    record, _ = decode(TASK, 0, transitions(6), policy, {}, steps, begins_clean=True)
    assert record.updates[0].residual > 0.01 and record.logits is None


def test_mini_batches_name_their_transitions() -> None:
    policy, _ = networks({POLICY: P}, {})
    rng = np.random.default_rng(0)
    batches = [np.array([5, 1, 2]), np.array([0, 3, 4]), np.arange(6)]
    steps = [
        Step(6, rows=rows, gradients=gradient(policy, None, centred(rng), np.zeros(S)))
        for rows in batches
    ]
    record, _ = decode(TASK, 0, transitions(6), policy, {}, steps, begins_clean=True)
    assert [(u.first, u.last) for u in record.updates] == [(0, 6)] * 3
    first, second, whole = (update.rows for update in record.updates)
    assert first is not None and first.tolist() == [5, 1, 2]
    assert second is not None and second.tolist() == [0, 3, 4]
    # Nothing to tell: all of the window.
    assert whole is None


def test_without_derivatives_there_is_nothing_to_decode() -> None:
    policy = Outputs()
    policy.see(0, np.array([0.2, 0.3, 0.5]))
    with pytest.raises(NotDecodableError, match="no gradient of the policy"):
        decode(TASK, 0, transitions(6), policy, {}, [Step(6)], begins_clean=True)
