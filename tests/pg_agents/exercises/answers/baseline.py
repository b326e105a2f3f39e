import statistics

import numpy as np
import torch


def vectorised(returns):
    returns = np.asarray(returns)
    n = len(returns)
    return (returns.sum() - returns) / (n - 1) if n > 1 else np.zeros(1)


def loop(returns):
    result = []
    for i in range(len(returns)):
        others = [r for j, r in enumerate(returns) if j != i]
        result.append(sum(others) / len(others) if others else 0.0)
    return result


def in_torch(returns):
    returns = torch.as_tensor(returns)
    n = returns.numel()
    if n == 1:
        return torch.zeros_like(returns)
    mask = 1 - torch.eye(n, dtype=returns.dtype)
    return mask @ returns / (n - 1)


def deleted(returns):
    if len(returns) < 2:
        return [0]
    return [np.delete(returns, i).mean() for i in range(len(returns))]


def sliced(returns):
    # For lists alone.
    rest = [returns[:i] + returns[i + 1 :] for i in range(len(returns))]
    return [statistics.mean(others) if others else 0.0 for others in rest]


def from_the_mean(returns):
    n = len(returns)
    mean = np.mean(returns)
    return np.array([(n * mean - r) / max(1, n - 1) for r in returns])


def own_return(returns):
    return np.full(len(returns), np.mean(returns))


def one_mean(returns):
    return sum(returns) / len(returns)


def divided_by_n(returns):
    returns = np.asarray(returns)
    return (returns.sum() - returns) / len(returns)


def own_not_subtracted(returns):
    n = len(returns)
    return [sum(returns) / (n - 1) if n > 1 else 0 for _ in returns]


def sum_of_others(returns):
    return [sum(returns) - r for r in returns]


def advantages(returns):
    return np.asarray(returns) - vectorised(returns)


def centred(returns):
    return returns - returns.mean()


def standardized(returns):
    return (returns - np.mean(returns)) / (np.std(returns) + 1e-8)


def negative(returns):
    return -vectorised(returns)


def own_only(returns):
    return returns


def equal_left_out(returns):
    result = []
    for r in returns:
        others = [x for x in returns if x != r]
        result.append(sum(others) / len(others) if others else 0.0)
    return result


def median(returns):
    if len(returns) == 1:
        return [0.0]
    return [np.median(np.delete(returns, i)) for i in range(len(returns))]


def running_mean(returns):
    result, total = [], 0.0
    for n, r in enumerate(returns, start=1):
        total += r
        result.append(total / n)
    return result


def earlier_only(returns):
    return [np.mean(returns[:i]) if i else 0.0 for i in range(len(returns))]


def best(returns):
    return [max(returns)] * len(returns)


def single_episode(returns):
    return [(sum(returns) - r) / (len(returns) - 1) for r in returns]


RIGHT = [vectorised, loop, in_torch, deleted, sliced, from_the_mean]
WRONG = {
    "own_return": own_return,
    "one_mean": one_mean,
    "divided_by_n": divided_by_n,
    "own_not_subtracted": own_not_subtracted,
    "sum_of_others": sum_of_others,
    "advantages": advantages,
    "centred": centred,
    "standardized": standardized,
    "negative": negative,
    "own_only": own_only,
    "equal_left_out": equal_left_out,
    "median": median,
    "running_mean": running_mean,
    "earlier_only": earlier_only,
    "best": best,
    "single_episode": single_episode,
}
