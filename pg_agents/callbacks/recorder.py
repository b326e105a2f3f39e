"""Records action probabilities, rewards, episodes and losses of a training run."""

from array import array
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.callbacks.episodes import finished_episodes, step_variable
from pg_agents.common.checks import check_count

# Logged by A2C and the agents of pg_agents, and by PPO.
_LOSS_KEYS = ("train/policy_loss", "train/policy_gradient_loss")


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """The record of one training run.

    P recordings of K observations with A actions, S environment steps, E finished
    episodes, U updates. All ``*_timesteps`` are values of SB3's ``num_timesteps``, the
    number of steps summed over the parallel environments.

    Attributes:
        action_probabilities: float64 [P, K, A], probability of action a at observation
            k; ``[0]`` is the initial policy, ``[-1]`` the final one. [0, 0, 0] if not
            recorded.
        probability_timesteps: int64 [P], strictly increasing.
        rewards: float64 [S], reward of each step, averaged over the environments.
        reward_timesteps: int64 [S].
        episode_returns: float64 [E], undiscounted, as reported by Monitor.
        episode_lengths: int64 [E], in steps.
        episode_timesteps: int64 [E], at the end of the episode.
        policy_losses: float64 [U], logged by ``train()``; NaN if not logged.
        loss_timesteps: int64 [U].
    """

    action_probabilities: NDArray[np.float64]
    probability_timesteps: NDArray[np.int64]
    rewards: NDArray[np.float64]
    reward_timesteps: NDArray[np.int64]
    episode_returns: NDArray[np.float64]
    episode_lengths: NDArray[np.int64]
    episode_timesteps: NDArray[np.int64]
    policy_losses: NDArray[np.float64]
    loss_timesteps: NDArray[np.int64]


def action_probabilities(
    model: BaseAlgorithm, observations: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Returns the probability of each action at each observation, float64 `[K, A]`.

    Args:
        model: an actor-critic or policy-gradient model with discrete actions.
        observations: `[K, *obs_shape]`, as inputs of the policy.

    Raises:
        ValueError: if the policy is not categorical.
    """
    policy = model.policy
    if not isinstance(policy, ActorCriticPolicy):
        raise ValueError(_not_categorical(type(policy).__name__))
    was_training = policy.training
    policy.set_training_mode(False)
    with torch.no_grad():
        tensor = policy.obs_to_tensor(np.array(observations))[0]
        distribution = policy.get_distribution(tensor).distribution
    policy.set_training_mode(was_training)
    if not isinstance(distribution, torch.distributions.Categorical):
        raise ValueError(_not_categorical(type(distribution).__name__))
    probabilities: NDArray[np.float64] = distribution.probs.double().cpu().numpy()
    return probabilities


class Recorder(BaseCallback):
    """Records a training run; see `record`.

    ``learn(..., reset_num_timesteps=False)`` continues the record; another ``learn``
    starts a new one.
    """

    only_watches = True

    def __init__(
        self, observations: NDArray[np.generic] | None = None, every: int = 1
    ) -> None:
        """Initialises the callback.

        Args:
            observations: [K, *obs_shape], observations whose action probabilities are
                recorded, as inputs of the policy (normalised, with VecNormalize); None
                records no probabilities.
            every: number of updates between recordings of the probabilities, at least
                1. Those of the initial and the final policy are always recorded.

        Raises:
            ValueError: if ``every`` is not an integer >= 1. At the start of training,
                if ``observations`` has another shape, or the policy is not
                categorical.
        """
        super().__init__()
        check_count("every", every)
        self.observations = None if observations is None else np.asarray(observations)
        self.every = every
        self._clear()

    @property
    def record(self) -> TrainingRecord:
        """A copy of the record so far."""
        probabilities = self._probabilities or [np.empty((0, 0))]
        return TrainingRecord(
            action_probabilities=np.stack(probabilities)[: len(self._probabilities)],
            probability_timesteps=np.array(self._probability_timesteps, np.int64),
            rewards=np.array(self._rewards, np.float64),
            reward_timesteps=np.array(self._reward_timesteps, np.int64),
            episode_returns=np.array(self._returns, np.float64),
            episode_lengths=np.array(self._lengths, np.int64),
            episode_timesteps=np.array(self._episode_timesteps, np.int64),
            policy_losses=np.array(self._losses, np.float64),
            loss_timesteps=np.array(self._loss_timesteps, np.int64),
        )

    def _clear(self) -> None:
        self._probabilities: list[NDArray[np.float64]] = []
        self._probability_timesteps = array("q")
        # Arrays take a quarter of the memory of lists of floats.
        self._rewards, self._reward_timesteps = array("d"), array("q")
        self._returns, self._lengths = array("d"), array("q")
        self._episode_timesteps = array("q")
        self._losses, self._loss_timesteps = array("d"), array("q")
        self._policy_timestep = 0
        self._update_is_due = False

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:
            self._clear()
        if not self._losses:
            self._policy_timestep = self.model.num_timesteps
        self._update_is_due = False
        self._check_observations()
        self._record_probabilities()

    def _on_step(self) -> bool:
        rewards = step_variable(self, "rewards")
        if isinstance(rewards, torch.Tensor):
            rewards = rewards.cpu().numpy()
        self._rewards.append(float(np.mean(rewards, dtype=np.float64)))
        self._reward_timesteps.append(self.num_timesteps)
        for episode in finished_episodes(self.locals):
            self._returns.append(episode.episode_return)
            self._lengths.append(episode.length)
            self._episode_timesteps.append(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        # train() follows, and has no hook of its own.
        self._update_is_due = True

    def _on_rollout_start(self) -> None:
        self._record_update()

    def _on_training_end(self) -> None:
        self._record_update()
        self._record_probabilities()

    def _record_update(self) -> None:
        if not self._update_is_due:
            return
        self._update_is_due = False
        logged = self.logger.name_to_value
        losses = [float(logged[key]) for key in _LOSS_KEYS if key in logged]
        self._losses.append(losses[0] if losses else np.nan)
        self._policy_timestep = self.model.num_timesteps
        self._loss_timesteps.append(self._policy_timestep)
        if len(self._losses) % self.every == 0:
            self._record_probabilities()

    def _record_probabilities(self) -> None:
        """Records the probabilities of the current policy, once for each update."""
        # Training may end within a rollout, after the policy has been recorded.
        is_done = self._policy_timestep in self._probability_timesteps[-1:]
        if self.observations is None or is_done:
            return
        self._probabilities.append(action_probabilities(self.model, self.observations))
        self._probability_timesteps.append(self._policy_timestep)

    def _check_observations(self) -> None:
        if self.observations is None:
            return
        space = self.model.observation_space
        shape = self.observations.shape
        if len(shape) == 0 or shape[0] == 0 or shape[1:] != space.shape:
            raise ValueError(
                f"observations must have the shape [K, *obs_shape] with K >= 1 and "
                f"obs_shape = {space.shape}, got {shape}"
            )


def _not_categorical(name: str) -> str:
    return (
        "action probabilities can only be recorded with a categorical policy (a "
        f"Discrete action space with A2C, PPO or an agent of pg_agents), got {name}; "
        "pass observations=None to record everything else"
    )
