"""Records a training run: policy, rewards, episodes and losses over time."""

from array import array

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.callbacks.training_record import TrainingRecord
from pg_agents.common.checks import check_count

# A2C and our agents log the first, PPO the second.
_LOSS_KEYS = ("train/policy_loss", "train/policy_gradient_loss")


class Recorder(BaseCallback):
    """Writes a training run down; `record` hands it out at any time.

    A ``learn`` that counts its steps from 0 begins a new record; one with
    ``reset_num_timesteps=False`` goes on with the last.
    """

    def __init__(
        self, observations: NDArray[np.generic] | None = None, every: int = 1
    ) -> None:
        """Choose what is recorded.

        Args:
            observations: [K, *obs_shape], the observations whose action
                probabilities are recorded, as the policy is given them (normalised, if
                a VecNormalize is in use); None records no probabilities.
            every: Updates between two recordings of the probabilities, at least 1. The
                policies before the first and after the last update are always recorded.

        Raises:
            ValueError: If ``every`` is no integer of at least 1; when training
                starts, if ``observations`` has another shape than [K, *obs_shape], or
                if probabilities are asked of a policy that isn't categorical.
        """
        super().__init__()
        check_count("every", every)
        self.observations = None if observations is None else np.asarray(observations)
        self.every = every
        self._clear()

    @property
    def record(self) -> TrainingRecord:
        """A copy of what was recorded so far."""
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
        # Compact arrays: a list of a million Python floats takes four times the room.
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
        rewards = self.locals["rewards"]
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
        # SB3 has no hook after train(), which comes right after this one. A rollout
        # that was stopped half-way never gets here, and no update follows it.
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
        """Record the present policy, unless that is done already."""
        # The time is that of the last update, not now: training may be stopped in the
        # middle of a rollout, with the policy as it was recorded before.
        is_done = self._policy_timestep in self._probability_timesteps[-1:]
        if self.observations is None or is_done:
            return
        self._probabilities.append(self._action_probabilities(self.observations))
        self._probability_timesteps.append(self._policy_timestep)

    def _action_probabilities(
        self, observations: NDArray[np.generic]
    ) -> NDArray[np.float64]:
        """Action probabilities [K, A] of the present policy, in evaluation mode."""
        policy = self.model.policy
        if not isinstance(policy, ActorCriticPolicy):
            raise ValueError(_not_categorical(type(policy).__name__))
        was_training = policy.training
        policy.set_training_mode(False)
        with torch.no_grad():
            tensor = policy.obs_to_tensor(observations)[0]
            distribution = policy.get_distribution(tensor).distribution
        policy.set_training_mode(was_training)
        if not isinstance(distribution, torch.distributions.Categorical):
            raise ValueError(_not_categorical(type(distribution).__name__))
        probabilities: NDArray[np.float64] = distribution.probs.double().cpu().numpy()
        return probabilities

    def _check_observations(self) -> None:
        if self.observations is None:
            return
        space = self.model.observation_space
        given = self.observations.shape
        if len(given) == 0 or given[0] == 0 or given[1:] != space.shape:
            raise ValueError(
                f"observations must have the shape [K, *obs_shape] with K >= 1 and "
                f"obs_shape = {space.shape}, got {given}"
            )


def _not_categorical(name: str) -> str:
    return (
        "action probabilities can be recorded of a categorical policy alone (a "
        f"Discrete action space with A2C, PPO or an agent of pg_agents), got {name}; "
        "leave observations=None to record everything else"
    )
