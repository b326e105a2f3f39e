"""Common mistakes in policy gradients: the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mistake:
    """A common mistake in the policy gradient.

    Attributes:
        key: identifier, such as `"sign_flipped"`.
        title: display name.
        explanation: its effect, and how much it matters.
        wrong: code that makes the mistake.
        right: the corrected code.
        at_truncation: whether it only has an effect if the time limit is not part of
            the task.
        kind: `"departure"` if it changes the gradient but common algorithms document
            it, `"no gradient"` if the gradient is zero in expectation, `"warning"` if
            the expectation keeps its direction, and only data are wasted or noise is
            added.
    """

    key: str
    title: str
    explanation: str
    wrong: str
    right: str
    at_truncation: bool = False
    kind: Literal["mistake", "departure", "no gradient", "warning"] = "mistake"


CATALOGUE = (
    Mistake(
        "probability",
        "probability instead of log-probability",
        "The score function is the gradient of the log-probability. The gradient of "
        "the probability weights each action by pi(a|s): likely actions are reinforced "
        "for being likely, and unlikely ones are hardly learnt.",
        "loss = -(returns * policy(obs).probs.gather(1, a[:, None])[:, 0]).sum()",
        "loss = -(returns * policy(obs).log_prob(a)).sum()",
    ),
    Mistake(
        "logit",
        "logit instead of log-probability",
        "The logit of an action is its log-probability only after the log-softmax. "
        "Without it the other actions are not pushed down when one is raised, and "
        "logits drift: with positive returns all of them grow.",
        "log_prob = net(obs).gather(1, a[:, None])[:, 0]",
        "log_prob = F.log_softmax(net(obs), -1).gather(1, a[:, None])[:, 0]",
    ),
    Mistake(
        "p_log_p",
        "p log p instead of log p",
        "The probability times its logarithm belongs to an entropy. Its gradient is "
        "pi (1 + log pi) times the score: it changes sign where pi is below 1/e, so "
        "rare actions are lowered when they earn something.",
        "loss = -(returns * log_prob.exp() * log_prob).sum()",
        "loss = -(returns * log_prob).sum()",
    ),
    Mistake(
        "inverse_probability",
        "score divided by the probability",
        "1 / pi(a|s) corrects for actions that were drawn uniformly. Actions that are "
        "drawn from the policy need no correction: with the weight each action counts "
        "as if it were as frequent as the others.",
        "loss = -(returns / probs.detach() * log_prob).sum()",
        "loss = -(returns * log_prob).sum()",
    ),
    Mistake(
        "sign_flipped",
        "sign flipped",
        "Optimisers minimise, so the loss is minus the return times the "
        "log-probability. Without the minus sign the policy learns to minimise the "
        "return.",
        "loss = (returns * log_prob).sum()",
        "loss = -(returns * log_prob).sum()",
    ),
    Mistake(
        "next_state",
        "next state stored instead of the state",
        "The action was chosen in the state before it. Paired with the next state, it "
        "is reinforced in a state where it was not taken.",
        "log_prob = policy(batch.next_observations).log_prob(batch.actions)",
        "log_prob = policy(batch.observations).log_prob(batch.actions)",
    ),
    Mistake(
        "all_actions",
        "log-probabilities of all actions",
        "Only the action that was taken earned the return. Without the gather, all "
        "actions are pushed alike, which moves the policy towards or away from the "
        "uniform one.",
        "loss = -(returns[:, None] * log_probs).sum()  # [B, A]",
        "loss = -(returns * log_probs.gather(1, a[:, None])[:, 0]).sum()",
    ),
    Mistake(
        "wrong_gather",
        "log-probability of the wrong action",
        "An index that is off, a sorted or permuted list of actions, or a "
        "fixed column picks the log-probability of an action that was not taken.",
        "log_prob = log_probs[:, 0]",
        "log_prob = log_probs.gather(1, a[:, None])[:, 0]",
    ),
    Mistake(
        "action_resampled",
        "action drawn again in the update",
        "A new action has nothing to do with the return that the old one earned. Its "
        "score has mean 0, and nothing is learnt.",
        "dist = policy(obs); loss = -(returns * dist.log_prob(dist.sample())).sum()",
        "dist = policy(obs); loss = -(returns * dist.log_prob(a)).sum()",
        kind="no gradient",
    ),
    Mistake(
        "double_softmax",
        "softmax applied twice",
        "cross_entropy and Categorical(logits=...) apply a softmax themselves. Given "
        "probabilities they compute a flatter policy than the one that acted, "
        "whose gradient vanishes where the policy is sure. If the policy acts from it, "
        "too, nothing is biased, but no action can become nearly certain.",
        "loss = (returns * F.cross_entropy(probs, a, reduction='none')).sum()",
        "loss = (returns * F.nll_loss(probs.log(), a, reduction='none')).sum()",
    ),
    Mistake(
        "squared_error",
        "squared error instead of the log-likelihood",
        "The squared distance between probabilities and the action that was taken has "
        "its own gradient: small where an action is nearly certain or nearly "
        "impossible, and not zero on average for a return that is the same for all "
        "actions.",
        "loss = (returns * ((probs - one_hot) ** 2).sum(-1)).sum()",
        "loss = -(returns * F.log_softmax(logits, -1)[range(B), a]).sum()",
    ),
    Mistake(
        "softmax_over_batch",
        "softmax over the batch",
        "With dim=0 the probabilities sum to 1 over the states of the batch instead of "
        "over the actions. With a single state in the batch every action has "
        "probability 1.",
        "log_probs = F.log_softmax(logits, dim=0)",
        "log_probs = F.log_softmax(logits, dim=-1)",
    ),
    Mistake(
        "binary_cross_entropy",
        "binary cross-entropy instead of the log-likelihood",
        "Binary cross-entropy treats each action as a separate yes-no decision and adds"
        " log(1 - pi(b|s)) for all actions b that were not taken. Its gradient is not "
        "the score function, and its mean is not zero for a return that is the same for"
        " all actions. With two actions it is twice the log-likelihood, and right.",
        "loss = (F.binary_cross_entropy(probs, one_hot, ...).sum(-1) * returns).sum()",
        "loss = (F.cross_entropy(logits, a, reduction='none') * returns).sum()",
    ),
    Mistake(
        "clamped_probability",
        "logarithm of a clamped probability",
        "The clamp that protects the logarithm has no gradient outside its bounds: an "
        "action whose probability has left them is never learnt again. A constant that "
        "is added instead weakens rare actions.",
        "log_prob = torch.log(probs.clamp(0.1, 0.9))",
        "log_prob = F.log_softmax(logits, dim=-1)",
    ),
    Mistake(
        "clipped_action",
        "log-probability of the clipped action",
        "Clipping an action to the bounds belongs to the environment. The "
        "log-probability is that of the action as it was drawn; at the bounds the "
        "clipped one has another.",
        "action = dist.sample().clamp(-1, 1); log_prob = dist.log_prob(action)",
        "action = dist.sample(); log_prob = dist.log_prob(action)",
    ),
    Mistake(
        "other_deviation",
        "log-probability with another deviation",
        "The actions are drawn with one standard deviation, and their log-probability "
        "is computed with another, such as the variance in its place. The score then "
        "belongs to another distribution, and its mean is no longer 0.",
        "log_prob = Normal(mean, std**2).log_prob(action)",
        "log_prob = Normal(mean, std).log_prob(action)  # the one that acted",
    ),
    Mistake(
        "action_not_detached",
        "log-probability of an action that carries a gradient",
        "rsample() draws an action that depends on the parameters. The gradient of its "
        "log-probability then runs through the action as well. For the mean of a "
        "Gaussian the two parts cancel, so that it is never learnt, and the deviation "
        "follows the size of the return, whichever action earned it.",
        "action = dist.rsample(); log_prob = dist.log_prob(action)",
        "action = dist.sample(); log_prob = dist.log_prob(action)",
    ),
    Mistake(
        "no_return",
        "no return in the loss",
        "Without the return the loss only makes likely what was done, whatever came of "
        "it. On the policy's own actions the mean of that gradient is zero.",
        "loss = F.cross_entropy(logits, actions)",
        "loss = (returns * F.cross_entropy(logits, a, reduction='none')).sum()",
        kind="no gradient",
    ),
    Mistake(
        "off_by_one",
        "reward-to-go off by one",
        "The first reward that an action can influence is r_t. If the return starts "
        "one step later, the last action of an episode, often the decisive one, gets "
        "no credit.",
        "returns[t] = G; G = rewards[t] + gamma * G",
        "G = rewards[t] + gamma * G; returns[t] = G",
    ),
    Mistake(
        "immediate_reward",
        "immediate reward only",
        "An action is responsible for all rewards that follow it, not just the next "
        "one. With r_t as weight the policy becomes greedy: it never gives up a "
        "small reward now for a large one later. The usual cause is a loop over the "
        "list of rewards after the returns were computed.",
        "for log_prob, r in zip(log_probs, rewards): loss -= log_prob * r",
        "for log_prob, G in zip(log_probs, returns): loss -= log_prob * G",
    ),
    Mistake(
        "returns_forward",
        "rewards so far instead of rewards to come",
        "Summed forwards, the weight of step t holds the rewards up to t. The earlier "
        "ones do not depend on the action and only add noise; the later ones are "
        "missing. In expectation only the immediate reward remains.",
        "returns = rewards.cumsum(0)",
        "returns = rewards.flip(0).cumsum(0).flip(0)",
    ),
    Mistake(
        "returns_reversed",
        "returns in reversed order",
        "Computed from the end backwards and appended, the returns are in the order "
        "last to first. Without reversing them the first action gets the return of the "
        "last step.",
        "for r in reversed(rewards): G = r + gamma * G; returns.append(G)",
        "for r in reversed(rewards): G = r + gamma * G; returns.insert(0, G)",
    ),
    Mistake(
        "return_across_episodes",
        "returns not reset between episodes",
        "The running sum must start at 0 for each episode. In a list of several "
        "episodes or workers, or if the variable keeps its value from the update "
        "before, the last steps of an episode are credited with the rewards of "
        "another one.",
        "for r in reversed(rewards): G = r + gamma * G",
        "for r, done in reversed(steps): G = r + gamma * G * (not done)",
    ),
    Mistake(
        "earlier_rewards",
        "rewards of earlier episodes in the return",
        "The list of rewards is not cleared between the episodes of an update, so that "
        "each episode's return contains those of the episodes before. Its actions "
        "have no effect on them: the direction of the expected gradient stays, but "
        "the noise grows with the number of episodes.",
        "if done: weights += [sum(rewards)] * length",
        "if done: weights += [sum(rewards)] * length; rewards = []",
        kind="warning",
    ),
    Mistake(
        "return_across_workers",
        "returns summed across environments",
        "In a flattened rollout [T, N] consecutive rows belong to different "
        "environments. A sum over consecutive rows mixes their rewards.",
        "for r in reversed(rewards.flatten()): G = r + gamma * G",
        "for r in reversed(rewards): G = r + gamma * G  # r: [N]",
    ),
    Mistake(
        "reset_steps",
        "resets learnt from as steps",
        "Under next-step autoreset the step after an end resets the environment and "
        "ignores the action. Its row has no effect on what follows, and the loss "
        "reinforces an action that was never executed. Vector loops of well-known "
        "implementations do so.",
        "loss = -(advantage * log_prob).mean()",
        "loss = -(advantage * log_prob)[~after_end].mean()",
        kind="departure",
    ),
    Mistake(
        "first_step_lost",
        "first step lost",
        "A loop that starts at 1, or that needs a previous state, leaves out the first "
        "action of each episode.",
        "for t in range(1, T): loss -= returns[t] * log_prob[t]",
        "for t in range(T): loss -= returns[t] * log_prob[t]",
    ),
    Mistake(
        "one_step_only",
        "one step of each episode only",
        "The loss is assigned in the loop instead of added up, so that the last "
        "iteration is all that is learnt from.",
        "for t in range(T): loss = -returns[t] * log_prob[t]",
        "for t in range(T): loss += -returns[t] * log_prob[t]",
    ),
    Mistake(
        "one_episode_only",
        "one episode of the update only",
        "The loss is assigned in the loop over episodes instead of added up, or the "
        "gradients of the others are zeroed. The expected gradient has the right "
        "direction, but all episodes of the update except one are wasted.",
        "for episode in batch: loss = loss_of(episode)",
        "for episode in batch: loss += loss_of(episode)",
        kind="warning",
    ),
    Mistake(
        "one_environment_only",
        "one environment only",
        "An index that is left over from a single environment drops the data of all "
        "others. The gradient is right, but costs N times as many steps.",
        "loss = -(advantage * log_prob)[:, 0].mean()",
        "loss = -(advantage * log_prob).mean()",
        kind="warning",
    ),
    Mistake(
        "unfinished_dropped",
        "unfinished episodes dropped",
        "Steps of episodes that the end of the rollout cuts off are not learnt from. "
        "Long episodes are cut off more often, so short ones are over-represented.",
        "batch = [e for e in episodes if e.done]",
        "collect whole episodes, or bootstrap where the rollout ends",
        kind="departure",
    ),
    Mistake(
        "late_window",
        "updates one step late",
        "Each update uses the steps up to the one before the last. The last one is used"
        " by the next update, and was drawn from the policy before this one.",
        "if len(memory) > n_steps: update(memory[:-1])",
        "if len(memory) == n_steps: update(memory)",
        kind="departure",
    ),
    Mistake(
        "last_step_lost",
        "last step lost",
        "A loop that stops one step early, a transition that is stored only if the "
        "episode goes on, or a last reward that is dropped or set to 0 loses what the "
        "last action earned: often the only reward of the episode.",
        "if not done: memory.append((obs, action, reward))",
        "memory.append((obs, action, reward))",
    ),
    Mistake(
        "done_mask_shifted",
        "done mask off by one",
        "done[t] says that step t ended the episode, so it cuts what follows step t. "
        "Taken from the step before or after, it cuts the sum at the wrong step and "
        "lets it run on into the next episode.",
        "G = rewards[t] + gamma * G * (1 - done[t - 1])",
        "G = rewards[t] + gamma * G * (1 - done[t])",
    ),
    Mistake(
        "other_gamma",
        "returns discounted with another gamma",
        "The rewards have to be discounted with the gamma of the objective. A "
        "discount that is written into the code, or forgotten (gamma = 1), gives the "
        "gradient of another objective: distant rewards count too much or too little.",
        "G = rewards[t] + 0.99 * G  # or without a factor, while gamma is 0.9",
        "G = rewards[t] + gamma * G",
    ),
    Mistake(
        "gamma_dropped",
        "gamma^t dropped",
        "The gradient of the discounted return weights step t by gamma^t. Most "
        "implementations drop this factor, which overweights step t by 1/gamma^t: a "
        "good direction in practice, but not the gradient of any objective.",
        "loss = -(returns * log_prob).sum()",
        "loss = -(gamma**t * returns * log_prob).sum()",
        kind="departure",
    ),
    Mistake(
        "discount_across_episodes",
        "discount not reset between episodes",
        "t counts the steps of the episode. If it runs on through the batch, gamma^t "
        "weights each later episode less: the direction stays, for it says nothing "
        "about the episode, but most of the data is wasted.",
        "discounts = gamma ** torch.arange(n_steps_of_batch)",
        "discounts = gamma ** step_in_episode",
        kind="warning",
    ),
    Mistake(
        "discount_not_reset",
        "discount not reset between returns",
        "Each return starts with a discount of 1. If the factor keeps its value from "
        "the return of the step before, later steps are weighted by gamma to the "
        "number of all terms so far: after a few steps hardly anything is left.",
        "discount = 1.0  # above the loop over t\n"
        "for k in range(t, T): G[t] += discount * rewards[k]; discount *= gamma",
        "discount = 1.0  # for each t\n"
        "for k in range(t, T): G[t] += discount * rewards[k]; discount *= gamma",
    ),
    Mistake(
        "gamma_twice",
        "gamma^t applied twice",
        "Rewards discounted from the start of the episode already contain gamma^t. A "
        "second factor gamma^t underweights late steps.",
        "weight[t] = gamma**t * sum(gamma**k * rewards[k] for k in range(t, T))",
        "weight[t] = gamma**t * sum(gamma**(k - t) * rewards[k] for k in range(t, T))",
    ),
    Mistake(
        "rounded",
        "returns rounded to integers",
        "Returns below 1 become 0, and different returns become equal. The cause is "
        "usually an integer array, or a cast that was meant for the actions.",
        "returns = torch.tensor(returns, dtype=torch.long)",
        "returns = torch.tensor(returns, dtype=torch.float32)",
    ),
    Mistake(
        "rewards_clipped",
        "rewards clipped",
        "The gradient is that of the clipped reward: large rewards count as 1. Agents "
        "for Atari document it.",
        "reward = np.clip(reward, -1, 1)",
        "reward = reward / constant",
        kind="departure",
    ),
    Mistake(
        "rewards_standardized",
        "rewards standardised instead of returns",
        "A constant that is subtracted from every reward changes the task: it rewards "
        "or punishes each further step, so long episodes become better or worse than "
        "they are. Dividing by a constant is harmless.",
        "rewards = (rewards - rewards.mean()) / (rewards.std() + 1e-8)",
        "rewards = rewards / running_deviation",
    ),
    Mistake(
        "mean_over_steps",
        "mean over steps instead of episodes",
        "The return is a sum over the steps of an episode, averaged over episodes. A "
        "mean over all steps divides by the lengths of the sampled episodes, so that "
        "long episodes count less. A2C and PPO do so. With one episode per update it is"
        " the mean inside the episode.",
        "loss = -(returns * log_prob).mean()",
        "loss = -(returns * log_prob).sum() / n_episodes",
        kind="departure",
    ),
    Mistake(
        "mean_in_episode",
        "mean inside each episode",
        "Dividing the sum over each of several episodes by its length weights the steps"
        " of short episodes more. Where good episodes are short this reinforces them; "
        "where they are long it works against them.",
        "loss = torch.stack([-(G * lp).mean() for G, lp in episodes]).mean()",
        "loss = torch.stack([-(G * lp).sum() for G, lp in episodes]).mean()",
    ),
    Mistake(
        "all_pairs",
        "every log-probability times every return",
        "The return of a step must multiply the log-probability of that step. If both "
        "are averaged or summed first, or if [B] meets [B, 1], every action is "
        "multiplied with every return, and good actions cannot be told from bad ones: "
        "only the difference between batches is left.",
        "loss = -log_probs.mean() * returns.mean()\n"
        "loss = -(log_probs * returns[:, None]).mean()  # [B] x [B, 1] is [B, B]",
        "loss = -(log_probs * returns).sum() / n_episodes  # both of shape [B]",
    ),
    Mistake(
        "broadcast_advantage",
        "broadcast in the advantage",
        "A value network returns [B, 1]. Minus returns of shape [B] that is a matrix "
        "[B, B] of all returns minus all values, and its mean weights each action "
        "with the mean of the returns or of the values.",
        "advantage = returns - value(obs)  # [B] - [B, 1] is [B, B]",
        "advantage = returns - value(obs).squeeze(-1)",
    ),
    Mistake(
        "first_finished",
        "first N finished episodes",
        "Of episodes that run in parallel, the short ones finish first. Taking the "
        "first N to finish over-samples short episodes.",
        "batch = sorted(episodes, key=finishing_time)[:N]",
        "batch = [e for e in episodes if e.index_in_env < n_episodes_per_env]",
    ),
    Mistake(
        "batch_mean_baseline",
        "batch-mean baseline",
        "The mean return of the batch includes the return it is subtracted from. For N "
        "returns at the same time step this scales the gradient by exactly 1 - 1/N; "
        "the direction does not change.",
        "advantage = returns - returns.mean(dim=0)",
        "advantage = (returns - returns.mean(dim=0)) * N / (N - 1)",
        kind="departure",
    ),
    Mistake(
        "episode_mean_baseline",
        "own episode's mean as baseline",
        "The mean return of the episode contains what the action led to, so "
        "subtracting it removes part of the signal: in an episode of one step, all of "
        "it. A baseline may depend on the state and on other episodes only.",
        "advantage = returns - returns.mean()  # of one episode",
        "advantage = returns - mean_return_of_other_episodes",
    ),
    Mistake(
        "action_value_baseline",
        "action value as baseline",
        "What is subtracted must not depend on the action. The action value is "
        "the expected return itself, so the difference is noise with mean 0, "
        "and nothing is learnt.",
        "advantage = returns - q_value(obs, action)",
        "advantage = returns - value(obs)",
        kind="no gradient",
    ),
    Mistake(
        "next_value_baseline",
        "next state's value as baseline",
        "A baseline must not depend on the action, and the next state does. Its value "
        "is credit that the action deserves, and subtracting it takes that away.",
        "advantage = returns - value(next_obs)",
        "advantage = returns - value(obs)",
    ),
    Mistake(
        "advantage_sign_lost",
        "sign of the advantage lost",
        "A square or an absolute value reinforces actions that were worse than "
        "expected like those that were better.",
        "loss = (advantage**2 * -log_prob).sum()",
        "loss = (advantage * -log_prob).sum()",
    ),
    Mistake(
        "state_value_weight",
        "state value as weight",
        "The value of the state is the same for all its actions. As a weight it raises "
        "and lowers them by equal amounts in expectation, and nothing is learnt.",
        "loss = -(value(obs).detach() * log_prob).sum()",
        "loss = -((returns - value(obs).detach()) * log_prob).sum()",
        kind="no gradient",
    ),
    Mistake(
        "standardized",
        "returns standardised",
        "Mean and standard deviation are computed from the returns that they are "
        "applied to, and all time steps share one scale. It stabilises the step size, "
        "but the result is biased.",
        "returns = (returns - returns.mean()) / (returns.std() + 1e-8)",
        "scale the rewards by a constant, or the step size",
        kind="departure",
    ),
    Mistake(
        "advantages_standardized",
        "advantages standardised",
        "Mean and deviation come from the advantages that they are applied to, "
        "and change from batch to batch. PPO does so by default. With few "
        "steps a batch the subtracted mean also removes part of the signal.",
        "advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)",
        "scale the rewards by a constant, or the step size",
        kind="departure",
    ),
    Mistake(
        "scaled_by_batch",
        "returns divided by a number of the batch",
        "The largest return or the deviation of the batch depends on the returns that "
        "it divides: batches with large returns count less. The bias is small with "
        "many episodes.",
        "returns = returns / returns.abs().max()",
        "returns = returns / scale_of_earlier_batches",
        kind="departure",
    ),
    Mistake(
        "nan_deviation",
        "deviation of a single return",
        "torch.std of one number is NaN. The first episode of one step "
        "makes the loss NaN, and with it all weights of the network.",
        "returns = (returns - returns.mean()) / (returns.std() + 1e-8)",
        "if len(returns) > 1: returns = (returns - returns.mean()) / ...",
    ),
    Mistake(
        "through_terminal",
        "bootstrapping through a terminal state",
        "No reward follows a terminal state. A target that adds its value credits the "
        "last action with rewards that are never received.",
        "target = rewards + gamma * next_values",
        "target = rewards + gamma * next_values * ~terminated",
    ),
    Mistake(
        "no_bootstrap_at_truncation",
        "no bootstrap at a truncation",
        "A time limit that is not part of the task truncates the data, not the task. "
        "Treated as termination, it makes the actions before it look worse than they "
        "are. Some well-known implementations do so. Where the limit belongs to the "
        "task, and the observation tells the time, it is right.",
        "target = rewards + gamma * next_values * ~(terminated | truncated)",
        "target = rewards + gamma * next_values * ~terminated",
        at_truncation=True,
    ),
    Mistake(
        "bootstrap_from_wrong_state",
        "bootstrap from the wrong state",
        "After the last step that was collected, the value of the state it led to "
        "stands for what follows. The last state in memory is the one before the "
        "action, and after an automatic reset the current observation belongs to the "
        "next episode.",
        "G = value(states[-1])  # the state before the last action",
        "G = value(next_state) * (not terminated)",
    ),
    Mistake(
        "limit_bootstrapped",
        "bootstrap at the time limit",
        "The critic's value follows the time limit. Right if the limit only ends the "
        "data; here it ends the task, and nothing follows it.",
        "target = reward + gamma * value(next_obs) * (not terminated)",
        "target = reward + gamma * value(next_obs) * (not (terminated or truncated))",
        kind="departure",
    ),
    Mistake(
        "critic_sign_flipped",
        "critic's loss with the wrong sign",
        "The value loss is a squared error, which is to be minimised. Subtracted, it "
        "drives the critic away from its targets.",
        "loss = actor_loss - 0.5 * (returns - values).pow(2).mean()",
        "loss = actor_loss + 0.5 * (returns - values).pow(2).mean()",
    ),
    Mistake(
        "learned_critic",
        "bootstrap from an inexact critic",
        "One-step, n-step and lambda-returns replace rewards by the critic's value, and"
        " inherit its error. Advantage actor-critic, GAE and PPO document it: less "
        "noise for some bias, which a better critic reduces. As a baseline an inexact "
        "critic adds no bias.",
        "advantage = reward + gamma * value(next_state) - value(state)",
        "advantage = returns - value(state)",
        kind="departure",
    ),
    Mistake(
        "value_not_detached",
        "value not detached in the actor's loss",
        "In the actor's loss the advantage is a number. If the gradient runs through "
        "the value, the loss also moves the critic, and on a shared trunk the policy: "
        "each update raises the value by -log pi(a|s), whatever the state is worth.",
        "loss = -((returns - value(obs)) * log_prob).sum()",
        "loss = -((returns - value(obs)).detach() * log_prob).sum()",
    ),
    Mistake(
        "next_value_not_detached",
        "next state's value not detached",
        "The target of the critic is a number. With the gradient through it, the "
        "critic also moves the next state's value towards this one's, and converges "
        "to other values (residual gradient). In the actor's loss it moves the "
        "critic as well.",
        "critic_loss = (reward + gamma * value(next_obs) - value(obs)) ** 2",
        "critic_loss = (reward + gamma * value(next_obs).detach() - value(obs)) ** 2",
    ),
    Mistake(
        "entropy_bonus",
        "entropy bonus",
        "The bonus keeps the policy from becoming deterministic too early, and its "
        "gradient is added to that of the return. A2C and PPO have it; it is "
        "removed by ent_coef = 0, or decays.",
        "loss = policy_loss - ent_coef * entropy",
        "loss = policy_loss",
        kind="departure",
    ),
    Mistake(
        "entropy_sign",
        "entropy bonus with the wrong sign",
        "The entropy is to be maximised, so it is subtracted from the loss. Added, it "
        "makes the policy deterministic before it has learnt anything.",
        "loss = policy_loss + ent_coef * entropy",
        "loss = policy_loss - ent_coef * entropy",
    ),
    Mistake(
        "taken_action_entropy",
        "entropy of the taken action only",
        "The entropy is a mean over all actions. p log p of the action that was "
        "taken has another gradient, and the gradient of -log p alone has mean 0.",
        "entropy = -(log_prob.exp() * log_prob).sum()  # log_prob: [B]",
        "entropy = -(probs * log_probs).sum()  # both [B, A]",
    ),
    Mistake(
        "gradient_clipped",
        "gradient scaled in each update",
        "Clipping by norm, or dividing by it, gives each update another length. The "
        "mean then weights batches with small gradients more. A2C and PPO clip.",
        "clip_grad_norm_(parameters, 0.5)",
        "a smaller step size",
        kind="departure",
    ),
    Mistake(
        "replay",
        "replay without correction",
        "The expectation is over the current policy. Replaying episodes of earlier "
        "policies without importance weights gives a different gradient.",
        "loss = policy_gradient_loss(memory.sample(256))",
        "weight each step by pi(a|s) / pi_old(a|s), or learn from new episodes only",
    ),
    Mistake(
        "rows_mixed_up",
        "advantages of other steps",
        "A mini-batch is an index into the rollout, and every array of the loss must "
        "be indexed with it. One that is not, or is cut to the same size, pairs each "
        "action with the advantage of another step: they are independent, "
        "and the expected gradient is close to zero.",
        "loss = -(advantages[: len(batch)] * log_prob[batch]).mean()",
        "loss = -(advantages[batch] * log_prob[batch]).mean()",
    ),
    Mistake(
        "actions_not_sampled",
        "actions not drawn from the policy",
        "The score function needs actions drawn from the policy. Greedy or "
        "epsilon-greedy actions come from another distribution. A softmax policy "
        "explores by itself; an entropy bonus makes it explore more.",
        "action = probs.argmax() if random() > epsilon else env.action_space.sample()",
        "action = Categorical(probs).sample()",
    ),
    Mistake(
        "truncation_ignored",
        "only `terminated` ends an episode",
        "env.step returns two flags, and a time limit sets the second. A loop that "
        "reads the first alone steps past the end of the episode, and several episodes "
        "become one.",
        "obs, reward, done, _, info = env.step(action)",
        "obs, reward, terminated, truncated, info = env.step(action)",
    ),
    Mistake(
        "gradients_not_zeroed",
        "gradients not zeroed",
        "backward() adds to the gradients that are there. Without zero_grad() each "
        "step uses the sum of all gradients so far, most of them those of earlier "
        "policies.",
        "loss.backward(); optimizer.step()",
        "optimizer.zero_grad(); loss.backward(); optimizer.step()",
    ),
    Mistake(
        "log_prob_after_update",
        "log-probability computed after an update",
        "The old log-probabilities of PPO's ratio, or those of a second optimiser's "
        "loss, must come from the policy that acted. Computed after a step they belong "
        "to another policy, and the ratio starts from the wrong place.",
        "optimizer.step(); old_log_prob = policy(obs).log_prob(a).detach()",
        "old_log_prob = policy(obs).log_prob(a).detach(); optimizer.step()",
    ),
)

MISTAKES = {mistake.key: mistake for mistake in CATALOGUE}
