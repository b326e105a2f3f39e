"""A formula as one line of mathematics and words."""

from __future__ import annotations

from pg_agents.checker.formula import Formula

_REDUCTIONS = {
    "sum": "sum over steps of",
    "episodes": "mean over episodes of the sum of",
    "steps": "mean over steps of",
    "steps_squared": "mean over pairs of steps of",
    "steps_episodes": "mean over steps, divided by the episodes, of",
    "own_steps": "sum over episodes of the mean of",
    "own_steps_episodes": "mean over episodes of the mean of",
    "own_steps_squared": "sum over episodes of the mean over pairs of steps of",
    "clipped": "sum, with a length of its own in each update, of",
}
_DISCOUNTS = {
    "none": "",
    "gamma_t": "gamma^t ",
    "task_gamma_t": "gamma^t (of the task) ",
    "gamma_2t": "gamma^(2t) ",
    "window": "gamma^(step of the update) ",
    "not_reset": "gamma^(terms of the returns of earlier steps) ",
}
_CREDITS = {
    "to_go": "G_t",
    "episode": "G_0",
    "from_start": "gamma^t G_t",
    "immediate": "r_t",
    "forward": "sum_{k<=t} gamma^(t-k) r_k",
    "cumulative": "sum_{k<=t} gamma^k r_k",
    "window": "return of the whole update",
    "window_so_far": "rewards of the update up to the end of the episode",
    "td": "r_t + gamma V(s_{t+1})",
    "n_step": "{n}-step return",
    "lambda": "lambda-return",
    "bootstrapped": "G_t with V at the end of the rollout",
    "value": "V(s_t)",
    "one": "",
}
_BASELINES = {
    "value": "V(s_t)",
    "next_value": "V(s_{t+1})",
    "next_value_always": "V(s_{t+1}), also after the end",
    "action_value": "Q(s_t, a_t)",
    "action_value_fitted": "Q(s_t, a_t)",
    "value_mean": "mean of V",
    "value_sum": "mean of V, over pairs of steps",
    "window_mean": "mean of the update",
    "time_mean": "mean at time t",
    "time_mean_alive": "mean at time t of the episodes that go on",
    "episodes_mean": "mean of the episodes",
    "own_episode": "mean of its episode",
    "leave_one_out_time": "mean at time t of the other episodes",
    "leave_one_out_episode": "mean of the other episodes",
    "update_constant": "a number of the update",
}
# Baselines that take the place of the credit, in which it is put.
_PRODUCTS = {
    "credit_mean": "mean of ({}) - V(s_t)",
    "product_of_sums": "sum over the update of ({})",
    "product_of_advantages": "sum over the update of ({} - V(s_t))",
    "product_of_discounted_sums": "sum over the update of gamma^t ({})",
    "episode_product": "sum over its episode of ({})",
}
_SCALES = {
    "square": "({})^2",
    "absolute": "|{}|",
    "deviation": "({}) / deviation of the update",
    "largest": "({}) / largest of the update",
    "window": "({}, standardised over the update)",
    "mini_batch": "({}, standardised over the mini-batch)",
    "episode": "({}, standardised over its episode)",
    "environment": "({}, standardised over its environment)",
    "time_step": "({}, standardised at time t)",
}
_SCORES = {
    "log_prob": "grad log pi(a_t|s_t)",
    "probability": "grad pi(a_t|s_t)",
    "next_state": "grad log pi(a_t|s_{t+1})",
    "previous_action": "grad log pi(a_{t-1}|s_t)",
    "next_action": "grad log pi(a_{t+1}|s_t)",
    "first_action": "grad log pi(0|s_t)",
    "most_likely_action": "grad log pi(argmax|s_t)",
    "gather_rows": "grad log pi(0|s of row a_t)",
    "all_pairs": "sum over the update's actions a of grad log pi(a|s_t)",
    "all_pairs_columns": "sum over the update's states s of grad log pi(a_t|s)",
    "all_actions": "mean over all actions a of grad log pi(a|s_t)",
    "logit": "grad logit(a_t|s_t)",
    "p_log_p": "grad [pi log pi](a_t|s_t)",
    "inverse_probability": "grad log pi(a_t|s_t) / pi(a_t|s_t)",
    "softmax_twice": "grad log softmax(pi)(a_t|s_t)",
    "binary_cross_entropy": "minus grad BCE(pi, one-hot of a_t)",
    "binary_cross_entropy_logits": "minus grad BCE(sigmoid of logits, one-hot of a_t)",
    "squared_error": "minus grad |pi - one-hot of a_t|^2",
    "softmax_over_batch": "grad log softmax over the update's rows",
    "softmax_over_batch_normalized": "grad log softmax of log pi over the rows",
    "clipped_action": "grad log pi(clipped a_t|s_t)",
    "reparameterized": "grad log pi(a_t|s_t), through a_t as well,",
    "variance": "grad log N(mean, variance in place of deviation)(a_t|s_t)",
    "root": "grad log N(mean, root of the deviation)(a_t|s_t)",
    "resampled": "grad log pi(a'|s_t) with a' drawn again",
}
_FLAGS = {
    "previous": "of the step before",
    "previous_zero": "of the step before, 0 at first",
    "rolled": "of the step before, rolled around",
    "next": "of the step after",
}
_ALONG = {
    "": "",
    "workers": ", through all environments",
    "flat": ", through the rows as they lie",
}
_ENDS = {
    "terminated": "sums run past time limits",
    "ignored": "sums run past the ends of episodes",
    "carried": "sums start with that of the update before",
    "both": "sums stop at the ends of episodes",
    **{kind: f"sums stop by the done flag {flag}" for kind, flag in _FLAGS.items()},
}
_OPTIONS = {
    "rewards": {
        "clipped": "rewards clipped to [-1, 1]",
        "sign": "signs of the rewards",
        "standardized_window_0": "rewards standardised over the update",
        "standardized_window_1": "rewards standardised over the update",
        "standardized_episode_0": "rewards standardised over the episode",
        "standardized_episode_1": "rewards standardised over the episode",
    },
    "bootstrap": {
        "terminated": "V also after time limits",
        "ignored": "V also after all ends",
        **{kind: f"V masked by the done flag {flag}" for kind, flag in _FLAGS.items()},
    },
    "successor": {
        "seen": "V of the next row, which may be of the next episode",
        "same": "V of the last state in place of the one after it",
        "same_always": "V(s_t) in place of V(s_{t+1})",
        "none": "no V after the end of the rollout",
    },
    "order": {
        "reversed_episode": "returns of each episode in reversed order",
        "reversed_window": "returns of the update in reversed order",
        "reversed_environment": "returns of each environment in reversed order",
        "next": "each step has the return of the next one",
        "next_discounted": "each step has gamma times the return of the next one",
        "previous": "each step has the return of the one before",
        "last_lost": "without the last reward of each episode",
        "last_skipped": "the last step of each rollout has no advantage and no part in "
        "those of others",
    },
    "transform": {
        "int": "returns cut to integers",
        "round": "returns rounded to integers",
        "standardized_window": "returns standardised over the update",
        "standardized_episode": "returns standardised over the episode",
    },
    "steps": {
        "window_last_lost": "without the last step of each rollout",
        "episode_last_lost": "without the last step of each episode",
        "episode_first_lost": "without the first step of each episode",
        "episode_last_only": "the last step of each episode alone",
        "episode_first_only": "the first step of each episode alone",
        "finished": "finished episodes alone",
        "last_episode": "the last episode of each update alone",
        "first_episode": "the first episode of each update alone",
        "first_environment": "the first environment alone",
    },
    "data": {
        "memory": "with all steps since the start",
        "memory_rows": "with steps of earlier updates",
        "late": "without the latest step, with the one before the rollout",
        "chunks": "each update has a part of the rollout",
        "resets": "with the steps that only reset",
        "through_resets": "summed through the steps that only reset",
        "stale_rewards": "with rewards of earlier updates",
        "stale_actions": "with actions of earlier updates",
        "mixed_up": "the steps of a mini-batch have the weights of the rollout's first "
        "ones",
        "next_states": "states replaced by the next states",
        "accumulated": "added to the gradients of all updates before",
    },
}
_ENTROPIES = {
    "bonus": "plus the gradient of an entropy term",
    "taken": "plus that of p log p of the taken action",
    "log_prob": "plus that of log p of the taken action",
}


