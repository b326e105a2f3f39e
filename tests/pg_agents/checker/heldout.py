"""Losses that no candidate of the checker was written for.

Each is a function `(batch, policy) -> loss` with what is true about it: whether its
expectation is the exact gradient up to a positive factor, whether a documented
algorithm does the same, and which names of the catalogue describe it. They were
written apart from the candidates, and before the candidates were run on them. The
catalogue later got entries that describe eight of them (a squared error, the sign of
the advantage, the next value as baseline, no return, a discount that runs on, a number
of the batch as scale, a scale for each update); these keys were added to the names. One
loss that was meant to be biased turned out not to be, by the checker's verdict and then
by proof.

Sources, as marked at each loss:

- `published`: a line that was found in public code, in a bug report or in a question,
  written anew in the form that the checker takes;
- `students`: typical errors in exercises;
- `combined`: two mistakes of the catalogue at once;
- `nonsense`: code without an idea behind it;
- `unusual`: correct, but written in another way than the candidates expect.
"""

# The losses are written as people write them.
# ruff: noqa: N806, E741
# mypy: disable-error-code="assignment, var-annotated, arg-type, no-any-return"

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from pg_agents.checker import Episode, EpisodeBatch

Loss = Callable[[EpisodeBatch, Any], Any]
Judgement = Literal["agrees", "accused", "acquitted", "missed", "refused", "undecided"]


@dataclass(frozen=True)
class HeldOut:
    """A loss, and what is true about it.

    Attributes:
        make: returns the loss; those that keep a state get a fresh one.
        name: name of the function.
        truth: what is wrong with it, or why it is right.
        source: how it was found, see above.
        exact: against the gradient of the expected discounted return: `"right"` up to
            a positive factor, `"biased"`, `"zero"` (expectation 0), or `"cannot"` (it
            has no gradient that could be judged).
        algorithm: whether documented algorithms do the same: `"right"`, `"wrong"`, or
            `"either"` where opinions may differ.
        names: sets of keys of the catalogue, each of which names it; empty if no entry
            of the catalogue describes it, so that it must not be named.
        also: keys of departures that may be added to a name, or stand alone if `names`
            holds an empty set.
        small: whether the direction is off by less than 5 % on every task, as measured
            with 60,000 episodes: the interval of the default sample may contain 0.
    """

    make: Callable[[], Loss]
    name: str
    truth: str
    source: str
    exact: Literal["right", "biased", "zero", "cannot"]
    algorithm: Literal["right", "wrong", "either"]
    names: tuple[frozenset[str], ...]
    also: frozenset[str]
    small: bool = False

    def judge_verdict(
        self, verdict: str, target: Literal["exact", "algorithm"] = "exact"
    ) -> Judgement:
        """Returns whether a verdict agrees with the truth.

        `"accused"`: right, and called wrong. `"acquitted"`: the other way round;
        `"missed"` if the bias is small. `"refused"`: not checked, though it could be.

        Args:
            verdict: that of the report, or `"could not be checked"`.
            target: what the report compares with.
        """
        if verdict == "undecided":
            return "undecided"
        if verdict == "could not be checked":
            return "agrees" if self.exact == "cannot" else "refused"
        impossible = self.exact in ("zero", "cannot")
        truth = (
            self.algorithm if target == "algorithm" and not impossible else self.exact
        )
        if truth == "either" or (truth == "right") == (verdict == "right"):
            return "agrees"
        if truth == "right":
            return "accused"
        return "missed" if self.small else "acquitted"

    def judge_name(self, keys: frozenset[str]) -> Literal["unnamed", "right", "wrong"]:
        """Returns whether the keys that a report asserts describe the loss."""
        if not keys:
            return "unnamed"
        fits = any(name <= keys <= name | self.also for name in self.names)
        return "right" if fits else "wrong"


HELD_OUT: list[HeldOut] = []


def held_out(
    truth: str,
    source: str,
    *names: str,
    exact: Literal["right", "biased", "zero", "cannot"] = "biased",
    algorithm: Literal["right", "wrong", "either"] = "wrong",
    also: str = "",
    small: bool = False,
) -> Callable[[Any], Any]:
    """Registers a loss; each of `names` is a space-separated set of keys."""

    def register(function: Any) -> Any:
        HELD_OUT.append(
            HeldOut(
                function if isinstance(function, type) else lambda: function,
                function.__name__,
                truth,
                source,
                exact,
                algorithm,
                tuple(frozenset(name.split()) for name in names),
                frozenset(also.split()),
                small,
            )
        )
        return function

    return register


def right(truth: str, source: str = "unusual", *names: str) -> Callable[[Any], Any]:
    """Registers a correct loss."""
    return held_out(truth, source, *names, exact="right", algorithm="right")


def to_go(episode: Episode) -> Tensor:
    """Returns `G_t` of an episode, `[T]`."""
    total, returns = 0.0, []
    for reward in episode.rewards.flip(0).tolist():
        total = reward + episode.gamma * total
        returns.insert(0, total)
    return torch.tensor(returns)


def all_to_go(batch: Iterable[Episode]) -> Tensor:
    """Returns `G_t` of all steps, `[B]`."""
    return torch.cat([to_go(episode) for episode in batch])


def gammas(batch: EpisodeBatch) -> Tensor:
    """Returns gamma^t of all steps, `[B]`."""
    return batch.gamma**batch.time


def log_prob(batch: EpisodeBatch, policy: Any) -> Any:
    """Returns log pi(a|s) of all steps, `[B]`."""
    result: Tensor = policy(batch.observations).log_prob(batch.actions)
    return result


def reinforce(weight: Tensor, batch: EpisodeBatch, policy: Any) -> Tensor:
    """Returns the loss of weights `[B]`, summed per episode."""
    return -(weight * log_prob(batch, policy)).sum() / len(batch)


def ends(batch: EpisodeBatch) -> Tensor:
    """Returns which steps are the last of their episode, `[B]`."""
    return batch.terminated | batch.truncated


def episode_returns(batch: EpisodeBatch) -> Tensor:
    """Returns the discounted return of each episode, `[E]`."""
    return torch.stack([to_go(episode)[0] for episode in batch])


def per_episode(values: Tensor, batch: EpisodeBatch) -> Tensor:
    """Returns the sum of the steps' values in each episode, `[E]`."""
    return torch.zeros(len(batch)).index_add(0, batch.episode, values)


