import random

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical


def distribution(logits):
    policy = Categorical(logits=logits)
    action = policy.sample()
    return action.item(), policy.log_prob(action)


def tensor_action(logits):
    policy = torch.distributions.Categorical(torch.softmax(logits, dim=-1))
    action = policy.sample()
    return action, policy.log_prob(action)


def in_numpy(logits):
    log_probs = F.log_softmax(logits, dim=0)
    p = log_probs.exp().detach().double().numpy()
    action = np.random.choice(len(p), p=p / p.sum())
    return action, log_probs[action]


def gumbel_max(logits):
    noise = -torch.log(-torch.log(torch.rand(len(logits))))
    action = int((logits + noise).argmax())
    return action, logits[action] - logits.logsumexp(0)


def inverse_of_the_sum(logits):
    log_probs = logits - torch.log(torch.exp(logits).sum())
    u, total = random.random(), 0.0
    for action, p in enumerate(log_probs.exp().tolist()):
        total += p
        if u < total:
            break
    return action, log_probs[action]


def column(logits):
    policy = torch.softmax(logits, dim=-1)
    action = torch.multinomial(policy, num_samples=1)
    return action, torch.log(policy[action])


def greedy(logits):
    action = torch.argmax(logits)
    return action.item(), torch.log_softmax(logits, 0)[action]


def uniform(logits):
    action = np.random.randint(len(logits))
    return action, torch.log_softmax(logits, 0)[action]


def softmax_twice(logits):
    policy = Categorical(logits=torch.softmax(logits, dim=-1))
    action = policy.sample()
    return action.item(), policy.log_prob(action)


def epsilon_greedy(logits):
    action = int(logits.argmax())
    if random.random() < 0.1:
        action = random.randrange(len(logits))
    return action, torch.log_softmax(logits, 0)[action]


def seeded_generator(logits):
    rng = np.random.default_rng(0)
    p = torch.softmax(logits, 0).detach().double().numpy()
    action = rng.choice(len(p), p=p / p.sum())
    return action, torch.log_softmax(logits, 0)[action]


def one_based(logits):
    policy = Categorical(logits=logits)
    action = policy.sample()
    return action.item() + 1, policy.log_prob(action)


def one_hot(logits):
    policy = torch.distributions.OneHotCategorical(logits=logits)
    action = policy.sample()
    return action, policy.log_prob(action)


def no_log_prob(logits):
    return Categorical(logits=logits).sample().item()


def swapped(logits):
    policy = Categorical(logits=logits)
    action = policy.sample()
    return policy.log_prob(action), action


def all_log_probs(logits):
    log_probs = torch.log_softmax(logits, 0)
    return torch.multinomial(log_probs.exp(), 1).item(), log_probs


def detached(logits):
    policy = Categorical(logits=logits)
    action = policy.sample()
    return action.item(), policy.log_prob(action).item()


def another_action(logits):
    policy = Categorical(logits=logits)
    return policy.sample().item(), policy.log_prob(policy.sample())


def probability(logits):
    policy = torch.softmax(logits, 0)
    action = torch.multinomial(policy, 1).item()
    return action, policy[action]


def log_sign(logits):
    policy = Categorical(logits=logits)
    action = policy.sample()
    return action.item(), -policy.log_prob(action)


def logit(logits):
    action = Categorical(logits=logits).sample().item()
    return action, logits[action]


def log_of_best(logits):
    policy = torch.softmax(logits, 0)
    action = torch.multinomial(policy, 1).item()
    return action, torch.log(policy.max())


def gradient(logits):
    policy = torch.exp(logits) / torch.exp(logits).sum().detach()
    action = torch.multinomial(policy, 1).item()
    return action, torch.log(policy[action])


def flattened(logits):
    policy = Categorical(logits=logits / 2.0)
    action = policy.sample()
    return action, policy.log_prob(action)


def float_action(logits):
    probabilities = torch.softmax(logits, -1)
    action = torch.multinomial(probabilities.detach(), 1).float()
    return action, probabilities[int(action)].log()


RIGHT = [
    distribution,
    tensor_action,
    in_numpy,
    gumbel_max,
    inverse_of_the_sum,
    column,
]
WRONG = {
    "flattened": flattened,
    "float_action": float_action,
    "greedy": greedy,
    "uniform": uniform,
    "softmax_twice": softmax_twice,
    "epsilon_greedy": epsilon_greedy,
    "seeded": seeded_generator,
    "one_based": one_based,
    "one_hot": one_hot,
    "no_log_prob": no_log_prob,
    "swapped": swapped,
    "all_log_probs": all_log_probs,
    "detached": detached,
    "another_action": another_action,
    "probability": probability,
    "log_sign": log_sign,
    "logit": logit,
    "log_of_best": log_of_best,
    "gradient": gradient,
}
