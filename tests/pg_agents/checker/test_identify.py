"""Formulas are identified from gradients of losses that are written out in torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pg_agents.checker.identify import MAX_RESIDUAL, identify
from pg_agents.checker.record import Record
from tests.pg_agents.checker.synthetic import GAMMA, Loss, Steps, record, tasks
from tests.pg_agents.checker.test_formula import (
    EPISODES,
    gae,
    gamma_t,
    weighted,
)


def episodes(loss: Loss, **options: object) -> list[Record]:
    return [record(loss, task, **options) for task in tasks()]  # type: ignore[arg-type]


def windows(loss: Loss) -> list[Record]:
    return [
        record(loss, task, episodes=None, steps=8, n_envs=2, n_updates=30)
        for task in tasks()
    ]


def right(steps: Steps) -> Tensor:
    return weighted(gamma_t(steps) * steps.to_go(), steps) / len(steps.parts())


def entropy(steps: Steps) -> Tensor:
    log_p = torch.log_softmax(steps.logits, dim=-1)[steps.state]
    return -(log_p.exp() * log_p).sum(dim=-1)


def keys(records: list[Record]) -> list[str]:
    found = identify(records)
    assert found.formula is not None
    assert found.residual < MAX_RESIDUAL
    assert not found.ties
    return sorted(part.key for part in found.parts)


def test_the_exact_gradient_has_no_parts_and_a_factor_of_one() -> None:
    found = identify(episodes(right))
    assert found.named
    assert found.parts == ()
    assert found.factor == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mean in episodes", "mean_in_episode"),
        ("not reset", "return_across_episodes"),
        ("off by one", "off_by_one"),
        ("all pairs", "all_pairs"),
        ("double softmax", "double_softmax"),
        pytest.param("own mean", "episode_mean_baseline", marks=pytest.mark.slow),
        pytest.param("reversed", "returns_reversed", marks=pytest.mark.slow),
        pytest.param("immediate", "immediate_reward", marks=pytest.mark.slow),
        pytest.param("rounded", "rounded", marks=pytest.mark.slow),
        pytest.param("probability", "probability", marks=pytest.mark.slow),
        pytest.param("next state", "next_state", marks=pytest.mark.slow),
        pytest.param("logit", "logit", marks=pytest.mark.slow),
        pytest.param("clamped", "clamped_probability", marks=pytest.mark.slow),
        pytest.param("[B] - [B, 1]", "broadcast_advantage", marks=pytest.mark.slow),
        pytest.param(
            "softmax over the batch", "softmax_over_batch", marks=pytest.mark.slow
        ),
        pytest.param(
            "mask of the step before", "done_mask_shifted", marks=pytest.mark.slow
        ),
    ],
)
def test_mistakes_are_named(name: str, key: str) -> None:
    found = identify(episodes(EPISODES[name][0]))
    assert found.named
    assert [part.key for part in found.mistakes] == [key]


def test_a_wrong_sign_is_named() -> None:
    assert keys(episodes(lambda s: -right(s))) == ["sign_flipped"]


def test_rounding_in_float32_is_no_obstacle() -> None:
    assert keys(episodes(right, dtype=torch.float32)) == []


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (1 / 3, ""),
        (1.0, "a sum over your 3 episodes: the step size is 3 times as large"),
        (
            1 / 9,
            "divided once more by your 3 episodes: the step size is 3 times as small",
        ),
        (0.7 / 3, "the gradient is 0.7 times as long"),
    ],
)
def test_a_factor_over_episodes_is_explained(factor: float, text: str) -> None:
    def loss(steps: Steps) -> Tensor:
        return factor * weighted(gamma_t(steps) * steps.to_go(), steps)

    found = identify(episodes(loss))
    assert found.parts == ()
    assert found.explanation == text


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (1 / 16, ""),
        (1.0, "a sum over your 16 steps: the step size is 16 times as large"),
        (1 / 8, "a sum over your 2 environments: the step size is 2 times as large"),
    ],
)
def test_a_factor_over_windows_is_explained(factor: float, text: str) -> None:
    found = identify(windows(lambda s: factor * weighted(gae(s, 0.95), s)))
    assert not found.mistakes
    assert found.explanation == text


def test_gae_with_entropy_bonus_recovers_its_coefficients() -> None:
    def loss(steps: Steps) -> Tensor:
        actor = weighted(gae(steps, 0.93), steps) / len(steps)
        return actor - 0.02 * entropy(steps).mean()

    found = identify(windows(loss), known_gamma=False)
    assert found.named
    assert found.formula is not None
    assert found.formula.gamma == pytest.approx(GAMMA, abs=1e-4)
    assert found.formula.lam == pytest.approx(0.93, abs=1e-4)
    assert found.factor == pytest.approx(1.0, abs=1e-4)
    assert "entropy_bonus" in [part.key for part in found.departures]
    assert not found.mistakes


def test_a_gamma_that_is_not_the_tasks_is_a_mistake_if_it_was_told() -> None:
    records = episodes(lambda s: weighted(gamma_t(s) * s.to_go(1.0), s))
    assert keys(records) == ["other_gamma"]


def test_a_leak_of_the_advantage_into_the_value_is_named() -> None:
    def actor(steps: Steps, value: Tensor) -> Tensor:
        critic = ((steps.to_go() - steps.v) ** 2).mean()
        return weighted(steps.to_go() - value, steps) / len(steps) + 0.5 * critic

    detached = identify(episodes(lambda s: actor(s, s.v.detach())))
    assert not detached.mistakes
    leaking = identify(episodes(lambda s: actor(s, s.v)))
    assert [part.key for part in leaking.mistakes] == ["value_not_detached"]


def test_a_target_that_is_not_detached_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        going = ~torch.tensor(steps.done)
        after = steps.values[steps.next_state] * going
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        delta = reward + GAMMA * after - steps.v
        return weighted(delta.detach(), steps) + (delta**2).sum()

    found = identify(windows(loss))
    assert [part.key for part in found.mistakes] == ["next_value_not_detached"]


@pytest.mark.parametrize(("power", "unknown"), [(2, False), (4, True)])
def test_a_critic_with_another_loss_is_told(power: int, unknown: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        delta = gae(steps, 1.0) + steps.v.detach() - steps.v
        return weighted(delta.detach(), steps) + (delta**power).sum()

    found = identify(windows(loss))
    assert found.named and not found.mistakes
    assert found.critic_unknown == unknown
    assert any("critic" in note for note in found.notes) == unknown


def test_a_critic_that_is_not_recorded_is_fitted() -> None:
    def loss(steps: Steps) -> Tensor:
        going = ~torch.tensor(steps.done)
        after = steps.values.detach()[steps.next_state] * going
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        return weighted(reward + GAMMA * after - steps.v.detach(), steps)

    records = windows(loss)
    values = [r.values for r in records]
    hidden = [Record(r.task, r.policy, None, r.transitions, r.updates) for r in records]
    found = identify(hidden)
    assert [part.key for part in found.departures] == [
        "gamma_dropped",
        "learned_critic",
    ]
    assert found.values is not None
    for fitted, value in zip(found.values, values, strict=True):
        seen = np.abs(fitted) > 1e-12
        assert np.allclose(fitted[seen], np.asarray(value)[seen], atol=1e-6)


@pytest.mark.parametrize("leaks", [False, True])
def test_rewards_that_are_scaled_for_the_critic_are_no_mistake(leaks: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        going = ~torch.tensor(steps.done)
        after = steps.values.detach()[steps.next_state] * going
        reward = 0.25 * torch.tensor(steps.reward, dtype=torch.float64)
        advantage = reward + GAMMA * after - steps.v
        actor = advantage if leaks else advantage.detach()
        return weighted(actor, steps) + (advantage**2).sum()

    records = windows(loss)
    found = identify(records)
    assert found.named
    assert "rewards are multiplied by 0.25" in found.notes[0]
    expected = ["value_not_detached"] if leaks else []
    assert [part.key for part in found.mistakes] == expected
    assert found.values is not None
    for fitted, r in zip(found.values, records, strict=True):
        np.testing.assert_allclose(fitted, np.asarray(r.values) / 0.25, rtol=1e-6)


def test_a_mistake_is_named_although_rewards_are_scaled() -> None:
    def loss(steps: Steps) -> Tensor:
        reward = torch.tensor(steps.reward, dtype=torch.float64) / 10.0
        after = GAMMA * steps.values.detach()[steps.next_state]
        return weighted(reward + after - steps.v.detach(), steps)

    assert "through_terminal" in keys(windows(loss))


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("rewards of earlier episodes", "earlier_rewards", "warning"),
        ("one discount for all returns", "discount_not_reset", "mistake"),
        ("last step of the window skipped", "last_step_lost", "mistake"),
    ],
)
def test_loops_that_forget_a_line_are_named(name: str, key: str, kind: str) -> None:
    found = identify(episodes(EPISODES[name][0]))
    assert found.named
    assert [p.kind for p in found.parts if p.key == key] == [kind]
    assert [p.key for p in found.mistakes] == ([] if kind == "warning" else [key])


@pytest.mark.parametrize("td", [True, False])
def test_a_learned_action_value_as_baseline_is_named(td: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        q = torch.tensor(np.random.default_rng(8).normal(size=steps.logits.shape))
        policy = torch.softmax(steps.logits.detach(), dim=-1)
        after = (policy * q).sum(dim=-1)[steps.next_state] * ~torch.tensor(steps.done)
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        target = reward + GAMMA * after if td else steps.to_go()
        return weighted(target - q[steps.state, steps.action], steps)

    hidden = [replace(r, values=None) for r in episodes(loss)]
    found = identify(hidden, known_gamma=False)
    assert found.named
    (part,) = found.mistakes
    assert (part.key, part.kind) == ("action_value_baseline", "mistake")


def remembered(steps: Steps) -> tuple[Tensor, int]:
    """Returns the loss of all steps since the start, summed, and their number."""
    memory = steps.carried.setdefault("memory", [])
    assert isinstance(memory, list)
    memory += zip(steps.state, steps.action, steps.to_go().tolist(), strict=True)
    state, action, returns = (list(x) for x in zip(*memory, strict=True))
    log_probs = torch.log_softmax(steps.logits, dim=-1)[state, action]
    return -(torch.tensor(returns, dtype=torch.float64) * log_probs).sum(), len(state)


@pytest.mark.slow
def test_a_memory_that_is_not_cleared_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        total, n_steps = remembered(steps)
        return total / n_steps

    assert "replay" in keys(episodes(loss, episodes=1))


def test_what_cannot_be_told_apart_is_a_tie() -> None:
    # With a sum, a memory that grows and gradients that add up are the same.
    found = identify(episodes(lambda s: remembered(s)[0], episodes=1))
    assert not found.named
    named = {part.key for parts in (found.mistakes, *found.ties) for part in parts}
    assert {"replay", "gradients_not_zeroed"} <= named


def test_actions_drawn_again_are_named() -> None:
    generator = torch.Generator().manual_seed(0)

    def loss(steps: Steps) -> Tensor:
        probs = torch.softmax(steps.logits.detach(), dim=-1)[steps.state]
        again = torch.multinomial(probs, 1, generator=generator)[:, 0]
        log_probs = torch.log_softmax(steps.logits, dim=-1)[steps.state, again]
        return -(steps.to_go() * log_probs).sum()

    found = identify(episodes(loss, episodes=1, n_updates=80))
    assert [part.kind for part in found.mistakes] == ["no gradient"]
    assert [part.key for part in found.mistakes] == ["action_resampled"]


def test_without_values_a_gradient_that_needs_none_has_no_critic() -> None:
    records = [
        Record(r.task, r.policy, None, r.transitions, r.updates)
        for r in episodes(right)
    ]
    assert keys(records) == []


def indescribable(steps: Steps) -> Tensor:
    reward = torch.tensor(steps.reward, dtype=torch.float64)
    return weighted(torch.sin(3.0 * steps.to_go()) + reward**3, steps)


@pytest.mark.slow
def test_what_no_formula_describes_is_not_named() -> None:
    found = identify(episodes(indescribable))
    assert found.formula is None
    assert found.parts == ()


def test_a_search_ends_when_its_time_is_used_up() -> None:
    records = episodes(indescribable, n_updates=20)
    evaluated = []
    for seconds in (100, 200):
        ticks = itertools.count(0.0)
        found = identify(records, seconds=seconds, clock=ticks.__next__)
        # Each reading of the clock takes a second, so that it is read at the start
        # and once a second until the end.
        assert next(ticks) == seconds + 1
        assert found.formula is None
        assert "ended early" in found.notes[0]
        evaluated.append(found.n_candidates)
    assert 0 < evaluated[0] < evaluated[1] < 1_000_000


def test_a_search_that_ends_in_time_says_nothing() -> None:
    found = identify(episodes(right), seconds=np.inf)
    assert found.notes == ()
    assert found.n_candidates > 0


@pytest.mark.slow
def test_a_matrix_of_log_probs_and_advantages_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        # [T, 1] times [T], summed over [T, T].
        return -(steps.log_probs[:, None] * gae(steps, 0.993)).sum()

    found = identify(episodes(loss, episodes=1), known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["all_pairs"]
    assert found.formula is not None
    assert found.formula.lam == pytest.approx(0.993, abs=1e-3)


def test_a_matrix_with_standardized_returns_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        returns = steps.to_go()
        returns = (returns - returns.mean()) / (returns.std() + 1e-9)
        return -(steps.log_probs[:, None] * (returns - steps.v.detach())).sum()

    found = identify(episodes(loss, episodes=2), known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["all_pairs"]


def test_a_mean_times_a_mean_is_named() -> None:
    # A mean over [T, T].
    found = identify(
        episodes(lambda s: -s.log_probs.mean() * s.to_go().mean(), episodes=1)
    )
    assert found.named
    assert [part.key for part in found.mistakes] == ["all_pairs"]


def test_a_sum_over_pairs_of_returns_and_values_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        # [T] minus [T, 1], times [T], summed over [T, T].
        advantages = steps.to_go() - steps.v.detach()[:, None]
        return -(steps.log_probs * advantages).sum()

    found = identify(episodes(loss, episodes=1), known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["broadcast_advantage"]


def test_a_state_that_was_replaced_by_the_next_one_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        steps = replace(steps, state=steps.next_state)
        going = ~torch.tensor(steps.done)
        after = GAMMA * steps.values[steps.next_state] * going
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        return weighted(reward + (after - steps.v).detach(), steps)

    records = [
        record(loss, task, episodes=None, steps=1, n_updates=120) for task in tasks()
    ]
    found = identify(records, known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["next_state"]


def test_actions_drawn_again_for_one_step_with_a_critic_are_named() -> None:
    generator = torch.Generator().manual_seed(0)

    def loss(steps: Steps) -> Tensor:
        probs = torch.softmax(steps.logits.detach(), dim=-1)[steps.state]
        again = torch.multinomial(probs, 1, generator=generator)[:, 0]
        # The script knows terminations only.
        going = ~torch.tensor(steps.terminated)
        after = GAMMA * steps.values[steps.next_state] * going
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        drawn = replace(steps, action=again.tolist())
        return weighted(reward + (after - steps.v).detach(), drawn)

    records = [
        record(loss, task, episodes=None, steps=1, n_updates=120) for task in tasks()
    ]
    found = identify(records, known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["action_resampled"]


def n_step(steps: Steps) -> Tensor:
    """Returns rewards to the end of the window, and the value after it."""
    targets: list[Tensor] = [torch.zeros(())] * len(steps)
    for env in set(steps.env):
        rows = [i for i in range(len(steps)) if steps.env[i] == env]
        total = steps.values[steps.next_state[rows[-1]]]
        for i in reversed(rows):
            total = steps.reward[i] + GAMMA * total * (not steps.done[i])
            targets[i] = total
    return torch.stack(targets)


def test_a_value_after_the_window_that_is_not_detached_is_named() -> None:
    def loss(steps: Steps, target: Tensor) -> Tensor:
        actor = weighted((target - steps.v).detach(), steps)
        return (actor + ((target - steps.v) ** 2).sum()) / len(steps)

    right_ = identify(windows(lambda s: loss(s, n_step(s).detach())))
    assert right_.named and not right_.mistakes
    found = identify(windows(lambda s: loss(s, n_step(s))))
    assert [part.key for part in found.mistakes] == ["next_value_not_detached"]


@pytest.mark.slow
def test_returns_of_environments_in_reverse_are_named() -> None:
    def loss(steps: Steps) -> Tensor:
        target, order = n_step(steps).detach(), list(range(len(steps)))
        for env in set(steps.env):
            rows = [i for i in order if steps.env[i] == env]
            target[rows] = target[rows[::-1]]
        return weighted(target - steps.v.detach(), steps) / len(steps)

    found = identify(windows(loss), known_gamma=False)
    assert [part.key for part in found.mistakes] == ["returns_reversed"]


def test_discounting_from_the_start_counts_gamma_once() -> None:
    def loss(steps: Steps) -> Tensor:
        returns = gamma_t(steps) * steps.to_go()
        return weighted(returns - returns.mean(), steps)

    assert keys(episodes(loss)) == ["batch_mean_baseline"]


def test_an_immediate_reward_of_single_steps_with_a_critic_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        critic = ((steps.to_go() - steps.v) ** 2).sum()
        return weighted(torch.tensor(steps.reward, dtype=torch.float64), steps) + critic

    records = [
        record(loss, task, episodes=None, steps=1, n_updates=120) for task in tasks()
    ]
    found = identify(records, known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["immediate_reward"]


def test_a_running_mean_of_earlier_updates_is_right() -> None:
    def loss(steps: Steps) -> Tensor:
        mean = steps.carried.get("mean", 0.0)
        assert isinstance(mean, float)
        steps.carried["mean"] = 0.8 * mean + 0.2 * float(steps.to_go().mean())
        return weighted(steps.to_go() - mean, steps)

    found = identify(episodes(loss, n_updates=60))
    assert found.named
    assert [part.key for part in found.parts] == ["gamma_dropped"]


@pytest.mark.slow
@pytest.mark.parametrize("of_values", [True, False])
def test_the_mean_of_the_updates_own_values_is_no_constant(of_values: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        # [B] - [B, 1] if of_values.
        own = steps.v.mean() if of_values else steps.to_go().max()
        return weighted(steps.to_go() - own.detach(), steps) / len(steps)

    found = identify(episodes(loss, episodes=1, n_updates=60), known_gamma=False)
    if of_values:
        assert [part.key for part in found.mistakes] == ["broadcast_advantage"]
    else:
        assert found.formula is None


def shifted_gae(steps: Steps, lam: float, standardized: bool) -> Tensor:
    """Returns GAE whose mask is that of the step before; the first has none."""
    advantages = torch.zeros(len(steps), dtype=torch.float64)
    values = steps.values.detach()
    for env in set(steps.env):
        rows = [i for i in range(len(steps)) if steps.env[i] == env]
        total = torch.zeros(())
        for t in reversed(range(len(rows))):
            i = rows[t]
            going = 1.0 - float(steps.done[rows[t - 1]]) if t else 1.0
            after, own = values[steps.next_state[i]], values[steps.state[i]]
            delta = steps.reward[i] + GAMMA * after * going - own
            total = delta + GAMMA * lam * going * total
            advantages[i] = total
    if not standardized:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


@pytest.mark.parametrize("standardized", [False, True])
def test_a_done_mask_that_is_shifted_in_vector_loops_is_named(
    standardized: bool,
) -> None:
    found = identify(
        windows(lambda s: weighted(shifted_gae(s, 0.95, standardized), s) / len(s)),
        known_gamma=False,
    )
    assert found.named
    assert [part.key for part in found.mistakes] == ["done_mask_shifted"]
    assert ("advantages_standardized" in {p.key for p in found.parts}) == standardized


def test_a_mask_that_hides_no_end_of_a_whole_episode_is_no_mask() -> None:
    def loss(steps: Steps) -> Tensor:
        after = steps.values[steps.next_state]
        target = torch.tensor(steps.reward, dtype=torch.float64) + GAMMA * after
        return weighted((target - steps.v).detach(), steps)

    found = identify(episodes(loss, episodes=1, n_updates=60), known_gamma=False)
    assert found.named
    assert [part.key for part in found.mistakes] == ["through_terminal"]


def test_gradients_that_are_zero_have_no_formula() -> None:
    found = identify(episodes(lambda s: 0.0 * right(s)))
    assert found.formula is None and found.parts == ()


def test_a_formula_that_may_fit_by_chance_is_not_named() -> None:
    """Two steps have few numbers: some of 10,000 formulas fit any weights."""

    def loss(steps: Steps) -> Tensor:
        weights = torch.tensor([2.0, 3.0], dtype=torch.float64)
        return weighted(weights[: len(steps)], steps)

    few = episodes(loss, episodes=None, steps=2, n_updates=1)
    assert identify(few[2:]).formula is None


@pytest.mark.slow
def test_noise_above_rounding_is_not_named() -> None:
    # 1e-3 of the norm is ten times what a name allows.
    assert identify(episodes(right, noise=1e-3)).formula is None


def test_updates_that_are_not_finite_are_left_out() -> None:
    records = []
    for r in episodes(right):
        bad = r.updates[3]
        nan = type(bad)(bad.first, bad.last, np.full_like(bad.outputs, np.nan))
        updates = (*r.updates[:3], nan, *r.updates[4:])
        records.append(Record(r.task, r.policy, r.values, r.transitions, updates))
    assert keys(records) == []
    (note,) = identify(records).notes
    n_updates = sum(len(r.updates) for r in records)
    assert f"{len(records)} of {n_updates} updates" in note


@pytest.mark.filterwarnings("ignore:std")
def test_the_deviation_of_a_single_return_is_named() -> None:
    def loss(steps: Steps) -> Tensor:
        returns = steps.to_go()
        returns = (returns - returns.mean()) / (returns.std() + 1e-9)
        return weighted(returns, steps)

    records = episodes(loss, episodes=1)
    single = [u.last - u.first == 1 for r in records for u in r.updates]
    gradients = [u.outputs.sum() for r in records for u in r.updates]
    assert np.array_equal(np.isnan(gradients), single)
    assert 0 < sum(single) < len(single) / 2
    found = identify(records)
    assert [part.key for part in found.mistakes] == ["nan_deviation"]
    assert "standardized" in [part.key for part in found.departures]
    assert f"{sum(single)} of {len(single)} updates" in found.notes[0]


def with_rewards(steps: Steps, change: Callable[[float], float]) -> Steps:
    return replace(steps, reward=[change(r) for r in steps.reward])


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (-np.inf, 0.6)])
def test_bounds_of_clipped_rewards_are_found(low: float, high: float) -> None:
    def loss(steps: Steps) -> Tensor:
        clipped = with_rewards(steps, lambda r: min(max(r, low), high))
        return weighted(gamma_t(steps) * 0.2 * clipped.to_go(), steps)

    records = episodes(loss, n_updates=96)
    assert keys(records) == ["rewards_clipped"]
    formula = identify(records).formula
    assert formula is not None
    assert formula.rewards == f"clipped_{low:g}_{high:g}"


@pytest.mark.parametrize(
    "change",
    [pytest.param(np.tanh, marks=pytest.mark.slow), lambda r: r + 0.1],
    ids=["tanh", "plus"],
)
def test_other_changes_of_rewards_are_not_called_clipped(
    change: Callable[[float], float],
) -> None:
    def loss(steps: Steps) -> Tensor:
        changed = with_rewards(steps, change)
        return weighted(gamma_t(steps) * changed.to_go(), steps)

    assert identify(episodes(loss, n_updates=96)).formula is None


@pytest.mark.parametrize("detached", [False, True])
def test_a_value_of_the_policys_own_outputs_may_leak(detached: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        probabilities = torch.softmax(steps.logits, dim=-1)
        values = probabilities @ torch.linspace(-1.0, 1.0, 3, dtype=torch.float64)
        values = values[steps.state]
        advantage = steps.to_go() - (values.detach() if detached else values)
        return weighted(gamma_t(steps) * advantage, steps)

    found = identify(episodes(loss))
    assert [p.key for p in found.mistakes] == [] if detached else ["value_not_detached"]
    assert found.formula is not None and not found.ties
    assert found.values is not None
    for record_, fitted in zip(episodes(loss), found.values, strict=True):
        expected = record_.policy @ np.linspace(-1.0, 1.0, 3)
        visited = np.unique(record_.transitions.state)
        np.testing.assert_allclose(fitted[visited], expected[visited], atol=1e-4)


@pytest.mark.parametrize("after_ends", [False, True])
def test_the_next_states_value_is_no_baseline(after_ends: bool) -> None:
    def loss(steps: Steps) -> Tensor:
        following = steps.values.detach()[steps.next_state]
        if not after_ends:
            following = following * ~torch.tensor(steps.done)
        return weighted(gamma_t(steps) * (steps.to_go() - following), steps)

    assert keys(episodes(loss)) == ["next_value_baseline"]


def test_an_inexact_critic_with_gamma_t_is_fitted() -> None:
    def loss(steps: Steps) -> Tensor:
        going = ~torch.tensor(steps.done)
        after = 0.5 * steps.values.detach()[steps.next_state] * going
        reward = torch.tensor(steps.reward, dtype=torch.float64)
        advantage = reward + GAMMA * after - 0.5 * steps.v.detach()
        return weighted(gamma_t(steps) * advantage, steps)

    assert keys(episodes(loss)) == ["learned_critic"]


def test_records_of_different_sizes_are_searched_in_any_order() -> None:
    """The search begins with one record, which may have fewer states than others."""

    def nonsense(steps: Steps) -> Tensor:
        return weighted(torch.sin(3.0 * steps.to_go()), steps)

    for records in itertools.permutations(episodes(nonsense)):
        assert identify(records, seconds=1.0).formula is None
