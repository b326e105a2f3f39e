"""PPO as PureJaxRL does it: environment, rollout and update in one jitted function.

Own code after PureJaxRL's description and default settings: gymnax's CartPole-v1 with
its LogWrapper, vmap over environments, scan over steps, mini-batches, epochs and
updates. It imports no torch and is run by `python -m bench.pure_jax_ppo SETTINGS` in a
virtual environment of its own.

Reference: Lu et al. (2022), "Discovered Policy Optimisation", and its code PureJaxRL.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import gymnax  # type: ignore[import-not-found]
import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
import optax  # type: ignore[import-not-found]
from gymnax.wrappers.purerl import LogWrapper  # type: ignore[import-not-found]

from bench.protocol import Facts, Handler, Run, serve, task_handler

# jax is not installed where the code is type-checked.
Array = Any
HIDDEN = (64, 64)
# Steps of one call of the compiled function, so that the call itself costs nothing.
CALL_STEPS = 2**17
PACKAGES = ("jax", "gymnax", "optax", "numpy", "gymnasium")


class Steps(NamedTuple):
    """Steps `[T, N]` of a rollout, or `[B]` of a mini-batch."""

    observations: Array
    actions: Array
    log_probs: Array
    values: Array
    rewards: Array
    dones: Array
    infos: Array


class Learner(NamedTuple):
    """State carried from one update to the next."""

    params: Array
    optimizer_state: Array
    env_state: Array
    observations: Array
    key: Array


def init_network(key: Array, sizes: tuple[int, ...], last_scale: float) -> Array:
    """Returns weights and biases of each layer."""
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        key, layer_key = jax.random.split(key)
        scale = last_scale if i == len(sizes) - 2 else 2.0**0.5
        weights = jax.nn.initializers.orthogonal(scale)(layer_key, (n_in, n_out))
        layers.append((weights, jnp.zeros(n_out)))
    return layers


def forward(layers: Array, inputs: Array) -> Array:
    """Returns a network's outputs, with tanh between its layers."""
    for weights, biases in layers[:-1]:
        inputs = jnp.tanh(inputs @ weights + biases)
    weights, biases = layers[-1]
    return inputs @ weights + biases


def logits_and_values(params: Array, observations: Array) -> tuple[Array, Array]:
    """Returns log-probabilities of all actions `[..., A]`, and values `[...]`."""
    logits = jax.nn.log_softmax(forward(params["policy"], observations))
    return logits, forward(params["critic"], observations)[..., 0]


def select(log_probs: Array, actions: Array) -> Array:
    """Returns the log-probability of each action."""
    return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]