# Correct losses in another form. --------------------------------------------------


@right("DiCE: the derivative of a product of ratios that are all 1.")
def dice(batch: EpisodeBatch, policy: Any) -> Any:
    total = 0.0
    for e in batch:
        lp = policy(e.observations).log_prob(e.actions).cumsum(0)
        box = torch.exp(lp - lp.detach())
        total = total + (e.gamma**e.time * e.rewards * box).sum()
    return -total / len(batch)


@right("Importance ratio of the policy with itself: 1, with the score as gradient.")
def ratio_of_one(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy)
    ratio = torch.exp(lp - lp.detach())
    return -(gammas(batch) * all_to_go(batch) * ratio).sum() / len(batch)


@right(
    "Every action of an episode gets its whole discounted return: noisier, and "
    "unbiased, because earlier rewards do not depend on later actions.",
    "published (Udacity's course, reported there as a bug)",
)
def whole_episode(batch: EpisodeBatch, policy: Any) -> Any:
    losses = []
    for e in batch:
        discounts = [e.gamma**i for i in range(len(e) + 1)]
        R = sum(a * b for a, b in zip(discounts, e.rewards.tolist(), strict=False))
        losses.append(-policy(e.observations).log_prob(e.actions).sum() * R)
    return torch.stack(losses).mean()


@right("RLOO: the mean of the other episodes' returns as baseline.")
def rloo(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)
    baseline = (R.sum() - R) / (len(R) - 1)
    return reinforce((R - baseline)[batch.episode], batch, policy)


