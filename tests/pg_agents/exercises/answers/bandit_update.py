import math

import numpy as np
import torch


def vectorised(logits, action, reward, step_size):
    policy = np.exp(logits) / np.sum(np.exp(logits))
    one_hot = np.eye(len(logits))[action]
    return logits + step_size * reward * (one_hot - policy)


def autograd(logits, action, reward, step_size):
    table = torch.tensor(logits, requires_grad=True)
    torch.log_softmax(table, dim=0)[action].backward()
    return (table + step_size * reward * table.grad).detach()


def loop(logits, action, reward, step_size):
    total = sum(math.exp(x) for x in logits)
    new = []
    for a, x in enumerate(logits):
        p = math.exp(x) / total
        if a == action:
            new.append(x + step_size * reward * (1 - p))
        else:
            new.append(x - step_size * reward * p)
    return new


def in_place(logits, action, reward, step_size):
    policy = np.exp(logits - np.max(logits))
    policy /= policy.sum()
    logits -= step_size * reward * policy
    logits[action] += step_size * reward
    return logits


def optimiser(logits, action, reward, step_size):
    table = torch.nn.Parameter(logits.clone())
    sgd = torch.optim.SGD([table], lr=step_size)
    (-reward * torch.log_softmax(table, 0)[action]).backward()
    sgd.step()
    return table


def descent(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    one_hot = np.eye(len(logits))[action]
    return logits - step_size * reward * (one_hot - policy)


def only_taken(logits, action, reward, step_size):
    new = np.array(logits)
    new[action] += step_size * reward
    return new


def others_kept(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    new = np.array(logits)
    new[action] += step_size * reward * (1 - policy[action])
    return new


def all_up(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    return logits + step_size * reward * (1 - policy)


def others_up(logits, action, reward, step_size):
    policy = torch.softmax(logits, 0)
    gradient = policy.clone()
    gradient[action] = 1 - policy[action]
    return logits + step_size * reward * gradient


def probability(logits, action, reward, step_size):
    table = torch.tensor(logits, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.softmax(table, 0)[action], table)
    return table + step_size * reward * gradient


def no_reward(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    return logits + step_size * (np.eye(len(logits))[action] - policy)


def no_step_size(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    return logits + reward * (np.eye(len(logits))[action] - policy)


def step_only(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    return step_size * reward * (np.eye(len(logits))[action] - policy)


def probabilities_returned(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    new = logits + step_size * reward * (np.eye(len(logits))[action] - policy)
    return np.exp(new) / np.exp(new).sum()


def logits_as_policy(logits, action, reward, step_size):
    return logits + step_size * reward * (np.eye(len(logits))[action] - logits)


def uniform(logits, action, reward, step_size):
    n = len(logits)
    return logits + step_size * reward * (np.eye(n)[action] - 1 / n)


def taken_kept(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    return logits - step_size * reward * policy


def nothing(logits, action, reward, step_size):
    policy = np.exp(logits) / np.exp(logits).sum()
    logits += step_size * reward * (np.eye(len(logits))[action] - policy)


RIGHT = [vectorised, autograd, loop, in_place, optimiser]
WRONG = {
    "descent": descent,
    "only_taken": only_taken,
    "others_kept": others_kept,
    "taken_kept": taken_kept,
    "all_up": all_up,
    "others_up": others_up,
    "probability": probability,
    "no_reward": no_reward,
    "no_step_size": no_step_size,
    "step_only": step_only,
    "probabilities_returned": probabilities_returned,
    "logits_as_policy": logits_as_policy,
    "uniform": uniform,
    "nothing": nothing,
}
