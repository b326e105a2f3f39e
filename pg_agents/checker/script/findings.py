"""Findings that only a script can show: how it acts, and the order of its calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.record import Record
from pg_agents.checker.report import Finding, Kind
from pg_agents.checker.script.recording import Recording
from pg_agents.checker.script.taps import Faults

# Probability of a false alarm about the actions of one script.
SIGNIFICANCE = 1e-6
# Share of the steps in which a fault must occur: a single one may be a start or an end.
_SHARE = 0.02
# Share of updates whose steps may be of two tasks or of two runs of the script.
_MIXED = 0.1


def findings_of(recording: Recording) -> tuple[Finding, ...]:
    """Returns the findings of a recording, mistakes first."""
    found = [
        *_actions(recording),
        *_ends(recording),
        *_gradients(recording),
    ]
    return tuple(sorted(found, key=lambda finding: finding.kind != "mistake"))


def _finding(key: str, kind: Kind, text: str, title: str | None = None) -> Finding:
    """Returns a finding; its title and lines are those of the catalogue."""
    mistake = MISTAKES.get(key)
    if mistake is None:
        assert title is not None
        return Finding(key, title, kind, text)
    return Finding(key, mistake.title, kind, text, mistake.wrong, mistake.right)


def _actions(recording: Recording) -> list[Finding]:
    n_drawn = sum(a.drawn for a in recording.actions)
    n_replaced = sum(a.replaced for a in recording.actions)
    n_other = sum(a.other for a in recording.actions)
    n_steps = n_drawn + n_replaced + n_other
    if n_drawn and n_replaced + n_other > _SHARE * n_steps:
        text = (
            f"in {n_replaced + n_other} of {n_steps} steps the action is not the one "
            "that was drawn from the policy's distribution, although the gradient "
            "assumes that it was."
        )
        return [_finding("actions_not_sampled", "mistake", text)]
    p_value, text = action_test(recording.records)
    if p_value < SIGNIFICANCE:
        return [_finding("actions_not_sampled", "mistake", text)]
    return []


def action_test(records: Sequence[Record]) -> tuple[float, str]:
    """Tests whether actions are drawn from the policy.

    Discrete actions: the number of times that an action was taken in a state is
    binomial. Gaussian policies: the standardised actions of a state and dimension are
    standard normal, so that their sum and their sum of squares have known
    distributions. Exact two-sided tests, with Bonferroni's correction.

    Returns:
        The p-value, and a sentence about the most unlikely count.
    """
    tests: list[tuple[float, str]] = []
    for record in records:
        taken = record.transitions
        valid = np.ones(len(taken), dtype=np.bool_)
        if taken.reset is not None:
            valid = ~taken.reset
        for state in np.unique(taken.state[valid]):
            here = valid & (taken.state == state)
            outputs = record.policy[state]
            if record.family == "gaussian":
                tests += _gaussian_tests(int(state), taken.action[here], outputs)
                continue
            for action, probability in enumerate(outputs):
                count = int((taken.action[here] == action).sum())
                n = int(here.sum())
                p = float(np.clip(probability, 0.0, 1.0))
                below = float(stats.binom.cdf(count, n, p))
                above = float(stats.binom.sf(count - 1, n, p))
                text = (
                    f"in state {state} action {action} was taken {count} times in {n} "
                    f"steps; drawn from the policy, with probability {p:.3f}, it would "
                    f"be about {n * p:.0f} times."
                )
                tests.append((min(1.0, 2.0 * min(below, above)), text))
    if not tests:
        return 1.0, ""
    p_value, text = min(tests)
    return min(1.0, len(tests) * p_value), text


def _gaussian_tests(
    state: int, actions: np.ndarray, outputs: np.ndarray
) -> list[tuple[float, str]]:
    n, n_dimensions = actions.shape
    means, deviations = outputs[:n_dimensions], np.exp(outputs[n_dimensions:])
    standard = (actions - means) / deviations
    tests = []
    for i in range(n_dimensions):
        mean, square = float(standard[:, i].mean()), float((standard[:, i] ** 2).sum())
        by_mean = 2.0 * float(stats.norm.sf(abs(mean) * np.sqrt(n)))
        tail = min(float(stats.chi2.cdf(square, n)), float(stats.chi2.sf(square, n)))
        text = (
            f"in state {state} the actions of dimension {i} have mean "
            f"{actions[:, i].mean():.3f} and root mean square deviation "
            f"{np.sqrt(square / n) * deviations[i]:.3f} from the policy's mean "
            f"{means[i]:.3f}; the policy's deviation is {deviations[i]:.3f}."
        )
        tests += [(by_mean, text), (min(1.0, 2.0 * tail), text)]
    return tests


def _ends(recording: Recording) -> list[Finding]:
    found = []
    if recording.past_limit:
        text = (
            f"the script goes on in {recording.past_limit} steps after truncated=True, "
            "without a reset: only `terminated` ends its episodes, and a time limit "
            "never does."
        )
        found.append(_finding("truncation_ignored", "mistake", text))
    if recording.old_observations > _SHARE * recording.n_transitions:
        text = (
            f"in {recording.old_observations} of {recording.n_transitions} steps the "
            "action was computed from an older observation than the environment's last "
            "one, for example from the first of two calls of reset()."
        )
        title = "action computed from an old observation"
        found.append(_finding("old_observation", "warning", text, title))
    if recording.past_end:
        text = (
            f"the script takes {recording.past_end} steps after terminated=True, "
            "without a reset: what it learns from there is no part of the task."
        )
        found.append(
            _finding("end_ignored", "mistake", text, "end of an episode ignored")
        )
    return found


def _gradients(recording: Recording) -> list[Finding]:
    faults, found = recording.faults, []
    n_steps = max(1, faults.n_steps)
    if faults.stale > _SHARE * n_steps:
        text = (
            f"in {faults.stale} of {n_steps} updates the backward pass adds to the "
            "gradient of the update before, which zero_grad() has not removed."
        )
        found.append(_finding("gradients_not_zeroed", "mistake", text))
    if faults.zeroed > _SHARE * n_steps:
        text = (
            f"in {faults.zeroed} of {n_steps} updates zero_grad() stands between "
            "backward() and step(): the step has no gradient."
        )
        title = "gradients zeroed before the step"
        found.append(_finding("zeroed_before_step", "mistake", text, title))
    if faults.empty > n_steps // 2:
        text = (
            f"{faults.empty} of {n_steps} steps of the optimisers follow no backward "
            "pass, or one that reaches none of their parameters."
        )
        title = "steps without a gradient"
        found.append(_finding("empty_step", "warning", text, title))
    if faults.over_rows > _SHARE * n_steps:
        text = (
            f"{faults.over_rows} times the script computes a softmax over the rows of "
            "a batch, where the actions are in the columns. The probabilities then sum "
            "to 1 over the states of the batch; with a single state in it every action "
            "has probability 1."
        )
        found.append(_finding("softmax_over_batch", "mistake", text))
    if faults.probabilities_as_logits > n_steps // 2:
        text = (
            "Categorical(logits=...) is given probabilities, and applies a second "
            "softmax to them. The actions are drawn from the same probabilities, so "
            "that the gradient is not biased, but no action can become nearly certain: "
            "of two actions at most 73 %."
        )
        found.append(_finding("double_softmax", "warning", text))
    if faults.not_finite:
        found.append(_not_finite(faults, n_steps))
    if faults.clipped > _SHARE * n_steps:
        text = (
            f"in {faults.clipped} of {n_steps} updates the script clips the gradient, "
            "which shortens long gradients and so weights updates unequally; the "
            "gradient before clipping was examined."
        )
        found.append(
            _finding("gradient_clipped", "departure", text, "gradient clipped")
        )
    if faults.rescaled > _SHARE * n_steps:
        text = (
            f"in {faults.rescaled} of {n_steps} updates the script changes it "
            "between backward() and step(); the gradient before was examined."
        )
        title = "gradient changed before the step"
        found.append(_finding("gradient_changed", "departure", text, title))
    return found


def _not_finite(faults: Faults, n_steps: int) -> Finding:
    """Returns the finding about gradients that are NaN, and where they come from."""
    text = (
        f"in {faults.not_finite} of {n_steps} updates the gradient is NaN or infinite; "
        "after one such step all weights are."
    )
    bad, short = faults.not_finite_at, faults.short_at
    if bad and bad <= short and len(short - bad) <= _MIXED * len(bad):
        text += (
            " It is so after each episode of a single step, and only then: the "
            "deviation of one number is NaN, or 0 if it is divided by N. A task "
            "without such episodes never shows it, and the verdict is on the other "
            "updates."
        )
        return _finding("nan_deviation", "warning", text)
    text += (
        " Episodes of a single step are not the cause. Common ones: the logarithm of a "
        "probability of 0, exp() of a large number, a division by a sum or a deviation "
        "that is 0."
    )
    return _finding("not_finite", "mistake", text, "gradient that is NaN or infinite")