@right("A constant baseline does not change the expectation.")
def constant_baseline(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(gammas(batch) * (all_to_go(batch) + 1.7), batch, policy)


@right("A baseline from earlier batches is independent of this one.")
class RunningMean:
    def __init__(self) -> None:
        self.mean = None

    def __call__(self, batch: EpisodeBatch, policy: Any) -> Tensor:
        R = episode_returns(batch)
        baseline = 0.0 if self.mean is None else self.mean
        self.mean = R.mean() if self.mean is None else 0.9 * self.mean + 0.1 * R.mean()
        return reinforce((R - baseline)[batch.episode], batch, policy)


@right("Any function of the observation may be subtracted.")
def strange_baseline(batch: EpisodeBatch, policy: Any) -> Any:
    x = batch.observations.reshape(len(batch.actions), -1).float().sum(-1)
    return reinforce(
        gammas(batch) * (all_to_go(batch) - 3 * torch.cos(7 * x)), batch, policy
    )


@right("GAE with the true values is unbiased for each lambda.")
def gae_exact_critic(batch: EpisodeBatch, policy: Any) -> Any:
    delta = (
        batch.rewards + batch.gamma * batch.next_values * ~batch.terminated
    ) - batch.values
    out, a = torch.zeros_like(delta), 0.0
    for i in reversed(range(len(delta))):
        a = delta[i] + batch.gamma * 0.95 * a * (~ends(batch)[i])
        out[i] = a
    return reinforce(gammas(batch) * out, batch, policy)


@right("Three rewards and the true value of the state after them.")
def three_steps(batch: EpisodeBatch, policy: Any) -> Any:
    weights = []
    for e in batch:
        v = torch.where(e.terminated, 0.0, e.next_values)
        for t in range(len(e)):
            last = min(t + 3, len(e)) - 1
            G = sum(e.gamma ** (k - t) * e.rewards[k] for k in range(t, last + 1))
            G = G + e.gamma ** (last + 1 - t) * v[last]
            weights.append(e.gamma**t * (G - e.values[t]))
    return reinforce(torch.stack(weights), batch, policy)


@right("Returns the gradient of the objective, one tensor for each parameter.")
def by_hand(batch: EpisodeBatch, policy: Any) -> Any:
    objective = (gammas(batch) * all_to_go(batch) * log_prob(batch, policy)).sum()
    return torch.autograd.grad(objective / len(batch), list(policy.parameters()))


@right("Cross-entropy of log-probabilities: the softmax leaves those as they are.")
def cross_entropy_of_log_probs(batch: EpisodeBatch, policy: Any) -> Any:
    logits = policy(batch.observations).logits
    nll = functional.cross_entropy(logits, batch.actions, reduction="none")
    return (gammas(batch) * all_to_go(batch) * nll).sum() / len(batch)


@right("Shuffled mini-batches whose losses are added up before the step.")
def accumulated(batch: EpisodeBatch, policy: Any) -> Any:
    w = gammas(batch) * all_to_go(batch)
    total = 0.0
    for part in torch.randperm(len(w)).split(7):
        lp = policy(batch.observations[part]).log_prob(batch.actions[part])
        total = total - (w[part] * lp).sum()
    return total / len(batch)


@right("Padded to a matrix, summed backwards, and masked.")
def padded(batch: EpisodeBatch, policy: Any) -> Any:
    E, T = len(batch), max(batch.lengths)
    r, lp, mask = torch.zeros(E, T), torch.zeros(E, T), torch.zeros(E, T)
    index = (batch.episode, batch.time)
    r = r.index_put(index, batch.rewards)
    lp = lp.index_put(index, log_prob(batch, policy))
    mask = mask.index_put(index, torch.ones(len(batch.time)))
    discounted = r * batch.gamma ** torch.arange(T)
    G = discounted.flip(1).cumsum(1).flip(1)
    return -(G * lp * mask).sum(1).mean()


@right("Rewards times a triangular matrix of discounts.")
def triangular(batch: EpisodeBatch, policy: Any) -> Any:
    weights = []
    for e in batch:
        k = torch.arange(len(e))
        D = torch.triu(e.gamma ** (k[None, :] - k[:, None]).clamp(min=0).float())
        weights.append(e.gamma**k * (D @ e.rewards))
    return reinforce(torch.cat(weights), batch, policy)


@right("A sum over the episodes of the batch: a larger step, the same direction.")
def sum_over_batch(batch: EpisodeBatch, policy: Any) -> Any:
    return -(gammas(batch) * all_to_go(batch) * log_prob(batch, policy)).sum()


@right("gamma^(t+1): a constant factor gamma.")
def one_gamma_more(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(batch.gamma * gammas(batch) * all_to_go(batch), batch, policy)


@right("Only the episodes with an even index, which says nothing about them.")
def every_second_episode(batch: EpisodeBatch, policy: Any) -> Any:
    keep = (batch.episode % 2 == 0).float()
    return reinforce(2 * keep * gammas(batch) * all_to_go(batch), batch, policy)


@right("Half of the steps, drawn at random, with twice the weight.")
def half_of_the_steps(batch: EpisodeBatch, policy: Any) -> Any:
    keep = 2.0 * (torch.rand(len(batch.time)) < 0.5)
    return reinforce(keep * gammas(batch) * all_to_go(batch), batch, policy)


@right("Two halves of the batch are each other's baseline, by time step.")
def cross_fitted(batch: EpisodeBatch, policy: Any) -> Any:
    G, half = all_to_go(batch), batch.episode % 2
    table = torch.zeros(2, max(batch.lengths))
    table = table.index_put((half, batch.time), G, accumulate=True) / (len(batch) // 2)
    return reinforce(gammas(batch) * (G - table[1 - half, batch.time]), batch, policy)


@right("PPO's clipped objective before the first step: the ratio is 1.")
def ppo_first_epoch(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy)
    ratio = (lp - lp.detach()).exp()
    A = gammas(batch) * (all_to_go(batch) - batch.values)
    clipped = torch.clamp(ratio, 0.8, 1.2) * A
    return -torch.min(ratio * A, clipped).sum() / len(batch)


@right("The KL divergence to the policy itself has no gradient.")
def kl_to_itself(batch: EpisodeBatch, policy: Any) -> Any:
    new = policy(batch.observations)
    old = Categorical(logits=new.logits.detach())
    w = gammas(batch) * all_to_go(batch)
    loss = -(w * new.log_prob(batch.actions)).sum() / len(batch)
    return loss + 0.5 * kl_divergence(old, new).sum() / len(batch)


@right("Potential-based shaping, with potential 0 where the episode ends.")
def shaped(batch: EpisodeBatch, policy: Any) -> Any:
    def potential(obs: Tensor) -> Tensor:
        return torch.sin(3 * obs.reshape(len(obs), -1).float().sum(-1))

    phi, next_phi = potential(batch.observations), potential(batch.next_observations)
    r = batch.rewards + batch.gamma * torch.where(ends(batch), 0.0, next_phi) - phi
    out, done, total = [], ends(batch).tolist(), 0.0
    for reward, last in zip(r.flip(0).tolist(), done[::-1], strict=True):
        total = reward + (0.0 if last else batch.gamma * total)
        out.append(total)
    return reinforce(gammas(batch) * torch.tensor(out[::-1]), batch, policy)


@right("r + gamma V(s') of the true values, without a baseline.")
def q_without_baseline(batch: EpisodeBatch, policy: Any) -> Any:
    q = batch.rewards + batch.gamma * torch.where(
        batch.terminated, torch.zeros(()), batch.next_values
    )
    return reinforce(gammas(batch) * q, batch, policy)


@right("The sum of discounted TD errors of the true values is G minus V.")
def telescoped(batch: EpisodeBatch, policy: Any) -> Any:
    weights = []
    for e in batch:
        delta = e.rewards + e.gamma * e.next_values * ~e.terminated - e.values
        out = [
            sum(e.gamma**k * delta[k] for k in range(t, len(e))) for t in range(len(e))
        ]
        weights += out
    return reinforce(torch.stack(weights), batch, policy)


@right(
    "gamma to the power of the step in the whole batch: the episodes before do not "
    "depend on this one, so it is a random positive factor on each episode.",
    "students",
    "discount_across_episodes",
)
def time_of_the_batch(batch: EpisodeBatch, policy: Any) -> Any:
    discounts = batch.gamma ** torch.arange(len(batch.time))
    return reinforce(discounts * all_to_go(batch), batch, policy)


@right("In double precision, with the log-sum-exp written out.")
def written_out(batch: EpisodeBatch, policy: Any) -> Any:
    logits = policy(batch.observations).logits.double() + 5.0
    taken = torch.einsum(
        "ba,ba->b", logits, functional.one_hot(batch.actions, logits.shape[1]).double()
    )
    lp = taken - torch.logsumexp(logits, dim=1)
    return -(gammas(batch).double() * all_to_go(batch).double() * lp).sum() / len(batch)


@right(
    "Divided by the size of earlier returns: a factor that is independent.",
    "unusual",
    "gradient_clipped",
)
class RunningScale:
    def __init__(self) -> None:
        self.scale = 1.0

    def __call__(self, batch: EpisodeBatch, policy: Any) -> Tensor:
        R = episode_returns(batch)
        loss = reinforce(gammas(batch) * all_to_go(batch) / self.scale, batch, policy)
        self.scale = 0.9 * self.scale + 0.1 * float(R.abs().mean() + 0.1)
        return loss


@right(
    "-log pi of the taken action as an estimate of the entropy: its gradient is zero "
    "in expectation, so the bonus does nothing.",
    "published",
    "taken_action_entropy",
)
def useless_bonus(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy)
    entropy = -lp.sum() / len(batch)
    w = gammas(batch) * all_to_go(batch)
    return -(w * lp).sum() / len(batch) - 0.2 * entropy


@right("Calls backward() itself and returns the number.", "students")
def calls_backward(batch: EpisodeBatch, policy: Any) -> Any:
    loss = reinforce(gammas(batch) * all_to_go(batch), batch, policy)
    loss.backward()
    return loss.item()


@right("Returns the loss with what is logged.", "students")
def with_logs(batch: EpisodeBatch, policy: Any) -> Any:
    loss = reinforce(gammas(batch) * all_to_go(batch), batch, policy)
    return loss, {"return": float(episode_returns(batch).mean())}


# What algorithms document, though it is not the exact gradient. -------------------


@held_out(
    "PyTorch's example: returns standardised inside each episode, gamma^t dropped.",
    "published",
    "standardized",
    algorithm="right",
    also="gamma_dropped",
)
def pytorch_example(batch: EpisodeBatch, policy: Any) -> Any:
    losses = []
    for e in batch:
        G = to_go(e)
        G = (G - G.mean()) / (G.std(unbiased=len(G) > 1) + 1e-7)
        lp = policy(e.observations).log_prob(e.actions)
        losses += [-l * g for l, g in zip(lp, G, strict=True)]
    return torch.stack(losses).sum()


@held_out(
    "A2C with a one-step advantage: mean over steps, gamma^t dropped, entropy bonus.",
    "published",
    "",
    algorithm="right",
    also="gamma_dropped mean_over_steps entropy_bonus learned_critic",
)
def a2c(batch: EpisodeBatch, policy: Any) -> Any:
    dist = policy(batch.observations)
    A = batch.rewards + 0.0
    A = A + batch.gamma * (1 - batch.terminated.float()) * batch.next_values
    A = A - batch.values
    actor = -(dist.log_prob(batch.actions) * A.detach()).mean()
    return actor - 0.01 * dist.entropy().mean()


@held_out(
    "PPO's first mini-batch: GAE, advantages standardised, mean over steps.",
    "published",
    "advantages_standardized",
    "standardized",
    algorithm="right",
    also="gamma_dropped mean_over_steps",
)
def ppo(batch: EpisodeBatch, policy: Any) -> Any:
    adv = torch.zeros(len(batch.rewards))
    last = 0.0
    nonterminal = 1.0 - ends(batch).float()
    for t in reversed(range(len(adv))):
        nv = 0.0 if batch.terminated[t] else batch.next_values[t]
        delta = batch.rewards[t] + batch.gamma * nv - batch.values[t]
        adv[t] = last = delta + batch.gamma * 0.9 * nonterminal[t] * last
    adv = (adv - adv.mean()) / (adv.std() + 1e-8)
    lp = log_prob(batch, policy)
    ratio = torch.exp(lp - lp.detach())
    return torch.max(-adv * ratio, -adv * ratio.clamp(0.8, 1.2)).mean()


@held_out(
    "GRPO: returns standardised over the group of episodes, mean inside each episode.",
    "published",
    "standardized mean_in_episode",
    algorithm="either",
    also="mean_over_steps",
)
def grpo(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)
    A = (R - R.mean()) / (R.std() + 1e-4)
    losses = []
    for e, a in zip(batch, A, strict=True):
        losses.append(-(a * policy(e.observations).log_prob(e.actions)).mean())
    return sum(losses) / len(losses)


@held_out(
    "The textbook's loop with gamma^t left out.",
    "published",
    "gamma_dropped",
    algorithm="right",
)
def textbook(batch: EpisodeBatch, policy: Any) -> Any:
    loss = 0.0
    for e in batch:
        lp = policy(e.observations).log_prob(e.actions)
        for t in range(len(e)):
            G, pw = 0.0, 0
            for r in e.rewards[t:].tolist():
                G, pw = G + e.gamma**pw * r, pw + 1
            loss = loss - lp[t] * G
    return loss / len(batch)


@held_out(
    "A penalty for the distance from the uniform policy is an entropy bonus.",
    "students",
    "entropy_bonus",
    algorithm="right",
)
def kl_to_uniform(batch: EpisodeBatch, policy: Any) -> Any:
    dist = policy(batch.observations)
    uniform = Categorical(logits=torch.zeros_like(dist.logits))
    loss = reinforce(gammas(batch) * all_to_go(batch), batch, policy)
    return loss + 0.1 * kl_divergence(dist, uniform).sum() / len(batch)


@held_out(
    "The mean negative log-likelihood, weighted by the discounted returns.",
    "published",
    "mean_over_steps",
    algorithm="right",
)
def weighted_nll(batch: EpisodeBatch, policy: Any) -> Any:
    logp = policy(batch.observations).logits
    nll = functional.nll_loss(logp, batch.actions, reduction="none")
    return (nll * gammas(batch) * all_to_go(batch)).mean()


# Mistakes of the catalogue, in another form. --------------------------------------


@held_out(
    "nll_loss of probabilities instead of log-probabilities.",
    "students",
    "probability",
    also="gamma_dropped mean_over_steps",
)
def nll_of_probabilities(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    nll = functional.nll_loss(probs, batch.actions, reduction="none")
    return (all_to_go(batch) * nll).mean()


@held_out(
    "Importance weight against the uniform policy, which did not act: pi(a|s) A is the "
    "gradient of the probability.",
    "students",
    "probability",
)
def ratio_to_uniform(batch: EpisodeBatch, policy: Any) -> Any:
    dist = policy(batch.observations)
    lp = dist.log_prob(batch.actions)
    ratio = lp.exp().detach() * dist.logits.shape[-1]
    return -(ratio * gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "Minimises the return, and credits each action with its immediate reward only: "
    "returns are computed, and then the loop runs over the rewards.",
    "published",
    "sign_flipped immediate_reward",
    also="gamma_dropped",
)
def pong_agent(batch: EpisodeBatch, policy: Any) -> Any:
    loss = 0.0
    for p, r in zip(log_prob(batch, policy), batch.rewards, strict=True):
        loss = loss + p * r
    return loss


@held_out(
    "Each action gets the sum of the returns of all steps of its episode.",
    "published",
    "all_pairs",
    also="gamma_dropped",
)
def sum_of_returns(batch: EpisodeBatch, policy: Any) -> Any:
    losses = []
    for e in batch:
        lp = policy(e.observations).log_prob(e.actions)
        losses.append((-lp * to_go(e).sum()).sum())
    return torch.stack(losses).mean()


@held_out(
    "Mean of the log-probabilities of an episode times its return: a mean inside each "
    "episode.",
    "published",
    "mean_in_episode",
)
def mean_log_prob_times_return(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)
    parts = [
        -policy(e.observations).log_prob(e.actions).mean() * r
        for e, r in zip(batch, R, strict=True)
    ]
    return torch.stack(parts).mean()


@held_out(
    "The sum of GAE runs on into the next episode, though the TD errors are masked.",
    "published",
    "return_across_episodes",
    also="gamma_dropped mean_over_steps",
)
def gae_across_episodes(batch: EpisodeBatch, policy: Any) -> Any:
    gae, out = 0.0, []
    for i in reversed(range(len(batch.rewards))):
        gae = gae * batch.gamma * 0.95
        mask = 1.0 - batch.terminated[i].float()
        gae = gae + batch.rewards[i] + batch.gamma * batch.next_values[i] * mask
        gae = gae - batch.values[i]
        out.append(gae)
    return -(torch.stack(out[::-1]) * log_prob(batch, policy)).mean()


@held_out(
    "GAE of which the TD errors bootstrap through terminal states.",
    "published",
    "through_terminal",
    also="gamma_dropped",
)
def gae_through_terminal(batch: EpisodeBatch, policy: Any) -> Any:
    weights = []
    for e in batch:
        a, out = 0.0, []
        for t in reversed(range(len(e))):
            a = e.rewards[t] + e.gamma * (e.next_values[t] + 0.95 * a) - e.values[t]
            out.insert(0, a)
        weights += out
    return reinforce(torch.stack(weights), batch, policy)


@held_out(
    "Values [B, 1] from returns [B], then [B, B] times log-probabilities [B]: each "
    "action is weighted with its return minus the mean value, which may stand; the "
    "mean also divides by the number of steps.",
    "published (a well-known book's A2C)",
    "broadcast_advantage",
    "",
    algorithm="either",
    also="gamma_dropped mean_over_steps broadcast_advantage batch_mean_baseline",
)
def book_broadcast(batch: EpisodeBatch, policy: Any) -> Any:
    value = batch.values.reshape(-1, 1)
    adv = all_to_go(batch) - value
    return -(adv * log_prob(batch, policy)).mean()


@held_out(
    "Log-probabilities [B, 1] meet returns [B].",
    "published",
    "all_pairs",
    also="gamma_dropped mean_over_steps",
)
def unsqueezed(batch: EpisodeBatch, policy: Any) -> Any:
    log_probs = policy(batch.observations).logits.gather(1, batch.actions[:, None])
    return (-log_probs * all_to_go(batch)).mean()


@held_out(
    "log_probs[:, actions] picks for each state the actions of all steps.",
    "students",
    "wrong_gather",
    also="mean_over_steps",
)
def sliced_gather(batch: EpisodeBatch, policy: Any) -> Any:
    log_probs = policy(batch.observations).logits[:, batch.actions]
    return -(gammas(batch) * all_to_go(batch) * log_probs).mean(0).sum() / len(batch)


@held_out(
    "The log-probability of the most likely action, whichever was taken.",
    "students",
    "wrong_gather",
)
def greedy_log_prob(batch: EpisodeBatch, policy: Any) -> Any:
    dist = policy(batch.observations)
    lp = dist.log_prob(dist.probs.argmax(-1))
    return -(gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "The actions were stored one step later than the observations.",
    "students",
    "wrong_gather",
    also="gamma_dropped",
)
def actions_one_late(batch: EpisodeBatch, policy: Any) -> Any:
    lp = policy(batch.observations).log_prob(batch.actions.roll(-1))
    return -(all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "Log-softmax over the steps of the batch.",
    "students",
    "softmax_over_batch",
    also="gamma_dropped mean_over_steps",
)
def wrong_dim(batch: EpisodeBatch, policy: Any) -> Any:
    logp = torch.log_softmax(policy(batch.observations).logits, 0)
    lp = logp[torch.arange(len(logp)), batch.actions]
    return -(lp * all_to_go(batch)).mean()


@held_out(
    "A distribution made of probabilities as logits.",
    "published",
    "double_softmax",
    also="gamma_dropped",
)
def probabilities_as_logits(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    lp = Categorical(logits=probs).log_prob(batch.actions)
    return -(all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "The log-probabilities are bounded below, which stops the gradient of rare "
    "actions.",
    "students",
    "clamped_probability",
)
def bounded_log_prob(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy).clamp(min=-1.0)
    return -(gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "Returns summed forwards in one list for all episodes, with a reset at each end.",
    "students",
    "returns_forward",
    also="gamma_dropped",
)
def forward_sum(batch: EpisodeBatch, policy: Any) -> Any:
    total, out = 0.0, []
    for r, last in zip(batch.rewards.tolist(), ends(batch).tolist(), strict=True):
        total = r + batch.gamma * total
        out.append(total)
        if last:
            total = 0.0
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "The list of all returns of the batch is reversed, but not each episode's.",
    "students",
    "returns_reversed",
    also="gamma_dropped mean_over_steps",
)
def reversed_batch(batch: EpisodeBatch, policy: Any) -> Any:
    G, out = 0.0, []
    for r, last in zip(
        batch.rewards.flip(0).tolist(), ends(batch).flip(0).tolist(), strict=True
    ):
        G = r if last else r + batch.gamma * G
        out.append(G)
    return -(torch.tensor(out) * log_prob(batch, policy)).mean()


@held_out(
    "gamma is 0.99 in the code, whatever the task says.",
    "students",
    "other_gamma",
    also="gamma_dropped",
)
def hard_coded_gamma(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        G, returns = 0.0, []
        for r in e.rewards.flip(0):
            G = r + 0.99 * G
            returns.insert(0, G)
        out.append(torch.stack(returns))
    return reinforce(torch.cat(out), batch, policy)


@held_out(
    "Discounted once instead of once a step: undiscounted up to a factor.",
    "students",
    "other_gamma",
    also="gamma_dropped",
)
def discounted_once(batch: EpisodeBatch, policy: Any) -> Any:
    w = []
    for e in batch:
        w += [e.gamma * e.rewards[t:].sum() for t in range(len(e))]
    return reinforce(torch.stack(w), batch, policy)


@held_out(
    "The whole return of the episode times gamma^t: discounted twice.",
    "students",
    "gamma_twice",
)
def whole_return_times_gamma_t(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)[batch.episode]
    return reinforce(gammas(batch) * R, batch, policy)


@held_out(
    "Centres the log-probabilities instead of the weights: the same as the batch mean "
    "as baseline.",
    "students",
    "batch_mean_baseline",
    algorithm="either",
)
def centred_log_probs(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy)
    w = gammas(batch) * all_to_go(batch)
    return -(w * (lp - lp.mean())).sum() / len(batch)


@held_out(
    "Steps that end an episode are masked out of the loss.",
    "students",
    "last_step_lost",
    also="gamma_dropped",
)
def masked_last_steps(batch: EpisodeBatch, policy: Any) -> Any:
    w = all_to_go(batch) * (~ends(batch)).float()
    return reinforce(w, batch, policy)


@held_out(
    "The value of the state as weight, called the advantage.",
    "students",
    "state_value_weight",
    exact="zero",
    also="gamma_dropped",
)
def value_as_advantage(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(batch.values, batch, policy)


@held_out(
    "Draws actions in the update, and a one-step advantage of the old ones.",
    "students",
    "action_resampled",
    exact="zero",
    also="gamma_dropped mean_over_steps",
)
def sampled_again(batch: EpisodeBatch, policy: Any) -> Any:
    A = batch.rewards + batch.gamma * batch.next_values * ~batch.terminated
    dist = policy(batch.observations)
    return -((A - batch.values) * dist.log_prob(dist.sample())).mean()


@held_out(
    "Rewards as integers: those below 1 vanish.",
    "published",
    "rounded",
    also="gamma_dropped",
)
def integer_rewards(batch: EpisodeBatch, policy: Any) -> Any:
    out, total = torch.zeros(len(batch.rewards), dtype=torch.int64), 0.0
    done = ends(batch)
    for t in reversed(range(len(out))):
        total = batch.rewards[t].item() + batch.gamma * total * (not done[t])
        out[t] = int(total)
    return reinforce(out.float(), batch, policy)


@held_out(
    "One-step TD with the flags of the step before.",
    "students",
    "done_mask_shifted",
    "",
    also="gamma_dropped mean_over_steps done_mask_shifted through_terminal",
)
def td_with_old_flags(batch: EpisodeBatch, policy: Any) -> Any:
    done = torch.cat([torch.ones(1, dtype=torch.bool), ends(batch)[:-1]])
    target = batch.rewards + batch.gamma * batch.next_values * ~done
    return -((target - batch.values) * log_prob(batch, policy)).mean()


@held_out(
    "The next value is that of the next row of the memory, which after an end is the "
    "first state of the next episode.",
    "published (a course's actor-critic)",
    "bootstrap_from_wrong_state",
    also="gamma_dropped mean_over_steps",
)
def next_row_value(batch: EpisodeBatch, policy: Any) -> Any:
    next_values = torch.cat([batch.values[1:], batch.values[-1:]])
    A = batch.rewards + batch.gamma * next_values - batch.values
    return -(A.detach() * log_prob(batch, policy)).mean()


@held_out(
    "Multiplies the entropy of the taken action, -p log p, with the right sign.",
    "published",
    "taken_action_entropy",
    also="gamma_dropped mean_over_steps",
)
def entropy_of_one_action(batch: EpisodeBatch, policy: Any) -> Any:
    p = log_prob(batch, policy).exp()
    return -(all_to_go(batch) * p.log()).mean() - 0.1 * -(p * p.log()).mean()


# Two mistakes at once. ------------------------------------------------------------


@held_out(
    "Probability for log-probability, on standardised returns.",
    "combined",
    "probability standardized",
    also="gamma_dropped mean_over_steps",
)
def probability_standardized(batch: EpisodeBatch, policy: Any) -> Any:
    G = all_to_go(batch)
    G = (G - G.mean()) / (G.std() + 1e-8)
    return -(G * log_prob(batch, policy).exp()).mean()


@held_out(
    "Off by one, and returns that run on into the next episode.",
    "combined",
    "off_by_one return_across_episodes",
    also="gamma_dropped",
)
def late_and_leaking(batch: EpisodeBatch, policy: Any) -> Any:
    G, out = 0.0, []
    for r in batch.rewards.flip(0).tolist():
        out.append(G)
        G = r + batch.gamma * G
    return reinforce(torch.tensor(out[::-1]), batch, policy)


@held_out(
    "The next state's score with the mean of the batch as baseline.",
    "combined",
    "next_state",
    also="gamma_dropped batch_mean_baseline mean_over_steps",
)
def next_state_centred(batch: EpisodeBatch, policy: Any) -> Any:
    G = all_to_go(batch)
    lp = policy(batch.next_observations).log_prob(batch.actions)
    return -((G - G.mean()) * lp).mean()


@held_out(
    "Reversed returns and a flipped sign.",
    "combined",
    "returns_reversed sign_flipped",
    also="gamma_dropped",
)
def reversed_and_flipped(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        out.append(to_go(e).flip(0))
    return (torch.cat(out) * log_prob(batch, policy)).sum() / len(batch)


@held_out(
    "Immediate rewards, standardised, with a bonus of the wrong sign.",
    "combined",
    "immediate_reward entropy_sign",
    "immediate_reward entropy_sign rewards_standardized",
    also="gamma_dropped mean_over_steps standardized",
)
def standardized_rewards_and_entropy(batch: EpisodeBatch, policy: Any) -> Any:
    r = (batch.rewards - batch.rewards.mean()) / (batch.rewards.std() + 1e-8)
    dist = policy(batch.observations)
    loss = -(r * dist.log_prob(batch.actions)).mean()
    return loss + 0.05 * dist.entropy().mean()


@held_out(
    "A mean inside each episode of returns minus the episode's own mean.",
    "combined",
    "mean_in_episode episode_mean_baseline",
    also="gamma_dropped",
)
def own_mean_twice(batch: EpisodeBatch, policy: Any) -> Any:
    parts = []
    for e in batch:
        G = to_go(e)
        lp = policy(e.observations).log_prob(e.actions)
        parts.append(-((G - G.mean()) * lp).mean())
    return torch.stack(parts).mean()


# Mistakes without a name. ---------------------------------------------------------


@held_out(
    "The list is reversed inside the loop, so that the returns are interleaved.",
    "published (a cookbook's policy gradient)",
)
def reversed_in_the_loop(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        total, returns = 0.0, []
        for r in e.rewards.flip(0).tolist():
            total = r + e.gamma * total
            returns.append(total)
            returns.reverse()
        out += returns
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "Each slot holds the reward before its observation: the first action gets one "
    "that it did not cause, the last reward is lost.",
    "published (a well-known library, fixed since)",
    "last_step_lost",
    also="gamma_dropped",
)
def rewards_one_late(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        shifted = torch.cat([torch.zeros(1), e.rewards[:-1]])
        total, returns = 0.0, []
        for r in shifted.flip(0).tolist():
            total = r + e.gamma * total
            returns.insert(0, total)
        out += returns
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "Pong's reset of the sum at each reward, in a task whose rewards are no ends of "
    "rallies: the next reward only.",
    "published",
    "immediate_reward",
    "",
    also="gamma_dropped immediate_reward",
)
def reset_at_rewards(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        total, returns = 0.0, []
        for r in e.rewards.flip(0).tolist():
            total = r if r != 0 else r + e.gamma * total
            returns.insert(0, total)
        out += returns
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "A constant is added in the recursion: it rewards every further step.",
    "published",
    also="gamma_dropped",
)
def constant_in_recursion(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        R, returns = 0.0, []
        for r in e.rewards.flip(0).tolist():
            R = r + e.gamma * R + 0.3
            returns.insert(0, R)
        out += returns
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "Squared distance of probabilities and the taken action, weighted by the return.",
    "published (a question about a game)",
    "squared_error",
)
def squared_error(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    one_hot = functional.one_hot(batch.actions, probs.shape[-1]).float()
    error = ((one_hot - probs) ** 2).sum(-1)
    return (gammas(batch) * all_to_go(batch) * error).sum() / len(batch)


@held_out(
    "One-hot action minus probabilities, summed over actions: identically zero.",
    "published (a question about a game)",
    exact="zero",
)
def difference_of_probabilities(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    one_hot = functional.one_hot(batch.actions, probs.shape[-1]).float()
    return ((one_hot - probs) * all_to_go(batch)[:, None]).sum()


@held_out(
    "Mean and deviation of the first episode standardise all.",
    "published (a bug of a training pipeline, fixed since)",
    also="gamma_dropped",
)
def first_episode_statistics(batch: EpisodeBatch, policy: Any) -> Any:
    first = to_go(batch[0])
    std = first.std(unbiased=False) + 0.1
    return reinforce((all_to_go(batch) - first.mean()) / std, batch, policy)


@held_out(
    "The value of the next state as baseline: it depends on the action.",
    "students",
    "next_value_baseline",
)
def next_value_baseline(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(
        gammas(batch) * (all_to_go(batch) - batch.next_values), batch, policy
    )


@held_out("Returns divided by the largest of the batch.", "students", "scaled_by_batch")
def divided_by_maximum(batch: EpisodeBatch, policy: Any) -> Any:
    G = all_to_go(batch)
    return reinforce(gammas(batch) * G / (G.abs().max() + 1e-8), batch, policy)


@held_out(
    "Returns scaled to [0, 1] over the batch.", "published", also="mean_over_steps"
)
def min_max(batch: EpisodeBatch, policy: Any) -> Any:
    G = all_to_go(batch)
    G = (G - G.min()) / (G.max() - G.min() + 1e-8)
    return -(gammas(batch) * G * log_prob(batch, policy)).mean()


@held_out("Ranks of the returns in place of the returns.", "published")
def ranks(batch: EpisodeBatch, policy: Any) -> Any:
    G = all_to_go(batch)
    rank = G.argsort().argsort().float() / len(G) - 0.5
    return reinforce(gammas(batch) * rank, batch, policy)


@held_out("Returns clipped to [-0.5, 0.5].", "students")
def clipped_returns(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(gammas(batch) * all_to_go(batch).clamp(-0.5, 0.5), batch, policy)


@held_out("A squashed return.", "students", also="gamma_dropped")
def squashed(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(torch.tanh(2 * all_to_go(batch)), batch, policy)


@held_out("The sign of each reward, as in DQN.", "published", also="gamma_dropped")
def reward_signs(batch: EpisodeBatch, policy: Any) -> Any:
    out = []
    for e in batch:
        total, returns = 0.0, []
        for r in e.rewards.sign().flip(0).tolist():
            total = r + e.gamma * total
            returns.insert(0, total)
        out += returns
    return reinforce(torch.tensor(out), batch, policy)


@held_out(
    "The size of the advantage without its sign.", "students", "advantage_sign_lost"
)
def absolute_advantage(batch: EpisodeBatch, policy: Any) -> Any:
    A = all_to_go(batch) - batch.values
    return reinforce(gammas(batch) * A.abs(), batch, policy)


@held_out("Positive advantages only: bad actions are never punished.", "students")
def positive_advantages(batch: EpisodeBatch, policy: Any) -> Any:
    A = all_to_go(batch) - batch.values
    return reinforce(gammas(batch) * A.relu(), batch, policy)


@held_out(
    "Imitates the better half of the episodes.", "published (cross-entropy method)"
)
def elite_episodes(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)
    elite = (R >= R.median()).float()[batch.episode]
    return -(elite * log_prob(batch, policy)).mean()


@held_out("Weights exp(A), as advantage-weighted regression.", "published")
def exponential_weights(batch: EpisodeBatch, policy: Any) -> Any:
    A = all_to_go(batch) - batch.values
    return reinforce(gammas(batch) * torch.exp(2 * A), batch, policy)


@held_out("Discounts from the end: early rewards count least.", "students")
def discounted_backwards(batch: EpisodeBatch, policy: Any) -> Any:
    w = []
    for e in batch:
        d = e.gamma ** torch.arange(len(e)).flip(0)
        w.append((d * e.rewards).flip(0).cumsum(0).flip(0))
    return reinforce(torch.cat(w), batch, policy)


@held_out("All episodes are cut to the length of the shortest.", "students")
def cut_to_shortest(batch: EpisodeBatch, policy: Any) -> Any:
    n = min(batch.lengths)
    loss = 0.0
    for e in batch:
        lp = policy(e.observations[:n]).log_prob(e.actions[:n])
        G = (e.gamma ** e.time[:n] * e.rewards[:n]).flip(0).cumsum(0).flip(0)
        loss = loss - (G * lp).sum()
    return loss / len(batch)


@held_out(
    "A mean over the padded matrix: divides by the longest episode.",
    "students",
    "gradient_clipped",
    small=True,
)
def mean_over_padding(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(
        gammas(batch) * all_to_go(batch) / max(batch.lengths), batch, policy
    )


@held_out(
    "The return of the step before, through lists of unequal lengths.", "students"
)
def returns_one_late(batch: EpisodeBatch, policy: Any) -> Any:
    lp, G = log_prob(batch, policy), all_to_go(batch)
    return -sum(l * g for l, g in zip(lp[1:], G[:-1], strict=True)) / len(batch)


@held_out("Its own episode's return as baseline.", "students", also="gamma_dropped")
def own_return_baseline(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)[batch.episode]
    return reinforce(all_to_go(batch) - R, batch, policy)


@held_out("The best return of the batch as baseline.", "students")
def best_of_batch(batch: EpisodeBatch, policy: Any) -> Any:
    R = episode_returns(batch)
    return reinforce((R - R.max())[batch.episode], batch, policy)


@held_out("Two rewards without a value after them.", "students", also="gamma_dropped")
def two_rewards(batch: EpisodeBatch, policy: Any) -> Any:
    following = torch.cat([batch.rewards[1:], torch.zeros(1)])
    w = batch.rewards + batch.gamma * torch.where(ends(batch), 0.0, following)
    return reinforce(w, batch, policy)


@held_out(
    "Entropy as a part of the reward: the objective of soft policies, without their "
    "gradient of the reward.",
    "published",
    algorithm="either",
)
def soft_rewards(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy)
    r = batch.rewards - 0.3 * lp.detach()
    out, total, done = [], 0.0, ends(batch).tolist()
    for reward, last in zip(r.flip(0).tolist(), done[::-1], strict=True):
        total = reward + (0.0 if last else batch.gamma * total)
        out.append(total)
    w = gammas(batch) * torch.tensor(out[::-1])
    return -(w * lp).sum() / len(batch)


@held_out("Weight decay in the loss.", "students")
def weight_decay(batch: EpisodeBatch, policy: Any) -> Any:
    penalty = sum((p**2).sum() for p in policy.parameters())
    return reinforce(gammas(batch) * all_to_go(batch), batch, policy) + 0.02 * penalty


@held_out("Label smoothing.", "students")
def label_smoothing(batch: EpisodeBatch, policy: Any) -> Any:
    nll = functional.cross_entropy(
        policy(batch.observations).logits,
        batch.actions,
        reduction="none",
        label_smoothing=0.2,
    )
    return (gammas(batch) * all_to_go(batch) * nll).sum() / len(batch)


@held_out("A temperature in the update that did not act.", "students")
def temperature(batch: EpisodeBatch, policy: Any) -> Any:
    logits = policy(batch.observations).logits / 2.5
    lp = torch.log_softmax(logits, -1).gather(1, batch.actions[:, None])[:, 0]
    return -(gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out(
    "The log-probability of an epsilon-greedy mixture that did not act.",
    "students",
    "clamped_probability",
    "",
    also="clamped_probability",
)
def mixed_with_uniform(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    mixed = 0.8 * probs + 0.2 / probs.shape[-1]
    lp = mixed.gather(1, batch.actions[:, None])[:, 0].log()
    return -(gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out("Learns from the longest episode of the batch only.", "students")
def longest_episode(batch: EpisodeBatch, policy: Any) -> Any:
    index = max(range(len(batch)), key=lambda i: batch.lengths[i])
    keep = (batch.episode == index).float()
    return reinforce(keep * gammas(batch) * all_to_go(batch), batch, policy)


@right(
    "Collects until a number of steps is reached and drops the episode that crosses "
    "it. It looks like a preference for short episodes, but the first is always kept, "
    "the episodes that are kept are exchangeable, and the mean is over those.",
    "published",
)
def up_to_n_steps(batch: EpisodeBatch, policy: Any) -> Any:
    used, episodes = 0, []
    for e in batch:
        if used + len(e) > 12:
            break
        used += len(e)
        episodes.append(e)
    episodes = episodes or [batch[0]]
    w = torch.cat([e.gamma**e.time * to_go(e) for e in episodes])
    lp = torch.cat([policy(e.observations).log_prob(e.actions) for e in episodes])
    return -(w * lp).sum() / len(episodes)


@held_out("Returns divided by the length of what remains.", "students")
def mean_to_go(batch: EpisodeBatch, policy: Any) -> Any:
    left = torch.tensor(batch.lengths)[batch.episode] - batch.time
    return reinforce(gammas(batch) * all_to_go(batch) / left, batch, policy)


# Nonsense. ------------------------------------------------------------------------


@held_out("Observations shuffled without their actions.", "nonsense")
def shuffled_observations(batch: EpisodeBatch, policy: Any) -> Any:
    order = torch.randperm(len(batch.actions))
    lp = policy(batch.observations[order]).log_prob(batch.actions)
    return -(gammas(batch) * all_to_go(batch) * lp).sum() / len(batch)


@held_out("Random weights.", "nonsense", exact="zero")
def random_weights(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(torch.randn(len(batch.actions)), batch, policy)


@held_out("The index of the action as weight.", "nonsense")
def action_index(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(batch.actions.float(), batch, policy)


@held_out("The step in the episode as weight.", "nonsense", exact="zero")
def time_as_weight(batch: EpisodeBatch, policy: Any) -> Any:
    return reinforce(batch.time.float(), batch, policy)


@held_out("The reward times the probability times its own logarithm.", "nonsense")
def reward_entropy(batch: EpisodeBatch, policy: Any) -> Any:
    dist = policy(batch.observations)
    return -(batch.rewards * dist.entropy() * dist.log_prob(batch.actions)).mean()


@held_out("The return squared, with the sign of the last reward.", "nonsense")
def squared_return(batch: EpisodeBatch, policy: Any) -> Any:
    sign = torch.stack([e.rewards[-1].sign() for e in batch])[batch.episode]
    return reinforce(sign * all_to_go(batch) ** 2, batch, policy)


@held_out("Imitates itself: no return at all.", "nonsense", "no_return", exact="zero")
def imitation(batch: EpisodeBatch, policy: Any) -> Any:
    logits = policy(batch.observations).logits
    return functional.cross_entropy(logits, batch.actions, reduction="sum")


@held_out(
    "The parameters do not matter: the loss is detached.", "nonsense", exact="cannot"
)
def detached(batch: EpisodeBatch, policy: Any) -> Any:
    lp = log_prob(batch, policy).detach().requires_grad_()
    return -(all_to_go(batch) * lp).mean()


@held_out(
    "A logarithm of a probability that was rounded: minus infinity.",
    "nonsense",
    exact="cannot",
)
def infinite(batch: EpisodeBatch, policy: Any) -> Any:
    probs = policy(batch.observations).probs
    p = torch.where(probs > 0.5, probs, 0 * probs).gather(1, batch.actions[:, None])
    return -(all_to_go(batch) * p[:, 0].log()).mean()
