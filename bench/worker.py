"""One side of a comparison: `python -m bench.worker SETTINGS`."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from torch import Tensor, nn

import pg_envs
from bench.notebook_loop import notebook
from bench.protocol import Facts, Handler, Run, Task, serve, task_handler
from pg_agents import REINFORCE, ActorCritic, as_vec_env

ALGORITHMS: dict[str, type[OnPolicyAlgorithm]] = {
    "ActorCritic": ActorCritic,
    "REINFORCE": REINFORCE,
    "A2C": A2C,
    "PPO": PPO,
}
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")


def make_env(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Returns the environment that the algorithm in `settings` is given.

    `settings["env"]` is `"dummy"` (SB3's `make_vec_env`, with its Monitor),
    `"gymnasium"` (`gymnasium.make_vec`) or `"torch"` (`pg_envs.make_torch_vec`). SB3's
    algorithms get vector environments through `as_vec_env`.
    """
    kind, env_id, n_envs = settings["env"], settings["env_id"], settings["n_envs"]
    arguments = settings.get("env_arguments", {})
    if kind == "dummy":
        return make_vec_env(env_id, n_envs=n_envs, env_kwargs=arguments or None)
    env: VectorEnv[Any, Any, Any] = (
        gymnasium.make_vec(env_id, num_envs=n_envs, **arguments)
        if kind == "gymnasium"
        else pg_envs.make_torch_vec(env_id, n_envs, **arguments)
    )
    return as_vec_env(env) if settings["algorithm"] in ("A2C", "PPO") else env


def decoded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments with schedules and classes in place of their JSON names."""
    found = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, str) and value.startswith("lin_"):
            found[name] = LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    kwargs = arguments.get("policy_kwargs")
    if kwargs and "activation_fn" in kwargs:
        activation = getattr(nn, kwargs["activation_fn"])
        found["policy_kwargs"] = {**kwargs, "activation_fn": activation}
    return found


def make_model(settings: Mapping[str, Any], env: Any, seed: int) -> OnPolicyAlgorithm:  # noqa: ANN401
    """Returns a fresh model."""
    make: Any = ALGORITHMS[settings["algorithm"]]
    policy = settings.get("policy", "MlpPolicy")
    model: OnPolicyAlgorithm = make(
        policy, env, seed=seed, device="cpu", **decoded(settings["arguments"])
    )
    return model


def learning(settings: Mapping[str, Any]) -> Task:
    """Returns `learn()` of fresh models in an environment that is made once."""
    env = make_env(settings)

    def task(seed: int) -> Run:
        model = make_model(settings, env, seed)

        def run(n_steps: int) -> Facts:
            model.learn(n_steps)
            updates = float(model._n_updates)
            return {"steps": float(model.num_timesteps), "updates": updates}

        return run

    return task


def network(n_outputs: int) -> nn.Sequential:
    """Returns CartPole's usual network: two hidden layers of 64 with tanh."""
    return nn.Sequential(
        nn.Linear(4, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, n_outputs),
    )


def act(policy: nn.Module, observations: Tensor) -> Tensor:
    """Samples an action for each observation."""
    with torch.no_grad():
        return torch.multinomial(policy(observations).softmax(dim=-1), 1).squeeze(-1)


def differentiate(
    policy: nn.Module, critic: nn.Module, observations: Tensor, actions: Tensor
) -> None:
    """Runs forward and backward of A2C's loss with constant returns."""
    log_probs = policy(observations).log_softmax(dim=-1)
    log_prob = log_probs.gather(-1, actions[:, None]).squeeze(-1)
    error = 1.0 - critic(observations).squeeze(-1)
    loss = -(error.detach() * log_prob).mean() + 0.5 * error.square().mean()
    policy.zero_grad()
    critic.zero_grad()
    loss.backward()


