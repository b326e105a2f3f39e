"""The well-known mistakes: what each is called, does, and looks like in code."""

from __future__ import annotations

from dataclasses import dataclass

from pg_agents.checker import estimators as e
from pg_agents.checker.estimators import Estimator


@dataclass(frozen=True)
class Mistake:
    """A known way of getting the policy gradient wrong.

    Attributes:
        key: short name, such as `"sign_flipped"`.
        title: the same for people.
        explanation: what happens, and how much it matters.
        wrong: the line of code that makes it.
        right: the line that mends it.
        estimators: the gradients it leads to, one for each way of making it; none for
            those that are recognised in another way.
        at_truncation: whether it shows only where the time limit is no part of the
            task.
    """

    key: str
    title: str
    explanation: str
    wrong: str
    right: str
    estimators: tuple[Estimator, ...] = ()
    at_truncation: bool = False


CATALOGUE = (
    Mistake(
        "probability",
        "probability instead of log-probability",
        "The score function is the gradient of the logarithm. Without it every action "
        "counts pi(a|s) times as much: likely actions are reinforced for being likely, "
        "and an action that is never tried is never learnt.",
        "loss = -(returns * policy(obs).probs.gather(1, a[:, None])[:, 0]).sum()",
        "loss = -(returns * policy(obs).log_prob(a)).sum()",
        (e.probability,),
    ),
    Mistake(
        "sign_flipped",
        "sign flipped",
        "Optimisers descend. The return is to rise, so the loss is minus return times "
        "log-probability; with a plus the policy learns to fail.",
        "loss = (returns * log_prob).sum()",
        "loss = -(returns * log_prob).sum()",
        (e.flipped,),
    ),
    Mistake(
        "off_by_one",
        "reward-to-go off by one",
        "The reward that follows an action is the first it can be praised for. Started "
        "one step later, the last action of an episode, often the one that mattered, "
        "is worth nothing.",
        "returns[t] = G; G = rewards[t] + gamma * G",
        "G = rewards[t] + gamma * G; returns[t] = G",
        (e.off_by_one,),
    ),
    Mistake(
        "next_state",
        "next state stored instead of the state",
        "The action was chosen in the state before it. Paired with the state after it, "
        "it is reinforced in a place where it was not taken.",
        "log_prob = policy(batch.next_observations).log_prob(batch.actions)",
        "log_prob = policy(batch.observations).log_prob(batch.actions)",
        (e.next_state,),
    ),
    Mistake(
        "gamma_dropped",
        "gamma^t dropped",
        "The gradient of the discounted return weights step t by gamma^t. Almost "
        "everybody leaves that out, which weights late steps 1/gamma^t too much: a "
        "good direction in practice, but the gradient of no objective.",
        "loss = -(returns * log_prob).sum()",
        "loss = -(gamma**t * returns * log_prob).sum()",
        (),
    ),
    Mistake(
        "gamma_twice",
        "gamma^t applied twice",
        "Rewards discounted from the start of the episode hold gamma^t already. "
        "Weighting the step by gamma^t again makes late steps count for too little.",
        "weight[t] = gamma**t * sum(gamma**k * rewards[k] for k in range(t, T))",
        "weight[t] = gamma**t * sum(gamma**(k - t) * rewards[k] for k in range(t, T))",
        (e.gamma_twice,),
    ),
    Mistake(
        "mean_over_steps",
        "mean over steps instead of episodes",
        "A return is summed over an episode, and averaged over episodes. A mean over "
        "all steps divides by the lengths of the very episodes it weighs: long ones "
        "count for less.",
        "loss = -(returns * log_prob).mean()",
        "loss = -(returns * log_prob).sum() / n_episodes",
        (e.mean_over_steps,),
    ),
    Mistake(
        "batch_mean_baseline",
        "batch-mean baseline",
        "A return compared with a mean that it is part of is compared with itself as "
        "well. At the same time step of N episodes that takes exactly 1/N of the "
        "gradient away; the direction stays.",
        "advantage = returns - returns.mean(dim=0)",
        "advantage = (returns - returns.mean(dim=0)) * N / (N - 1)",
        (e.mean_per_time, e.mean_of_all, e.mean_of_starts),
    ),
    Mistake(
        "standardized",
        "returns standardised",
        "Mean and deviation come from the data that they are applied to, and steps "
        "early and late are measured by one scale. It steadies the step size, and it "
        "is not a gradient.",
        "returns = (returns - returns.mean()) / (returns.std() + 1e-8)",
        "scale the rewards by a constant, or the step size",
        (
            e.standardized_in_batch,
            e.standardized_in_episode,
            e.standardized_and_averaged,
        ),
    ),
    Mistake(
        "rounded",
        "returns rounded to integers",
        "A return below one becomes nothing, and all between become equal. It comes "
        "from an integer array, or a cast that was meant for the actions.",
        "returns = torch.tensor(returns, dtype=torch.long)",
        "returns = torch.tensor(returns, dtype=torch.float32)",
        (e.cut_to_integers, e.rounded),
    ),
    Mistake(
        "through_terminal",
        "bootstrapping through a terminal state",
        "Nothing follows the end of an episode. A target that adds the value of what "
        "was seen there credits the last action with a future that never comes.",
        "target = rewards + gamma * next_values",
        "target = rewards + gamma * next_values * ~terminated",
        (e.td_through_the_end, e.return_through_the_end),
    ),
    Mistake(
        "no_bootstrap_at_truncation",
        "no bootstrap at a truncation",
        "A time limit that is no part of the task cuts the data, not the future. Taken "
        "for an end, it makes the actions before it look worse than they are.",
        "target = rewards + gamma * next_values * ~(terminated | truncated)",
        "target = rewards + gamma * next_values * ~terminated",
        (e.td_without_truncation, e.return_without_truncation),
        at_truncation=True,
    ),
    Mistake(
        "first_finished",
        "first N finished episodes",
        "Of episodes that run side by side, those that finish first are the short "
        "ones. Stopping once N are done leaves the long ones out.",
        "batch = sorted(episodes, key=finishing_time)[:N]",
        "batch = [e for e in episodes if e.index_in_env < n_episodes_per_env]",
        (e.first_finished,),
    ),
    Mistake(
        "replay",
        "replay without correction",
        "The expectation is over what the present policy does. Episodes of an earlier "
        "one, learnt from again as they are, give the gradient of a mixture.",
        "loss = policy_gradient_loss(memory.sample(256))",
        "weight each step by pi(a|s) / pi_old(a|s), or learn from new episodes alone",
    ),
    Mistake(
        "entropy_sign",
        "entropy bonus with the wrong sign",
        "The entropy is to be kept high, so it is subtracted from the loss. Added, it "
        "makes the policy certain before it knows anything.",
        "loss = policy_loss + ent_coef * entropy",
        "loss = policy_loss - ent_coef * entropy",
    ),
)

MISTAKES = {mistake.key: mistake for mistake in CATALOGUE}
