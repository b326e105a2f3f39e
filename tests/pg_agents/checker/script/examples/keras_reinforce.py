"""REINFORCE in Keras with TensorFlow's gradient tape."""

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from pg_agents.checker.script import hand_in

GAMMA = 0.95
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
env = gym.make("CartPole-v1")
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(2)]
)
optimizer = keras.optimizers.Adam(0.01)


def logits(weights, observations):
    kept = model.get_weights()
    model.set_weights(weights)
    outputs = model(observations).numpy()
    model.set_weights(kept)
    return outputs


for _ in range(40):
    rows, obs, done = [], env.reset()[0], False
    while not done:
        probabilities = np.asarray(tf.nn.softmax(model(obs[None]))[0], np.float64)
        action = rng.choice(2, p=probabilities / probabilities.sum())
        next_obs, reward, terminated, truncated, _ = env.step(action)
        rows.append((obs, action, reward))
        obs, done = next_obs, terminated or truncated
    observations, actions, rewards = map(np.array, zip(*rows, strict=True))
    returns, g = [], 0.0
    for reward in reversed(rewards):
        g = reward + GAMMA * g
        returns.insert(0, g)
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(model(observations))
        taken = tf.gather(log_probs, actions, batch_dims=1)
        loss = -tf.reduce_sum(taken * np.array(returns, np.float32))
    gradients = tape.gradient(loss, model.trainable_variables)
    if not hand_in(logits, model.get_weights(), gradients):
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
