# mistake: turns the sign of the advantages round: V(s_t) - target
"""One-step critic

A critic V estimates the return of a state. After one step it can be compared with what
came of it: the reward and the value of the next state. The difference is the TD error,

    target_t = r_t + gamma * V(s_{t+1})      V(s_{t+1}) counts as 0 if the episode has
    delta_t  = target_t - V(s_t)             terminated: nothing follows

A time limit (truncated) cuts the data, not the task: the value of the next state counts.
The actor weights its log-probability with delta_t, as a number without gradient. The
critic minimises

    critic_loss = mean_t delta_t^2

in which the target is a fixed number: the gradient flows through V(s_t) alone.
Write a function that gives both for a batch of B steps.
"""

import torch


def one_step_critic(rewards, values, next_values, terminated, truncated, gamma):
    """Compute the advantages of the actor and the loss of the critic.

    rewards: tensor [B]
    values: tensor [B], V(s_t) of the critic (part of a graph)
    next_values: tensor [B], V(s_{t+1}) of the critic (part of a graph)
    terminated: tensor [B] of bool, whether the episode ended in this step
    truncated: tensor [B] of bool, whether a time limit cut it off in this step
    gamma: discount factor, a number from 0 to 1
    result: (advantages [B], critic_loss), tensors; advantages are the delta_t
    """
    target = rewards + gamma * next_values.detach() * (~terminated).float()
    error = values - target
    return error.detach(), (error ** 2).mean()
