"""Exercise: the discounted return of every step."""

from __future__ import annotations

import numpy as np

from pg_agents.exercises.answer import Array, Function, Together, check_numbers
from pg_agents.exercises.data import Exercise, Hint

STUB = '''\
"""Returns

The return of step t is the sum of all rewards from step t to the end of the episode,
discounted by how far away each is:

    G_t = r_t + gamma * r_{t+1} + gamma^2 * r_{t+2} + ... + gamma^(T-1-t) * r_{T-1}

Write a function that gives G_t of every step of one finished episode. Of the rewards
[1, 2, 3, 4] and gamma = 0.99 it is [9.801496, 8.8904, 6.96, 4.0].
"""

import numpy as np  # or torch, or plain Python

# [T] is an array, a tensor or a list: your function has to be right for one of them. It
# may return any of them, and leaves its arguments as they are.


def returns(rewards, gamma):
    """Compute the discounted return of every step of an episode.

    rewards: [T], the reward of each step; integers or floats
    gamma: discount factor, a number from 0 to 1 (both included)
    result: [T], in order of the steps
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    result = np.zeros(len(rewards))
    to_go = 0.0
    for t in reversed(range(len(rewards))):
        to_go = rewards[t] + gamma * to_go
        result[t] = to_go
    return result
""",
)

CASES = (
    {"rewards": np.array([1.0, 2.0, 3.0, 4.0]), "gamma": 0.99},
    {"rewards": np.array([0.5, -1.25, 0.0, 2.0, -0.75]), "gamma": 0.6},
    {"rewards": np.array([1.0, 1.0, 1.0]), "gamma": 1.0},
    {"rewards": np.array([3.0, 0.0, 2.0]), "gamma": 0.0},
    {"rewards": np.array([-2.5]), "gamma": 0.9},
)


def _returns(rewards: Array, gamma: float) -> Array:
    result = np.zeros(len(rewards))
    to_go = 0.0
    for t in reversed(range(len(rewards))):
        to_go = rewards[t] + gamma * to_go
        result[t] = to_go
    return result


def _forward(rewards: Array, gamma: float) -> Array:
    return _returns(rewards[::-1], gamma)[::-1]


def _powers(rewards: Array, gamma: float) -> Array:
    powers: Array = gamma ** np.arange(len(rewards), dtype=np.float64)
    return powers


def _to_go(rewards: Array) -> Array:
    return np.cumsum(rewards[::-1])[::-1]


def _next(values: Array) -> Array:
    return np.append(values[1:], 0.0)


HINTS = {
    "undiscounted": Hint(
        "not discounted",
        "Every later reward counts in full. With gamma below 1 a reward k steps away "
        "counts gamma^k as much.",
        "Does your result change when gamma does?",
        lambda rewards, gamma: _to_go(rewards),
    ),
    "immediate_reward": Hint(
        "the immediate reward only",
        "Each step has its own reward alone. An action that pays later, as most do, "
        "would count for nothing.",
        "What happens after step t because of the action in step t?",
        lambda rewards, gamma: rewards,
    ),
    "total": Hint(
        "the same return for all steps",
        "Every step has the return of the whole episode, that of step 0. Rewards from "
        "before step t are in it, which the action in step t can't change: they add "
        "noise.",
        "What is the return of the last step?",
        lambda rewards, gamma: np.full(len(rewards), _returns(rewards, gamma)[0]),
    ),
    "first_only": Hint(
        "the return of the first step only",
        "One number came back, G_0. Each of the T actions needs its own weight.",
        "How many numbers does the docstring ask for?",
        lambda rewards, gamma: _returns(rewards, gamma)[0],
    ),
    "rewards_so_far": Hint(
        "rewards so far instead of rewards to come",
        "The sum runs from the start of the episode to step t. It rewards an action "
        "for what came before it, and misses what came of it.",
        "In which direction does the sum of the equation run?",
        lambda rewards, gamma: np.cumsum(rewards),
    ),
    "recursion_forward": Hint(
        "the recursion runs forward",
        "G_t = r_t + gamma G_{t+1} needs the return of the next step first. Yours adds "
        "that of the step before.",
        "Which step's return is known without any other?",
        _forward,
    ),
    "discounted_so_far": Hint(
        "discounted rewards so far",
        "The sum of gamma^k r_k runs from the start of the episode to step t. It "
        "rewards an action for what came before it, and misses what came of it.",
        "In which direction does the sum of the equation run?",
        lambda rewards, gamma: np.cumsum(_powers(rewards, gamma) * rewards),
    ),
    "reversed": Hint(
        "in reversed order",
        "The numbers are right and their order is not: the return of the last step "
        "stands first. Each action would be weighted with the return of another step.",
        "Which return is computed first, and to which end of the list does it go?",
        lambda rewards, gamma: _returns(rewards, gamma)[::-1],
    ),
    "discounted_from_start": Hint(
        "discounted from the start of the episode",
        "The reward of step k counts gamma^k, the distance to step 0. For the return "
        "of step t it is k - t steps away: yours is gamma^t G_t.",
        "How far away is r_t from step t?",
        lambda rewards, gamma: _powers(rewards, gamma) * _returns(rewards, gamma),
    ),
    "gamma_on_reward": Hint(
        "the step's own reward is discounted too",
        "gamma multiplies the whole sum, r_t included: every return is too small by "
        "one factor of gamma.",
        "Which power of gamma has r_t in the equation?",
        lambda rewards, gamma: gamma * _returns(rewards, gamma),
    ),
    "off_by_one": Hint(
        "off by one step",
        "Step t has the return of step t + 1: its own reward is missing.",
        "What should a one-step episode with the reward -2.5 give?",
        lambda rewards, gamma: _next(_returns(rewards, gamma)),
    ),
    "off_by_one_discounted": Hint(
        "the step's own reward is missing",
        "The sum starts with gamma r_{t+1}. What the action paid at once is left out.",
        "What should a one-step episode with the reward -2.5 give?",
        lambda rewards, gamma: gamma * _next(_returns(rewards, gamma)),
    ),
    "rounded": Hint(
        "rounded to integers",
        "The digits after the point are lost. With rewards such as -0.05 a step, whole "
        "episodes then look alike.",
        "Which dtype has the list or array that the results go into?",
        lambda rewards, gamma: np.trunc(_returns(rewards, gamma)),
    ),
    "rounded_decimals": Hint(
        "rounded to two decimals",
        "Rounding is for printing. Rounded returns hide small differences that decide "
        "which action is better.",
        "Where are digits dropped before the result is returned?",
        lambda rewards, gamma: np.round(_returns(rewards, gamma), 2),
    ),
    "last_reward_lost": Hint(
        "the last reward is lost",
        "The sums end one step too early: r_{T-1} is in none of them. It is often the "
        "only reward that tells success from failure.",
        "Which is the last index of your loop or slice?",
        lambda rewards, gamma: _returns(np.append(rewards[:-1], 0.0), gamma),
    ),
    "two_steps": Hint(
        "only the next step's reward is added",
        "r_t + gamma r_{t+1} stops after two rewards. The recursion adds gamma times "
        "the next *return*, which holds everything after it.",
        "What does the return of step t + 1 already contain?",
        lambda rewards, gamma: rewards + gamma * _next(rewards),
    ),
    "gamma_not_raised": Hint(
        "gamma without its power",
        "All later rewards are multiplied by gamma once, however far away they are.",
        "By how much does a reward two steps away count?",
        lambda rewards, gamma: rewards + gamma * _next(_to_go(rewards)),
    ),
    "gamma_squared": Hint(
        "gamma applied twice a step",
        "A reward k steps away counts gamma^(2k). That is the return with gamma^2 in "
        "place of gamma.",
        "How often does one pass through your loop multiply by gamma?",
        lambda rewards, gamma: _returns(rewards, gamma**2),
    ),
    "own_gamma": Hint(
        "the argument gamma is not used",
        "The results are those of gamma = 0.99, whatever is passed in.",
        "Where does your function read gamma from?",
        lambda rewards, gamma: _returns(rewards, 0.99),
    ),
    "discounted_from_end": Hint(
        "discounted by the distance to the end",
        "Late rewards count in full and early ones least: gamma^(T-1-k) in place of "
        "gamma^(k-t).",
        "Which reward should count most in G_t, the nearest or the last?",
        lambda rewards, gamma: _to_go(_powers(rewards, gamma)[::-1] * rewards),
    ),
    "not_summed": Hint(
        "discounted rewards, not summed",
        "gamma^t r_t is one term. A return is the sum of all terms from step t on.",
        "Where in your code are rewards of different steps added?",
        lambda rewards, gamma: _powers(rewards, gamma) * rewards,
    ),
    "averaged": Hint(
        "divided by the number of steps",
        "A mean over the steps to come makes long and short futures look alike. A "
        "return is a sum.",
        "Should ten rewards of 1 be worth more than one?",
        lambda rewards, gamma: (
            _returns(rewards, gamma) / np.arange(len(rewards), 0, -1)
        ),
    ),
    "divided_by_powers": Hint(
        "divided by a power of gamma",
        "The sum from the start, divided by gamma^t, is right on paper. With gamma = "
        "0 it is 0/0, and in a long episode gamma^t is so small that no digit is "
        "left: 0.9^800 is 2.5e-37.",
        "Which recursion connects G_t and G_{t+1} without a division?",
        lambda rewards, gamma: (
            (_powers(rewards, gamma) * _returns(rewards, gamma))
            / _powers(rewards, gamma)
        ),
    ),
    "standardized": Hint(
        "standardised",
        "Subtracting the mean and dividing by the deviation comes later, if at all. "
        "Of a one-step episode it leaves 0, or NaN.",
        "What should a one-step episode with the reward -2.5 give?",
        lambda rewards, gamma: _standardized(_returns(rewards, gamma)),
    ),
}


def _standardized(values: Array, ddof: int = 0) -> Array:
    # Of one value, the deviation with N - 1 is NaN.
    deviation = values.std(ddof=ddof) if len(values) > ddof else np.nan
    result: Array = (values - values.mean()) / (deviation + 1e-8)
    return result


_SUMS = (
    "undiscounted",
    "immediate_reward",
    "total",
    "rewards_so_far",
    "recursion_forward",
    "discounted_so_far",
    "last_reward_lost",
    "two_steps",
    "gamma_not_raised",
    "gamma_squared",
    "own_gamma",
    "discounted_from_end",
    "not_summed",
)


def _composed(
    total: Function, of_step: Function, order: Function, change: Function
) -> Function:
    return lambda rewards, gamma: change(
        order(of_step(total(rewards, gamma), _powers(rewards, gamma)))
    )


# What is summed, for which step, in which order, and what is done with it.
TOGETHER = Together(
    (
        (("", _returns), *((key, HINTS[key].mistake) for key in _SUMS)),
        (
            ("", lambda values, powers: values),
            ("off_by_one", lambda values, powers: _next(values)),
            ("discounted_from_start", lambda values, powers: powers * values),
        ),
        (
            ("", lambda values: values),
            ("reversed", lambda values: values[::-1]),
        ),
        (
            ("", lambda values: values),
            ("standardized", _standardized),
            ("standardized", lambda values: _standardized(values, 1)),
            ("averaged", lambda values: values / np.arange(len(values), 0, -1)),
            ("rounded", np.trunc),
            ("rounded_decimals", lambda values: np.round(values, 2)),
        ),
    ),
    _composed,
)


def check(answer: Function) -> str:
    """Checks the numbers of five episodes."""
    integers = {"rewards": np.array([1, 2, 3, 4]), "gamma": 0.99}
    return check_numbers(answer, CASES, _returns, HINTS, TOGETHER, integers=integers)


EXERCISE = Exercise("returns", "returns", STUB, SOLUTION, HINTS, check)
