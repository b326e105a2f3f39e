"""REINFORCE in NumPy, with the gradient by hand."""

import gymnasium as gym
import numpy as np

from pg_agents.checker.script import hand_in

GAMMA = 0.95
rng = np.random.default_rng(0)
env = gym.make("CartPole-v1")
parameters = [
    0.5 * rng.normal(size=(4, 16)),
    np.zeros(16),
    0.5 * rng.normal(size=(16, 2)),
]


def logits(parameters, observations):
    w, b, v = parameters
    return np.tanh(observations @ w + b) @ v


for _ in range(40):
    steps, obs, done = [], env.reset()[0], False
    while not done:
        z = logits(parameters, obs[None])[0]
        probabilities = np.exp(z - z.max())
        probabilities /= probabilities.sum()
        action = rng.choice(2, p=probabilities)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        steps.append((obs, action, reward, probabilities))
        obs, done = next_obs, terminated or truncated
    gradients = [np.zeros_like(p) for p in parameters]
    g = 0.0
    for obs, action, reward, probabilities in reversed(steps):
        g = reward + GAMMA * g
        w, b, v = parameters
        hidden = np.tanh(obs @ w + b)
        by_logits = g * (probabilities - np.eye(2)[action])
        by_hidden = (1.0 - hidden**2) * (v @ by_logits)
        gradients[0] += np.outer(obs, by_hidden)
        gradients[1] += by_hidden
        gradients[2] += np.outer(hidden, by_logits)
    if not hand_in(logits, parameters, gradients):
        parameters = [p - 0.01 * g for p, g in zip(parameters, gradients, strict=True)]
