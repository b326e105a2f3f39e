"""Answers by an author who saw instructions and stubs, and not the checker.

Each wrong one, in the folder `unseen/wrong`, names its mistake in the first line; those
in `unseen/right` are right. They are kept as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pg_agents.exercises import exercise

FOLDER = Path(__file__).parent / "unseen"

# The hint that each wrong one must get.
HINTS: dict[str, dict[str, str]] = {
    "action_sampling": {
        "01_argmax": "greedy",
        "02_softmax_twice": "softmax_twice",
        "03_second_draw": "another_action",
        "04_logit_as_log_prob": "logit",
        "05_graph_cut": "detached",
        "06_seed_inside": "seeded",
        "07_last_action_never": "never_drawn",
    },
    "bandit_update": {
        "01_chosen_arm_only": "others_kept",
        "02_descent": "descent",
        "03_derivative_of_pi": "probability",
        "04_pi_changes_in_loop": "half_updated",
        "05_integer_table": "integer_type",
        "06_log_pi_for_derivative": "toward_log_policy",
        "07_step_only": "step_only",
    },
    "baseline": {
        "01_mean_of_all": "own_return",
        "02_divides_by_n": "divided_by_n",
        "03_advantage": "advantages",
        "04_single_episode_nan": "single_episode",
        "05_earlier_episodes": "earlier_only",
        "06_integer_result": "integer_type",
        "07_excludes_by_value": "equal_left_out",
    },
    "one_step_critic": {
        "01_gradient_through_target": "target_not_detached",
        "02_truncated_as_end": "truncated_as_terminated",
        "03_last_reward_lost": "reward_masked",
        "04_advantage_with_gradient": "advantage_not_detached",
        "05_sign": "sign_flipped",
        "06_detached_the_wrong_one": "value_detached",
        "07_square_of_mean": "square_of_mean",
    },
    "policy_loss": {
        "01_no_minus": "sign_flipped",
        "02_mean": "mean",
        "03_softmax_over_time": "wrong_axis",
        "04_broadcast_t_by_t": "all_pairs",
        "05_cross_entropy_mean": "all_pairs_mean",
        "06_softmax_twice": "softmax_twice",
        "07_new_tensor": "detached",
    },
    "returns": {
        "01_discount_from_start": "discounted_from_start",
        "02_whole_episode": "total",
        "03_order_reversed": "reversed",
        "04_starts_at_next_reward": "off_by_one",
        "05_integer_result": "integer_type",
        "06_division_by_gamma": "divided_by_powers",
        "07_loop_forwards": "two_steps",
    },
    "two_headed_network": {
        "01_value_column": "value_column",
        "02_squeeze_all": "squeezed",
        "03_softmax_inside": "softmax",
        "04_two_bodies": "not_shared",
        "05_value_from_logits": "value_from_logits",
        "06_no_relu": "no_activation",
        "07_heads_not_registered": "no_parameters",
    },
    "weighted_log_prob": {
        "01_log10": "base_10",
        "02_minus_sign": "sign_flipped",
        "03_no_log": "probability",
        "04_sum": "summed",
        "05_log_of_product": "log_of_product",
        "06_cumulative": "cumulative",
        "07_integer_result": "integer_type",
    },
}


def read_answer(name: str, file: Path) -> Callable[..., Any]:
    """Returns the function or class of a file."""
    names: dict[str, Any] = {"__name__": file.stem}
    exec(compile(file.read_text(), str(file), "exec"), names)
    answer: Callable[..., Any] = names[exercise(name).function]
    return answer


def mistake_of(file: Path) -> str:
    """Returns the mistake in a wrong answer, as its author describes it."""
    return file.read_text().splitlines()[0].removeprefix("# mistake: ")
