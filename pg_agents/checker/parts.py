"""What the options of a formula are: right, documented departures, or mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from pg_agents.checker.formula import USES_CRITIC, Formula
from pg_agents.checker.mistakes import MISTAKES

Kind = Literal["right", "departure", "warning", "mistake", "no gradient"]


@dataclass(frozen=True)
class Part:
    """A part of an identified formula.

    Attributes:
        key: key of the mistake or departure in the catalogue, or of the part.
        kind: `"right"`; `"departure"`: what documented algorithms do, although it is
            not the exact gradient; `"warning"`: what leaves the direction of the
            expectation and wastes data or adds noise; `"mistake"`; `"no gradient"`: a
            mistake because of which the expected gradient is 0.
        title: display name.
        explanation: one or two sentences.
    """

    key: str
    kind: Kind
    title: str
    explanation: str


@dataclass(frozen=True)
class Context:
    """What a formula is judged against.

    Attributes:
        gamma: discount factor of the objective; None if it is the subject's own.
        limit_is_task: whether the time limit is part of the task.
        has_truncation: whether an episode was truncated.
        has_unfinished: whether a window ended within an episode.
        one_episode: whether each update has a single episode.
        equal_steps: whether all updates have the same number of steps.
        equal_episodes: whether all updates have the same number of whole episodes.
        inexact_critic: whether the critic differs from the exact values.
    """

    gamma: float | None = None
    limit_is_task: bool = True
    has_truncation: bool = False
    has_unfinished: bool = False
    one_episode: bool = False
    equal_steps: bool = False
    equal_episodes: bool = False
    inexact_critic: bool = False


# Options that are not right: the field, the option, and the key of what it is.
_KEYS: Mapping[str, Mapping[str, str]] = {
    "rewards": {
        "clipped": "rewards_clipped",
        "sign": "rewards_clipped",
        "standardized_window_0": "rewards_standardized",
        "standardized_window_1": "rewards_standardized",
        "standardized_episode_0": "rewards_standardized",
        "standardized_episode_1": "rewards_standardized",
    },
    "credit": {
        "immediate": "immediate_reward",
        "forward": "returns_forward",
        "cumulative": "returns_forward",
        "window": "return_across_episodes",
        "window_so_far": "earlier_rewards",
        "value": "state_value_weight",
        "one": "no_return",
    },
    "ends": {
        "terminated": "truncation_ignored",
        "ignored": "return_across_episodes",
        "carried": "return_across_episodes",
        "ignored@workers": "return_across_episodes",
        "ignored@flat": "return_across_episodes",
        "both@flat": "return_across_workers",
        **{
            f"{kind}{along}": "done_mask_shifted"
            for kind in ("next", "previous", "previous_zero", "rolled")
            for along in ("", "@workers", "@flat")
        },
    },
    "bootstrap": {
        "ignored": "through_terminal",
        "next": "done_mask_shifted",
        "previous": "done_mask_shifted",
        "previous_zero": "done_mask_shifted",
        "rolled": "done_mask_shifted",
    },
    "successor": {
        "seen": "bootstrap_from_wrong_state",
        "same": "bootstrap_from_wrong_state",
        "same_always": "bootstrap_from_wrong_state",
        "none": "no_bootstrap_at_truncation",
    },
    "order": {
        "reversed_episode": "returns_reversed",
        "reversed_window": "returns_reversed",
        "reversed_environment": "returns_reversed",
        "next": "off_by_one",
        "next_discounted": "off_by_one",
        "previous": "off_by_one",
        "last_lost": "last_step_lost",
        "last_skipped": "last_step_lost",
    },
    "transform": {
        "int": "rounded",
        "round": "rounded",
        "standardized_window": "standardized",
        "standardized_episode": "standardized",
    },
    "baseline": {
        "next_value": "next_value_baseline",
        "next_value_always": "next_value_baseline",
        "value_mean": "broadcast_advantage",
        "value_sum": "broadcast_advantage",
        "credit_mean": "broadcast_advantage",
        "action_value": "action_value_baseline",
        "action_value_fitted": "action_value_baseline",
        "product_of_sums": "all_pairs",
        "product_of_advantages": "all_pairs",
        "product_of_discounted_sums": "all_pairs",
        "episode_product": "all_pairs",
        "window_mean": "batch_mean_baseline",
        "time_mean": "batch_mean_baseline",
        "time_mean_alive": "batch_mean_baseline",
        "episodes_mean": "batch_mean_baseline",
        "own_episode": "episode_mean_baseline",
    },
    "scale": {
        "square": "advantage_sign_lost",
        "absolute": "advantage_sign_lost",
        "deviation": "scaled_by_batch",
        "largest": "scaled_by_batch",
        **dict.fromkeys(
            ("window", "mini_batch", "episode", "environment", "time_step"),
            "standardized",
        ),
    },
    "discount": {
        "gamma_2t": "gamma_twice",
        "window": "discount_across_episodes",
        "not_reset": "discount_not_reset",
    },
    "reduction": {
        "clipped": "gradient_clipped",
        "steps": "mean_over_steps",
        "steps_squared": "mean_over_steps",
        "steps_episodes": "mean_over_steps",
        "own_steps": "mean_in_episode",
        "own_steps_episodes": "mean_in_episode",
        "own_steps_squared": "mean_in_episode",
    },
    "steps": {
        "window_last_lost": "last_step_lost",
        "episode_last_lost": "last_step_lost",
        "episode_first_lost": "first_step_lost",
        "episode_last_only": "one_step_only",
        "episode_first_only": "one_step_only",
        "finished": "unfinished_dropped",
        "last_episode": "one_episode_only",
        "first_episode": "one_episode_only",
        "first_environment": "one_environment_only",
    },
    "score": {
        "probability": "probability",
        "next_state": "next_state",
        "previous_action": "wrong_gather",
        "next_action": "wrong_gather",
        "first_action": "wrong_gather",
        "most_likely_action": "wrong_gather",
        "gather_rows": "wrong_gather",
        "all_pairs": "wrong_gather",
        "all_pairs_columns": "wrong_gather",
        "all_actions": "all_actions",
        "logit": "logit",
        "p_log_p": "p_log_p",
        "inverse_probability": "inverse_probability",
        "softmax_twice": "double_softmax",
        "binary_cross_entropy": "binary_cross_entropy",
        "binary_cross_entropy_logits": "binary_cross_entropy",
        "squared_error": "squared_error",
        "softmax_over_batch": "softmax_over_batch",
        "softmax_over_batch_normalized": "softmax_over_batch",
        "clipped_action": "clipped_action",
        "reparameterized": "action_not_detached",
        "variance": "other_deviation",
        "root": "other_deviation",
        "resampled": "action_resampled",
    },
    "data": {
        "memory": "replay",
        "late": "late_window",
        "next_states": "next_state",
        "stale_rewards": "replay",
        "stale_actions": "replay",
        "mixed_up": "rows_mixed_up",
        "resets": "reset_steps",
        "accumulated": "gradients_not_zeroed",
    },
    "entropy": {
        f"{kind}_{over}": "taken_action_entropy"
        for kind in ("taken", "log_prob")
        for over in ("sum", "steps", "episodes")
    },
}


def key_of(field: str, option: str) -> str | None:
    """Returns the key of an option, None if it is right whatever the task."""
    if field == "steps" and option.startswith("first_finished"):
        return "first_finished"
    if field == "rewards" and option.startswith("clipped"):
        return "rewards_clipped"
    if field == "data" and option.startswith("memory"):
        return "replay"
    if field == "score" and option.startswith(("clamped", "smoothed")):
        return "clamped_probability"
    return _KEYS.get(field, {}).get(option)


def part_of(key: str) -> Part:
    """Returns the part with a key."""
    mistake = MISTAKES[key]
    return Part(key, mistake.kind, mistake.title, mistake.explanation)


@cache
def cost(field: str, option: str) -> int:
    """Returns 1 if the option is a mistake or a warning, 0 otherwise."""
    key = key_of(field, option)
    kinds = ("mistake", "no gradient", "warning")
    return int(key is not None and part_of(key).kind in kinds)


def parts_of(
    formula: Formula, factor: float, entropy: float, context: Context
) -> tuple[Part, ...]:
    """Returns the departures and mistakes of a formula.

    Args:
        formula: the formula.
        factor: c, positive if the loss descends in the right direction.
        entropy: coefficient of the entropy term; positive for a bonus.
        context: what it is judged against.
    """
    keys: list[str] = []
    for field in _KEYS:
        option = getattr(formula, field)
        key = key_of(field, option)
        if (
            key == "standardized"
            and (formula.baseline == "value" or formula.credit in USES_CRITIC)
            and field == "scale"
        ):
            key = "advantages_standardized"
        if field == "ends" and option == "ignored" and _is_not_cleared(formula):
            # One mistake: what is not cleared is summed as one episode.
            key = None
        if (
            field == "successor"
            and option == "seen"
            and formula.bootstrap not in ("both", "terminated")
        ):
            # One mistake: the mask does not hide the state after the end.
            key = None
        if field == "reduction" and key == "mean_in_episode" and context.one_episode:
            key = "mean_over_steps"
        if key == "mean_over_steps" and context.equal_steps:
            key = None
        if key is not None:
            keys.append(key)
    keys += _context_keys(formula, entropy, context)
    if factor < 0:
        keys.append("sign_flipped")
    parts = tuple(part_of(key) for key in dict.fromkeys(keys))
    if formula.baseline == "action_value_fitted":
        parts = tuple(
            replace(part, kind="mistake", explanation=_OF_LEARNED_ACTIONS)
            if part.key == "action_value_baseline"
            else part
            for part in parts
        )
    if context.equal_episodes:
        return parts
    return tuple(_of_long_episodes(p) if p.key in _ONE_OF_MANY else p for p in parts)


def _is_not_cleared(formula: Formula) -> bool:
    return key_of("data", formula.data) == "replay"


# Warnings that are mistakes where a number of steps ends the update.
_ONE_OF_MANY = frozenset({"one_episode_only"})


_OF_LEARNED_ACTIONS = (
    "What is subtracted must not depend on the action. A learned action value takes "
    "away what the action earns, the more the better it is learnt: the gradient is "
    "that of its errors, and then nothing."
)


def _of_long_episodes(part: Part) -> Part:
    return replace(
        part,
        kind="mistake",
        explanation="Each update has a number of steps, not of episodes, and learns "
        "from one of its episodes alone. The first and the last one are no sample of "
        "all: a long episode is more likely to be the one with which an update ends.",
    )


def _context_keys(formula: Formula, entropy: float, context: Context) -> list[str]:
    keys = []
    from_start = formula.credit in (
        "episode",
        "from_start",
        "cumulative",
        "window",
        "window_so_far",
        "one",
        "value",
    )
    if formula.discount == "none" and formula.gamma < 1.0 and not from_start:
        keys.append("gamma_dropped")
    if formula.discount in ("gamma_t", "task_gamma_t") and formula.credit in (
        "episode",
        "cumulative",
        "from_start",
    ):
        keys.append("gamma_twice")
    other = context.gamma is not None and abs(formula.gamma - context.gamma) > 1e-4
    if other or formula.discount == "task_gamma_t":
        keys.append("other_gamma")
    critic = formula.credit in USES_CRITIC
    if critic and formula.credit != "value" and context.inexact_critic:
        keys.append("learned_critic")
    if context.has_truncation and critic and formula.credit != "value":
        if formula.bootstrap == "both" and not context.limit_is_task:
            keys.append("no_bootstrap_at_truncation")
        if formula.bootstrap == "terminated" and context.limit_is_task:
            keys.append("limit_bootstrapped")
    sums = formula.credit in ("to_go", "episode", "window", "window_so_far")
    if (
        sums
        and formula.steps != "finished"
        and (
            context.has_unfinished
            or (context.has_truncation and not context.limit_is_task)
        )
    ):
        keys.append("no_bootstrap_at_truncation")
    if formula.entropy.startswith("bonus"):
        keys.append("entropy_bonus" if entropy > 0 else "entropy_sign")
    return keys
