import torch
import torch.nn.functional as F
from torch.distributions import Categorical


def gathered(logits, actions, returns):
    log_probs = F.log_softmax(logits, dim=1)
    taken = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)
    return -(taken * returns).sum()


def distribution(logits, actions, returns):
    return -torch.dot(Categorical(logits=logits).log_prob(actions), returns)


def weighted_cross_entropy(logits, actions, returns):
    return (F.cross_entropy(logits, actions, reduction="none") * returns).sum()


def loop(logits, actions, returns):
    loss = 0
    for row, action, g in zip(logits, actions, returns):
        loss = loss - g * torch.log(torch.softmax(row, dim=0)[action])
    return loss


def one_hot(logits, actions, returns):
    mask = torch.zeros_like(logits).scatter_(1, actions[:, None], 1.0)
    log_probs = logits - logits.logsumexp(dim=1, keepdim=True)
    return -(returns[:, None] * mask * log_probs).sum()


def column(logits, actions, returns):
    log_probs = torch.log_softmax(logits, -1).gather(-1, actions[:, None])
    return (-returns[:, None] * log_probs).sum(dim=0)


def sign_flipped(logits, actions, returns):
    return (Categorical(logits=logits).log_prob(actions) * returns).sum()


def mean(logits, actions, returns):
    return -(Categorical(logits=logits).log_prob(actions) * returns).mean()


def probability(logits, actions, returns):
    policy = torch.softmax(logits, dim=-1)
    return -(policy[range(len(actions)), actions] * returns).sum()


def logits_(logits, actions, returns):
    return -(logits.gather(1, actions[:, None])[:, 0] * returns).sum()


def softmax_twice(logits, actions, returns):
    policy = torch.softmax(logits, dim=-1)
    return (F.cross_entropy(policy, actions, reduction="none") * returns).sum()


def wrong_axis(logits, actions, returns):
    log_probs = F.log_softmax(logits, dim=0)
    return -(log_probs[torch.arange(len(actions)), actions] * returns).sum()


def no_returns(logits, actions, returns):
    return -Categorical(logits=logits).log_prob(actions).sum()


def all_pairs(logits, actions, returns):
    log_probs = torch.log_softmax(logits, -1).gather(1, actions[:, None])
    return -(log_probs * returns).sum()


def all_pairs_mean(logits, actions, returns):
    return (F.cross_entropy(logits, actions) * returns).sum()


def both_means(logits, actions, returns):
    return (F.cross_entropy(logits, actions) * returns).mean()


def all_actions(logits, actions, returns):
    return -(torch.log_softmax(logits, -1) * returns[:, None]).sum()


def not_reduced(logits, actions, returns):
    return -Categorical(logits=logits).log_prob(actions) * returns


def number(logits, actions, returns):
    return -(Categorical(logits=logits).log_prob(actions) * returns).sum().item()


def detached(logits, actions, returns):
    log_probs = torch.tensor(
        [Categorical(logits=row).log_prob(a) for row, a in zip(logits, actions)]
    )
    return -(log_probs * returns).sum()


def backward_called(logits, actions, returns):
    loss = gathered(logits, actions, returns)
    loss.backward()
    return loss


def centred(logits, actions, returns):
    return gathered(logits, actions, returns - returns.mean())


RIGHT = [gathered, distribution, weighted_cross_entropy, loop, one_hot, column]
WRONG = {
    "sign_flipped": sign_flipped,
    "mean": mean,
    "probability": probability,
    "logits": logits_,
    "softmax_twice": softmax_twice,
    "wrong_axis": wrong_axis,
    "no_returns": no_returns,
    "all_pairs": all_pairs,
    "all_pairs_mean": all_pairs_mean,
    "both_means": both_means,
    "all_actions": all_actions,
    "not_reduced": not_reduced,
    "number": number,
    "detached": detached,
    "backward_called": backward_called,
    "centred": centred,
}