def described(formula: Formula, *, same_mean: bool = False) -> str:
    """Returns a formula in words: what multiplies what, and over what it is averaged.

    Usual options are not mentioned.

    Args:
        formula: the formula.
        same_mean: whether a mean over steps and one over episodes are the same.
    """
    product = f"{_DISCOUNTS[formula.discount]}{_weight(formula)} {_score(formula)}"
    reduction = _REDUCTIONS[formula.reduction]
    if same_mean:
        reduction = "mean over steps (or over episodes, which is the same here) of"
    parts = [f"{reduction} {' '.join(product.split())}"]
    parts.append(f"gamma = {float(formula.gamma):.4g}")
    if formula.credit == "lambda":
        parts.append(f"lambda = {float(formula.lam):.4g}")
    if formula.ends != "both":
        kind, _, along = formula.ends.partition("@")
        parts.append(_ENDS[kind] + _ALONG[along])
    for name, words in _OPTIONS.items():
        option = getattr(formula, name)
        if name == "steps" and option.startswith("first_finished_"):
            number = option.removeprefix("first_finished_")
            parts.append(f"the first {number} episodes to finish alone")
        elif name == "data" and option.removeprefix("memory_").isdigit():
            number = option.removeprefix("memory_")
            parts.append(f"with the steps of the last {number} rollouts")
        elif name == "rewards" and option.startswith("clipped_"):
            low, high = (float(bound) for bound in option.split("_")[1:])
            parts.append(f"rewards clipped to [{low:.3g}, {high:.3g}]")
        elif option != getattr(_USUAL, name):
            parts.append(words[option])
    if formula.entropy != "none":
        parts.append(_ENTROPIES[formula.entropy.rpartition("_")[0]])
    return "; ".join(parts) + "."


_USUAL = Formula()


def _weight(formula: Formula) -> str:
    credit = _CREDITS[formula.credit].replace("{n}", str(formula.n))
    if formula.baseline in _PRODUCTS:
        weight = _PRODUCTS[formula.baseline].format(credit)
    elif formula.baseline != "none":
        weight = f"{credit} - {_BASELINES[formula.baseline]}"
    else:
        weight = credit
    if formula.scale != "none":
        return _SCALES[formula.scale].format(weight)
    return f"({weight})" if " " in weight else weight


def _score(formula: Formula) -> str:
    kind, _, numbers = formula.score.partition("_")
    if kind == "clamped":
        low, high = (float(x) for x in numbers.split("_"))
        return f"grad log clamp(pi(a_t|s_t), {low:.3g}, {high:.3g})"
    if kind == "smoothed":
        return f"grad log(pi(a_t|s_t) + {float(numbers):.3g})"
    return _SCORES[formula.score]