class PureJaxPPO:
    """The functions of a training with given settings.

    Args:
        settings: `PURE_JAX` of `bench.speed` with `n_envs`, `n_epochs` and
            `n_minibatches`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        env, self.env_params = gymnax.make("CartPole-v1")
        self.env = LogWrapper(env)
        self.optimizer = optax.chain(
            optax.clip_by_global_norm(settings["max_grad_norm"]),
            optax.adam(settings["learning_rate"], eps=1e-5),
        )

    def begin(self, seed: Array) -> Learner:
        """Returns fresh weights and environments."""
        key = jax.random.key(seed)
        key, policy_key, critic_key, env_key = jax.random.split(key, 4)
        params = {
            "policy": init_network(policy_key, (4, *HIDDEN, 2), 0.01),
            "critic": init_network(critic_key, (4, *HIDDEN, 1), 1.0),
        }
        keys = jax.random.split(env_key, self.settings["n_envs"])
        reset = jax.vmap(self.env.reset, in_axes=(0, None))
        observations, env_state = reset(keys, self.env_params)
        optimizer_state = self.optimizer.init(params)
        return Learner(params, optimizer_state, env_state, observations, key)

    def updates(self, n_updates: int) -> Callable[[Learner], tuple[Learner, Array]]:
        """Returns the function that does `n_updates` rollouts and updates.

        It also returns the mean length of the episodes that ended in each rollout.
        """

        def run(learner: Learner) -> tuple[Learner, Array]:
            return jax.lax.scan(self._update, learner, None, n_updates)  # type: ignore[no-any-return]

        return run

    def _step(self, learner: Learner, _: None) -> tuple[Learner, Steps]:
        key, action_key, env_key = jax.random.split(learner.key, 3)
        log_probs, values = logits_and_values(learner.params, learner.observations)
        actions = jax.random.categorical(action_key, log_probs)
        keys = jax.random.split(env_key, self.settings["n_envs"])
        step = jax.vmap(self.env.step, in_axes=(0, 0, 0, None))
        observations, env_state, rewards, terminated, truncated, infos = step(
            keys, learner.env_state, actions, self.env_params
        )
        # PureJaxRL treats truncation as termination.
        steps = Steps(
            learner.observations,
            actions,
            select(log_probs, actions),
            values,
            rewards,
            jnp.logical_or(terminated, truncated),
            {name: infos[name] for name in ("returned_episode_lengths",)}
            | {"ended": infos["returned_episode"]},
        )
        return learner._replace(
            env_state=env_state, observations=observations, key=key
        ), steps

    def _advantages(self, steps: Steps, last_values: Array) -> Array:
        """Returns generalised advantage estimates, `[T, N]`."""
        gamma, lam = self.settings["gamma"], self.settings["gae_lambda"]

        def back(carry: tuple[Array, Array], step: Steps) -> tuple[Any, Array]:
            advantage, next_values = carry
            live = 1.0 - step.dones
            error = step.rewards + gamma * next_values * live - step.values
            advantage = error + gamma * lam * live * advantage
            return (advantage, step.values), advantage

        start = (jnp.zeros_like(last_values), last_values)
        _, advantages = jax.lax.scan(back, start, steps, reverse=True, unroll=16)
        return advantages

    def _loss(
        self, params: Array, steps: Steps, advantages: Array, targets: Array
    ) -> Array:
        epsilon, epsilon_vf = (
            self.settings["clip_range"],
            self.settings["clip_range_vf"],
        )
        log_probs, values = logits_and_values(params, steps.observations)
        ratio = jnp.exp(select(log_probs, steps.actions) - steps.log_probs)
        weights = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        clipped = jnp.clip(ratio, 1.0 - epsilon, 1.0 + epsilon)
        policy_loss = -jnp.minimum(ratio * weights, clipped * weights).mean()
        clipped_values = steps.values + jnp.clip(
            values - steps.values, -epsilon_vf, epsilon_vf
        )
        errors = jnp.maximum((values - targets) ** 2, (clipped_values - targets) ** 2)
        entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
        return (
            policy_loss
            + self.settings["vf_coef"] * 0.5 * errors.mean()
            - self.settings["ent_coef"] * entropy
        )

    def _update(self, learner: Learner, _: None) -> tuple[Learner, Array]:
        learner, steps = jax.lax.scan(
            self._step, learner, None, self.settings["n_steps"]
        )
        last_values = logits_and_values(learner.params, learner.observations)[1]
        advantages = self._advantages(steps, last_values)
        ended = steps.infos["ended"]
        length = (steps.infos["returned_episode_lengths"] * ended).sum() / ended.sum()
        flat = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:]),
            (steps, advantages, advantages + steps.values),
        )

        def step(state: Any, batch: Any) -> tuple[Any, None]:  # noqa: ANN401
            params, optimizer_state = state
            gradient = jax.grad(self._loss)(params, *batch)
            changes, optimizer_state = self.optimizer.update(gradient, optimizer_state)
            return (optax.apply_updates(params, changes), optimizer_state), None

        def epoch(state: Any, key: Array) -> tuple[Any, None]:  # noqa: ANN401
            order = jax.random.permutation(key, advantages.size)
            n_batches = self.settings["n_minibatches"]
            batches = jax.tree.map(
                lambda x: x[order].reshape(n_batches, -1, *x.shape[1:]), flat
            )
            return jax.lax.scan(step, state, batches)  # type: ignore[no-any-return]

        key, epochs_key = jax.random.split(learner.key)
        keys = jax.random.split(epochs_key, self.settings["n_epochs"])
        state = (learner.params, learner.optimizer_state)
        (params, optimizer_state), _ = jax.lax.scan(epoch, state, keys)
        learner = learner._replace(
            params=params, optimizer_state=optimizer_state, key=key
        )
        return learner, length


def make(settings: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Compiles; returns the handler, the versions and the seconds of compilation."""
    ppo = PureJaxPPO(settings)
    update_steps = settings["n_envs"] * settings["n_steps"]
    n_updates = max(CALL_STEPS // update_steps, 1)
    begin = jax.jit(ppo.begin)
    learner = begin(jnp.asarray(0))
    start = time.perf_counter()
    run_updates = jax.jit(ppo.updates(n_updates)).lower(learner).compile()
    compile_seconds = time.perf_counter() - start

    def task(seed: int) -> Run:
        fresh = jax.block_until_ready(begin(jnp.asarray(seed)))

        def run(n_steps: int) -> Facts:
            learner, steps, lengths = fresh, 0, jnp.zeros(1)
            while steps < n_steps:
                learner, lengths = run_updates(learner)
                steps += n_updates * update_steps
            jax.block_until_ready(learner)
            return {"steps": steps, "last_length": float(lengths[-1])}

        return run

    return task_handler(task), {
        "versions": {name: version(name) for name in PACKAGES},
        "compile_seconds": compile_seconds,
    }


if __name__ == "__main__":
    side = json.loads(sys.argv[1])
    # XLA starts as many threads as there are processors that it may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: side["threads"]])
    serve(partial(make, side))
