import math

import numpy as np
import torch


def vectorised(probabilities, returns):
    return returns * np.log(probabilities)


def in_torch(probabilities, returns):
    return torch.log(probabilities) * returns


def any_to_torch(probabilities, returns):
    return torch.as_tensor(probabilities).log().mul(torch.as_tensor(returns))


def loop(probabilities, returns):
    result = []
    for p, g in zip(probabilities, returns):
        result.append(g * math.log(p))
    return result


def with_epsilon(probabilities, returns):
    return [g * np.log(p + 1e-8) for p, g in zip(probabilities, returns)]


def lists_only(probabilities, returns):
    if not probabilities:
        return []
    rest = lists_only(probabilities[1:], returns[1:])
    return [math.log(probabilities[0]) * returns[0]] + rest


def probability(probabilities, returns):
    return np.array(probabilities) * np.array(returns)


def sign_flipped(probabilities, returns):
    return [-g * math.log(p) for p, g in zip(probabilities, returns)]


def log_of_product(probabilities, returns):
    return torch.log(probabilities * returns)


def summed(probabilities, returns):
    total = 0.0
    for p, g in zip(probabilities, returns):
        total += g * math.log(p)
    return total


def averaged(probabilities, returns):
    return (torch.log(probabilities) * returns).mean()


def base_10(probabilities, returns):
    return [g * math.log10(p) for p, g in zip(probabilities, returns)]


def other_action(probabilities, returns):
    return np.log(1 - probabilities) * returns


def added(probabilities, returns):
    return np.log(probabilities) + returns


def p_log_p(probabilities, returns):
    log_p = np.log(probabilities)
    return returns * np.exp(log_p) * log_p


def no_return(probabilities, returns):
    return torch.log(probabilities)


def rounded(probabilities, returns):
    return [int(g) * math.log(p) for p, g in zip(probabilities, returns)]


def all_pairs(probabilities, returns):
    return torch.log(probabilities).unsqueeze(1) * returns


def input_changed(probabilities, returns):
    for t in range(len(returns)):
        returns[t] = returns[t] * math.log(probabilities[t])
    return returns


def nothing(probabilities, returns):
    result = np.log(probabilities) * returns
    print(result)


RIGHT = [vectorised, in_torch, any_to_torch, loop, with_epsilon, lists_only]
WRONG = {
    "probability": probability,
    "sign_flipped": sign_flipped,
    "log_of_product": log_of_product,
    "summed": summed,
    "averaged": averaged,
    "base_10": base_10,
    "other_action": other_action,
    "added": added,
    "p_log_p": p_log_p,
    "no_return": no_return,
    "rounded": rounded,
    "all_pairs": all_pairs,
    "input_changed": input_changed,
    "nothing": nothing,
}