def torch_alone(settings: Mapping[str, Any]) -> Task:
    """Returns the forward and backward passes of a rollout and its update alone.

    There is no environment, no optimiser step and no bookkeeping: a lower bound on what
    autograd costs for these networks and batch sizes.
    """
    n_envs, n_steps = settings["n_envs"], settings["n_steps"]
    observations = torch.randn(n_steps, n_envs, 4)

    def task(seed: int) -> Run:
        torch.manual_seed(seed)
        policy, critic = network(2), network(1)

        def run(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                actions = torch.cat([act(policy, obs) for obs in observations])
                differentiate(policy, critic, observations.flatten(0, 1), actions)
                steps += n_steps * n_envs
            return {"steps": steps}

        return run

    return task


def stepping(settings: Mapping[str, Any]) -> Task:
    """Returns steps of a torch environment with random actions drawn in advance."""
    env = make_env({**settings, "env": "torch", "algorithm": ""})
    n_actions = int(env.single_action_space.n)
    rows = torch.randint(n_actions, (16, settings["n_envs"]), device=env.device)

    def task(seed: int) -> Run:
        env.reset(seed=seed)

        def run(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                for actions in rows:
                    env.step_unchecked(actions)
                steps += rows.numel()
            return {"steps": steps}

        return run

    return task


# CartPole counts as solved after three evaluations in a row that reach its threshold.
EVAL_FREQ, N_EVAL_EPISODES, THRESHOLD, N_IN_A_ROW = 5_000, 20, 475.0, 3
WARM_UP_STEPS = 3_000


class Evaluation:
    """Greedy episodes of Gymnasium's CartPole, all at once, other ones every call."""

    def __init__(self, seed: int) -> None:
        self._env = gymnasium.make_vec("CartPole-v1", num_envs=N_EVAL_EPISODES)
        self._seed: int | None = seed

    def __call__(self, model: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Returns the return of each episode."""
        obs, _ = self._env.reset(seed=self._seed)
        # Later resets continue the generator.
        self._seed = None
        returns = np.zeros(N_EVAL_EPISODES)
        finished = np.zeros(N_EVAL_EPISODES, dtype=np.bool_)
        while not finished.all():
            actions, _ = model.predict(obs, deterministic=True)
            obs, rewards, terminated, truncated, _ = self._env.step(actions)
            returns += np.where(finished, 0.0, rewards)
            finished |= terminated | truncated
        return returns


class StopWhenSolvedClock(BaseCallback):
    """Times training without its evaluations and stops once CartPole is solved.

    Attributes:
        seconds: of training, up to the last evaluation.
        solved: whether training was stopped because CartPole is solved.
        means: mean return of each evaluation.
    """

    def __init__(self, evaluation: Callable[[Any], NDArray[np.float64]]) -> None:
        super().__init__()
        self._evaluation = evaluation
        self.seconds, self.solved = 0.0, False
        self.means: list[float] = []
        self._next, self._start = EVAL_FREQ, 0.0

    def _on_training_start(self) -> None:
        self._start = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self.seconds += time.perf_counter() - self._start
        self._next += EVAL_FREQ
        self.means.append(float(self._evaluation(self.model).mean()))
        last = self.means[-N_IN_A_ROW:]
        self.solved = len(last) == N_IN_A_ROW and min(last) >= THRESHOLD
        self._start = time.perf_counter()
        return not self.solved


def solving(settings: Mapping[str, Any]) -> Handler:
    """Returns the handler of `{"do": "solve", "seed": ..., "n_timesteps": ...}`."""
    make_model(settings, make_env(settings), seed=0).learn(WARM_UP_STEPS)

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        seed = command["seed"]
        model = make_model(settings, make_env(settings), seed)
        # Seeds of the evaluation far from those of the training environments.
        clock = StopWhenSolvedClock(Evaluation(seed=10_000 + seed))
        model.learn(command["n_timesteps"] or settings["n_timesteps"], callback=clock)
        return {
            "seconds": clock.seconds,
            "solved": clock.solved,
            "steps": model.num_timesteps,
            "means": clock.means,
        }

    return handle


TASKS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "learn": learning,
    "notebook": lambda settings: notebook,
    "torch_alone": torch_alone,
    "stepping": stepping,
}


def make(settings: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Returns the handler of a side, and the versions of its packages."""
    torch.set_num_threads(settings["threads"])
    # SB3 warns of batch sizes that do not divide the rollout.
    warnings.simplefilter("ignore")
    work = settings["work"]
    handler = (
        solving(settings) if work == "solve" else task_handler(TASKS[work](settings))
    )
    return handler, {"versions": {name: version(name) for name in PACKAGES}}


if __name__ == "__main__":
    serve(partial(make, json.loads(sys.argv[1])))
