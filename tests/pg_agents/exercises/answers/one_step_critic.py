import torch
import torch.nn.functional as F


def written_out(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values.detach() * (1 - terminated.float())
    delta = target - values
    return delta.detach(), delta.pow(2).mean()


def mse(rewards, values, next_values, terminated, truncated, gamma):
    with torch.no_grad():
        target = rewards + gamma * torch.where(terminated, 0.0, next_values)
        advantages = target - values
    return advantages, F.mse_loss(values, target)


def loop(rewards, values, next_values, terminated, truncated, gamma):
    advantages, losses = [], []
    for r, v, n, end in zip(rewards, values, next_values, terminated):
        target = r if end else r + gamma * n.item()
        advantages.append((target - v).item())
        losses.append((target - v) ** 2)
    return torch.tensor(advantages), torch.stack(losses).mean()


def masked(rewards, values, next_values, terminated, truncated, gamma):
    following = next_values.detach().clone()
    following[terminated] = 0.0
    error = values - (rewards + gamma * following)
    return -error.data, (error * error).sum() / len(error)


def advantages_in_numpy(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values.detach() * ~terminated
    return (target - values).detach().numpy(), ((target - values) ** 2).mean()


def through_terminal(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() - values
    return delta.detach(), delta.pow(2).mean()


def truncated_as_terminated(rewards, values, next_values, terminated, truncated, gamma):
    done = torch.logical_or(terminated, truncated)
    target = rewards + gamma * next_values * (1 - done.int())
    delta = target.detach() - values
    return delta.detach(), delta.pow(2).mean()


def mask_inverted(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() * terminated - values
    return delta.detach(), delta.pow(2).mean()


def no_gamma(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + next_values.detach() * ~terminated - values
    return delta.detach(), delta.pow(2).mean()


def reward_masked(rewards, values, next_values, terminated, truncated, gamma):
    target = (rewards + gamma * next_values.detach()) * (~terminated).float()
    return (target - values).detach(), F.mse_loss(values, target)


def target_as_advantage(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values.detach() * ~terminated
    return target, F.mse_loss(values, target)


def sign_flipped(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values.detach() * ~terminated
    return (values - target).detach(), F.mse_loss(values, target)


def target_not_detached(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values * ~terminated
    return (target - values).detach(), F.mse_loss(values, target)


def advantage_not_detached(rewards, values, next_values, terminated, truncated, gamma):
    target = (rewards + gamma * next_values * ~terminated).detach()
    return target - values, F.mse_loss(values, target)


def loss_detached(rewards, values, next_values, terminated, truncated, gamma):
    delta = (rewards + gamma * next_values * ~terminated - values).detach()
    return delta, delta.pow(2).mean()


def summed(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() * ~terminated - values
    return delta.detach(), (delta**2).sum()


def half(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() * ~terminated - values
    return delta.detach(), 0.5 * (delta**2).mean()


def loss_per_step(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() * ~terminated - values
    return delta.detach(), delta**2


def swapped(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards + gamma * next_values.detach() * ~terminated - values
    return (delta**2).mean(), delta.detach()


def smooth_l1(rewards, values, next_values, terminated, truncated, gamma):
    target = rewards + gamma * next_values.detach() * ~terminated
    return (target - values).detach(), F.smooth_l1_loss(values, target)


def no_bootstrap(rewards, values, next_values, terminated, truncated, gamma):
    delta = rewards - values
    return delta.detach(), (delta**2).mean()


RIGHT = [written_out, mse, loop, masked, advantages_in_numpy]
WRONG = {
    "through_terminal": through_terminal,
    "truncated_as_terminated": truncated_as_terminated,
    "mask_inverted": mask_inverted,
    "no_gamma": no_gamma,
    "reward_masked": reward_masked,
    "target_as_advantage": target_as_advantage,
    "sign_flipped": sign_flipped,
    "target_not_detached": target_not_detached,
    "advantage_not_detached": advantage_not_detached,
    "loss_detached": loss_detached,
    "summed": summed,
    "half": half,
    "loss_per_step": loss_per_step,
    "swapped": swapped,
    "smooth_l1": smooth_l1,
    "no_bootstrap": no_bootstrap,
}
