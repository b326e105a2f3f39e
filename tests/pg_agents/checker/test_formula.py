"""Formulas predict the gradients of losses that are written out in torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pg_agents.checker.formula import Formula, Frame, Groups, windows
from pg_agents.checker.identify import best_fit
from pg_agents.checker.record import Record
from tests.pg_agents.checker.synthetic import GAMMA, Loss, Steps, record, tasks


def weighted(weights: Tensor, steps: Steps) -> Tensor:
    return -(weights * steps.log_probs).sum()


def gamma_t(steps: Steps) -> Tensor:
    return GAMMA ** torch.tensor(steps.time, dtype=torch.float64)


def backwards(steps: Steps, *, stop: str) -> Tensor:
    """Returns sums over the whole window, which stop where a flag says so."""
    done, n, total = steps.done, len(steps), 0.0
    returns = [0.0] * n
    for i in reversed(range(n)):
        stops = {
            "never": False,
            "this": done[i],
            "before": done[i - 1],
            "terminated": steps.terminated[i],
        }[stop]
        total = steps.reward[i] + GAMMA * (0.0 if stops else total)
        returns[i] = total
    return torch.tensor(returns, dtype=torch.float64)


def gae(steps: Steps, lam: float, *, masked: bool = True) -> Tensor:
    n_envs = max(steps.env) + 1
    shape = len(steps) // n_envs, n_envs
    reward = torch.tensor(steps.reward, dtype=torch.float64).reshape(shape)
    going = 1.0 - torch.tensor(steps.done, dtype=torch.float64).reshape(shape)
    value = steps.v.detach().reshape(shape)
    after = steps.values.detach()[steps.next_state].reshape(shape)
    advantage = torch.zeros(shape, dtype=torch.float64)
    last = torch.zeros(n_envs, dtype=torch.float64)
    for t in reversed(range(shape[0])):
        delta = reward[t] + GAMMA * after[t] * (going[t] if masked else 1.0) - value[t]
        last = delta + GAMMA * lam * going[t] * last
        advantage[t] = last
    return advantage.reshape(-1)


def mean_over(steps: Steps, x: Tensor, deviation: bool) -> Tensor:
    result = x.clone()
    for rows in steps.parts():
        centred = x[rows] - x[rows].mean()
        spread = x[rows].std() if deviation and len(rows) > 1 else 1.0
        result[rows] = centred / spread
    return result


def lengths(steps: Steps) -> Tensor:
    result = torch.zeros(len(steps), dtype=torch.float64)
    for rows in steps.parts():
        result[rows] = float(len(rows))
    return result


def reversed_in_episodes(steps: Steps) -> Tensor:
    returns = steps.to_go()
    return torch.cat([returns[rows].flip(0) for rows in steps.parts()])


def clamped(steps: Steps) -> Tensor:
    probs = torch.softmax(steps.logits, dim=-1)[steps.state, steps.action]
    return -(steps.to_go() * probs.clamp(0.2, 0.6).log()).sum()


def all_pairs(steps: Steps) -> Tensor:
    return -(steps.to_go()[:, None] * steps.log_probs[None]).sum()


def double_softmax(steps: Steps) -> Tensor:
    probs = torch.softmax(steps.logits, dim=-1)[steps.state]
    loss = torch.nn.functional.cross_entropy(
        probs, torch.tensor(steps.action), reduction="none"
    )
    return (steps.to_go() * loss).sum()


def softmax_over_batch(steps: Steps) -> Tensor:
    table = torch.log_softmax(steps.logits[steps.state], dim=0)
    return -(steps.to_go() * table[range(len(steps)), steps.action]).sum()


def so_far(steps: Steps) -> Tensor:
    """Returns all rewards up to the end of the episode, from a list never cleared."""
    returns = torch.zeros(len(steps), dtype=torch.float64)
    for rows in steps.parts():
        rewards = steps.reward[: rows[-1] + 1]
        returns[rows] = sum(GAMMA**k * r for k, r in enumerate(rewards))
    return returns


def to_go_with_one_discount(steps: Steps) -> Tensor:
    returns = torch.zeros(len(steps), dtype=torch.float64)
    for rows in steps.parts():
        discount = 1.0
        for k, i in enumerate(rows):
            for j in rows[k:]:
                returns[i] += discount * steps.reward[j]
                discount *= GAMMA
    return returns


def without_last(steps: Steps) -> Steps:
    """Returns steps whose last one has a temporal difference of 0."""
    ends = [*steps.terminated[:-1], True]
    reward = [*steps.reward[:-1], float(steps.v[-1].detach())]
    return replace(steps, reward=reward, terminated=ends)


EPISODES: dict[str, tuple[Loss, Formula]] = {
    "reward to go": (
        lambda s: weighted(gamma_t(s) * s.to_go(), s),
        Formula(discount="gamma_t"),
    ),
    "whole return": (
        lambda s: weighted(
            torch.cat([s.to_go()[rows[:1]].expand(len(rows)) for rows in s.parts()]), s
        ),
        Formula(credit="episode"),
    ),
    "mean over steps": (
        lambda s: weighted(s.to_go(), s) / len(s),
        Formula(reduction="steps"),
    ),
    "mean in episodes": (
        lambda s: weighted(s.to_go() / lengths(s), s) / len(s.parts()),
        Formula(reduction="own_steps_episodes"),
    ),
    "own mean": (
        lambda s: weighted(mean_over(s, s.to_go(), False), s),
        Formula(baseline="own_episode"),
    ),
    "standardised in episodes": (
        lambda s: weighted(mean_over(s, s.to_go(), True), s),
        Formula(scale="episode"),
    ),
    "standardised": (
        lambda s: weighted((s.to_go() - s.to_go().mean()) / s.to_go().std(), s),
        Formula(scale="window"),
    ),
    "population deviation": (
        lambda s: weighted(
            (s.to_go() - s.to_go().mean()) / s.to_go().std(correction=0), s
        ),
        Formula(scale="window", ddof=0),
    ),
    "not reset": (
        lambda s: weighted(backwards(s, stop="never"), s),
        Formula(ends="ignored"),
    ),
    "mask of the step before": (
        lambda s: weighted(backwards(s, stop="before"), s),
        Formula(ends="rolled"),
    ),
    "reversed": (
        lambda s: weighted(reversed_in_episodes(s), s),
        Formula(order="reversed_episode"),
    ),
    "off by one": (
        lambda s: weighted(
            (s.to_go() - torch.tensor(s.reward, dtype=torch.float64)) / GAMMA, s
        ),
        Formula(order="next"),
    ),
    "next return, discounted": (
        lambda s: weighted(
            s.to_go() - torch.tensor(s.reward, dtype=torch.float64) - s.v.detach(), s
        ),
        Formula(order="next_discounted", baseline="value"),
    ),
    "immediate": (
        lambda s: weighted(torch.tensor(s.reward, dtype=torch.float64), s),
        Formula(credit="immediate"),
    ),
    "rounded": (
        lambda s: weighted(s.to_go().round(), s),
        Formula(transform="round"),
    ),
    "next value as baseline": (
        lambda s: weighted(
            s.to_go() - s.values.detach()[s.next_state] * ~torch.tensor(s.done),
            s,
        ),
        Formula(baseline="next_value"),
    ),
    "[B] - [B, 1]": (
        lambda s: weighted((s.to_go()[None] - s.v.detach()[:, None]).mean(1), s),
        Formula(baseline="credit_mean"),
    ),
    "probability": (
        lambda s: -(s.to_go() * s.log_probs.exp()).sum(),
        Formula(score="probability"),
    ),
    "next state": (
        lambda s: (
            -(s.to_go() * torch.log_softmax(s.logits, -1)[s.next_state, s.action]).sum()
        ),
        Formula(score="next_state"),
    ),
    "logit": (
        lambda s: -(s.to_go() * s.logits[s.state, s.action]).sum(),
        Formula(score="logit"),
    ),
    "clamped": (clamped, Formula(score="clamped_0.2_0.6")),
    "all pairs": (all_pairs, Formula(baseline="product_of_sums")),
    "double softmax": (double_softmax, Formula(score="softmax_twice")),
    "softmax over the batch": (
        softmax_over_batch,
        Formula(score="softmax_over_batch"),
    ),
    "rewards of earlier episodes": (
        lambda s: weighted(so_far(s), s),
        Formula(credit="window_so_far"),
    ),
    "one discount for all returns": (
        lambda s: weighted(to_go_with_one_discount(s), s),
        Formula(discount="not_reset"),
    ),
    "last step of the window skipped": (
        lambda s: weighted(
            gae(without_last(s), 1.0) * (torch.arange(len(s)) < len(s) - 1), s
        ),
        Formula(credit="lambda", baseline="value", order="last_skipped"),
    ),
}
STEPS: dict[str, tuple[Loss, Formula]] = {
    "GAE": (
        lambda s: weighted(gae(s, 0.8), s) / len(s),
        Formula(credit="lambda", lam=0.8, baseline="value", reduction="steps"),
    ),
    "n steps": (
        lambda s: weighted(gae(s, 1.0), s),
        Formula(credit="bootstrapped", baseline="value"),
    ),
    "TD": (
        lambda s: weighted(gae(s, 0.0), s),
        Formula(credit="td", baseline="value"),
    ),
    "through the end": (
        lambda s: weighted(gae(s, 0.8, masked=False), s),
        Formula(credit="lambda", lam=0.8, baseline="value", bootstrap="ignored"),
    ),
    "standardised": (
        lambda s: weighted((a := gae(s, 0.8)) - a.mean(), s) / a.std(),
        Formula(credit="lambda", lam=0.8, baseline="value", scale="window"),
    ),
}


@pytest.mark.parametrize("name", EPISODES)
def test_formulas_of_complete_episodes_predict_gradients(name: str) -> None:
    loss, formula = EPISODES[name]
    records = [record(loss, task, n_updates=6, episodes=3) for task in tasks()]
    fit = best_fit(_frame(records), _with_gamma(formula))
    assert fit.residual < 1e-9
    assert fit.factor == pytest.approx(1.0)


@pytest.mark.parametrize("name", STEPS)
def test_formulas_of_windows_of_steps_predict_gradients(name: str) -> None:
    loss, formula = STEPS[name]
    records = [
        record(loss, task, n_updates=6, episodes=None, steps=7, n_envs=3)
        for task in tasks()
    ]
    fit = best_fit(_frame(records), _with_gamma(formula))
    assert fit.residual < 1e-9
    assert fit.factor == pytest.approx(1.0)


def test_other_formulas_leave_a_residual() -> None:
    loss, _ = EPISODES["reward to go"]
    frame = _frame([record(loss, task, n_updates=6) for task in tasks()])
    for _, formula in EPISODES.values():
        if formula != EPISODES["reward to go"][1]:
            assert best_fit(frame, _with_gamma(formula)).residual > 1e-3


def test_memory_windows_reach_back() -> None:
    rec = record(EPISODES["reward to go"][0], tasks()[0], n_updates=4, episodes=1)
    sizes = np.cumsum([u.last - u.first for u in rec.updates])
    assert [len(w.index) for w in windows(rec, 0, "memory")] == sizes.tolist()


def test_a_mini_batch_may_have_the_weights_of_the_first_steps() -> None:
    rec = record(EPISODES["reward to go"][0], tasks()[0], n_updates=1, episodes=4)
    n = len(rec.transitions)
    rows = np.random.default_rng(0).permutation(n)[:3]
    rec = replace(rec, updates=(replace(rec.updates[0], rows=rows),))
    (window,) = windows(rec, 0, "mixed_up")
    # Weights are those of the first steps, scores those of the mini-batch.
    assert window.index.tolist() == list(range(n))
    assert window.times.tolist() == [1.0] * 3 + [0.0] * (n - 3)
    assert window.scored[:3].tolist() == rows.tolist()


def test_groups_use_multiplicities() -> None:
    groups = Groups(np.array([0, 0, 1]), np.array([1.0, 3.0, 2.0]))
    x = np.array([[1.0, 5.0, 7.0]])
    assert groups.mean(x).tolist() == [[4.0, 4.0, 7.0]]
    # Variance of 1, 5, 5, 5 with three degrees of freedom.
    assert groups.deviation(x, 1)[0, 0] == pytest.approx(2.0)


def _frame(records: list[Record]) -> Frame:
    return Frame(records, [w for i, r in enumerate(records) for w in windows(r, i)])


def _with_gamma(formula: Formula) -> Formula:
    return replace(formula, gamma=GAMMA)
