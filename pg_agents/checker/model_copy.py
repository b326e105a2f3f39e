"""A copy of a model that can be measured, and the environment that it plays."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from pg_agents.checker.capture import GradientTap
from pg_agents.checker.geometry import CannotCheckError
from pg_agents.checker.task import Table, Task
from pg_agents.checkpoint.finite_check import nonfinite_in
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_envs import TabularEnv, TabularVectorEnv


class RecordingEnv(VectorEnvAdapter):
    """The task for N environments, with a record of what was done where.

    Attributes:
        taken: states and actions `[N]` of every step since it was last emptied.
    """

    def __init__(self, task: Task, n_envs: int) -> None:
        env = TabularVectorEnv(
            TabularEnv(task.mdp), n_envs, task.horizon, autoreset_mode="SameStep"
        )
        super().__init__(env)
        self.tabular = env
        self.taken: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def step_async(self, actions: NDArray[Any]) -> None:
        """Notes states and actions, and remembers the actions for `step_wait`."""
        self.taken.append((self.tabular.state, np.array(actions)))
        super().step_async(actions)


def copy_of(
    model: OnPolicyAlgorithm, env: RecordingEnv, seed: int
) -> OnPolicyAlgorithm:
    """Returns a copy on the CPU that plays in `env` and writes no log.

    Raises:
        CannotCheckError: if the model's spaces are not those of the environment, or
            a weight is NaN or infinite.
    """
    for name, own, theirs in (
        ("observation", model.observation_space, env.observation_space),
        ("action", model.action_space, env.action_space),
    ):
        if own != theirs:
            raise CannotCheckError(
                f"the model's {name} space {own} is not that of the environment, "
                f"{theirs}: check it on an environment like its own"
            )
    found = nonfinite_in(model)
    if found is not None:
        raise CannotCheckError(f"the model has no gradient to check: {found}")
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    copy = type(model).load(file, env=env, device="cpu")
    copy.verbose, copy.tensorboard_log = 0, None
    copy.set_logger(Logger(folder=None, output_formats=[]))
    copy.set_random_seed(seed)
    if hasattr(copy, "n_epochs"):
        # The parameters don't move, so that all epochs are alike.
        copy.n_epochs = 1
    return copy


def log_probs_of(copy: OnPolicyAlgorithm, task: Task) -> Callable[[], Tensor]:
    """Returns the function that gives log pi(a|s), `[S, A]`, differentiable.

    Raises:
        CannotCheckError: if the policy gives no distribution.
    """
    if not hasattr(copy.policy, "get_distribution"):
        raise CannotCheckError(
            f"{type(copy).__name__}'s policy has no get_distribution(), from which the "
            "probabilities of actions are read: it must be an ActorCriticPolicy"
        )
    observations, _ = copy.policy.obs_to_tensor(np.array(task.mdp.observations))

    def log_probs() -> Tensor:
        copy.policy.set_training_mode(False)
        distribution: Any = copy.policy.get_distribution(observations)
        logits: Tensor = distribution.distribution.logits
        return logits

    return log_probs


def actor_parameters(
    copy: OnPolicyAlgorithm, log_probs: Callable[[], Tensor]
) -> list[nn.Parameter]:
    """Returns the parameters that the policy's probabilities depend on.

    Raises:
        CannotCheckError: if there are none.
    """
    candidates = [p for p in copy.policy.parameters() if p.requires_grad]
    table = log_probs()
    if not table.requires_grad:
        raise CannotCheckError(
            f"{type(copy).__name__} has no parameters that its policy depends on"
        )
    found = torch.autograd.grad(table.sum(), candidates, allow_unused=True)
    return [p for p, g in zip(candidates, found, strict=True) if g is not None]


def tap_trust_region(copy: Any, tap: GradientTap) -> None:  # noqa: ANN401
    """Taps TRPO, which uses its policy's gradient without an optimiser.

    It computes the gradient of the surrogate objective, turns it into the natural one
    and searches along it. What is compared is the former.
    """
    compute = getattr(copy, "_compute_actor_grad", None)
    if compute is None:
        return

    def tapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        parameters, objective, *rest = compute(*args, **kwargs)
        parts = objective.detach().split([p.numel() for p in parameters])
        tap.record(parameters, [-part for part in parts])
        return parameters, objective, *rest

    copy._compute_actor_grad = tapped


def install_exact_critic(copy: Any, task: Task, policy: Table) -> None:  # noqa: ANN401
    """Lets the copy's policy answer with exact values where it is asked for values."""
    seen = torch.tensor(task.mdp.observations)
    if len(torch.unique(seen, dim=0)) < len(seen):
        raise CannotCheckError(
            "critic='exact' needs a different observation in every state: values "
            "depend on the state"
        )
    values = torch.as_tensor(task.values(policy)[0]).float()

    def look_up(observations: Tensor) -> Tensor:
        flat = observations.reshape(len(observations), -1).to(seen.dtype)
        same = (flat[:, None] == seen.reshape(len(seen), -1)).all(-1)
        return values[same.float().argmax(-1)][:, None]

    forward, predict = copy.policy.forward, copy.policy.predict_values

    def exact_or_learning(obs: Tensor) -> Tensor:
        # With gradients it is the critic's own loss that asks (TRPO's does).
        return predict(obs) if torch.is_grad_enabled() else look_up(obs)

    def with_values(
        obs: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        actions, _, log_probs = forward(obs, deterministic)
        return actions, look_up(obs), log_probs

    copy.policy.forward = with_values
    copy.policy.predict_values = exact_or_learning


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leaves Python's, NumPy's and torch's random numbers as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
