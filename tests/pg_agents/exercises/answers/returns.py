from collections import deque

import numpy as np
import torch
from scipy.signal import lfilter


def backwards(rewards, gamma):
    result = []
    g = 0
    for r in reversed(rewards):
        g = r + gamma * g
        result.insert(0, g)
    return result


def double_loop(rewards, gamma):
    n = len(rewards)
    return [sum(gamma ** (k - t) * rewards[k] for k in range(t, n)) for t in range(n)]


def in_deque(rewards, gamma):
    result = deque()
    for r in rewards[::-1]:
        result.appendleft(r + gamma * (result[0] if result else 0.0))
    return result


def matrix(rewards, gamma):
    k = np.arange(len(rewards))
    distance = k[None, :] - k[:, None]
    discounts = np.where(distance >= 0, gamma ** np.maximum(distance, 0.0), 0.0)
    return discounts @ np.asarray(rewards)


def in_torch(rewards, gamma):
    result = torch.zeros(len(rewards))
    g = torch.tensor(0.0)
    for t in range(len(rewards) - 1, -1, -1):
        g = rewards[t] + gamma * g
        result[t] = g
    return result


def filtered(rewards, gamma):
    return lfilter([1], [1, -gamma], rewards[::-1])[::-1]


def recursive(rewards, gamma):
    if len(rewards) == 0:
        return []
    rest = recursive(rewards[1:], gamma)
    return [rewards[0] + gamma * (rest[0] if rest else 0)] + rest


def list_plus_list(rewards, gamma):
    # Right for lists alone: an array plus [0] is another sum.
    following = rewards[1:] + [0.0]
    if not any(following):
        return rewards[:]
    return [
        r + g
        for r, g in zip(rewards, [gamma * g for g in list_plus_list(following, gamma)])
    ]


def undiscounted(rewards, gamma):
    return [sum(rewards[t:]) for t in range(len(rewards))]


def immediate_reward(rewards, gamma):
    return [r for r in rewards]


def total(rewards, gamma):
    g = sum(gamma**t * r for t, r in enumerate(rewards))
    return [g] * len(rewards)


def first_only(rewards, gamma):
    g = 0.0
    for r in reversed(rewards):
        g = r + gamma * g
    return g


def rewards_so_far(rewards, gamma):
    return np.cumsum(rewards)


def recursion_forward(rewards, gamma):
    g, result = 0.0, []
    for r in rewards:
        g = r + gamma * g
        result.append(g)
    return result


def reversed_(rewards, gamma):
    g, result = 0.0, []
    for r in reversed(rewards):
        g = r + gamma * g
        result.append(g)
    return result


def discounted_from_start(rewards, gamma):
    discounted = np.array([gamma**t * r for t, r in enumerate(rewards)])
    return np.cumsum(discounted[::-1])[::-1]


def gamma_on_reward(rewards, gamma):
    g, result = 0.0, []
    for r in reversed(rewards):
        g = gamma * (r + g)
        result.insert(0, g)
    return result


def off_by_one(rewards, gamma):
    g, result = 0.0, []
    for r in reversed(rewards):
        result.insert(0, g)
        g = r + gamma * g
    return result


def rounded(rewards, gamma):
    result = np.zeros(len(rewards), dtype=int)
    g = 0.0
    for t in reversed(range(len(rewards))):
        g = rewards[t] + gamma * g
        result[t] = g
    return result


def last_reward_lost(rewards, gamma):
    n = len(rewards)
    return [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, n - 1)) for t in range(n)
    ]


def two_steps(rewards, gamma):
    n = len(rewards)
    return [
        rewards[t] + (gamma * rewards[t + 1] if t + 1 < n else 0.0) for t in range(n)
    ]


def gamma_not_raised(rewards, gamma):
    n = len(rewards)
    return [
        rewards[t] + sum(gamma * rewards[k] for k in range(t + 1, n)) for t in range(n)
    ]


def not_summed(rewards, gamma):
    return np.asarray(rewards) * gamma ** np.arange(len(rewards))


def input_changed(rewards, gamma):
    for t in reversed(range(len(rewards) - 1)):
        rewards[t] += gamma * rewards[t + 1]
    return rewards


def second_call(rewards, gamma, result=[]):  # noqa: B006
    g = 0.0
    for r in reversed(rewards):
        g = r + gamma * g
        result.insert(0, g)
    return result[: len(rewards)] if len(result) < 20 else result


def standardized(rewards, gamma):
    values = np.array(backwards(list(rewards), gamma))
    return (values - values.mean()) / (values.std() + 1e-9)


RIGHT = [
    backwards,
    double_loop,
    in_deque,
    matrix,
    in_torch,
    filtered,
    recursive,
    list_plus_list,
]
WRONG = {
    "undiscounted": undiscounted,
    "immediate_reward": immediate_reward,
    "total": total,
    "first_only": first_only,
    "rewards_so_far": rewards_so_far,
    "recursion_forward": recursion_forward,
    "reversed": reversed_,
    "discounted_from_start": discounted_from_start,
    "gamma_on_reward": gamma_on_reward,
    "off_by_one": off_by_one,
    "rounded": rounded,
    "last_reward_lost": last_reward_lost,
    "two_steps": two_steps,
    "gamma_not_raised": gamma_not_raised,
    "not_summed": not_summed,
    "standardized": standardized,
    "input_changed": input_changed,
}
