"""Stops training once the running reward reaches the environment's threshold."""

from collections.abc import Iterable

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.callbacks.running_reward import RunningReward
from pg_agents.common.checks import check_count, check_number

# As many episodes' worth of ends without a reported return mean that nobody reports
# them. More than one, because a wrapper may end an episode early (a lost life).
_ENDS_WITHOUT_RETURN = 20

# Monitor adds up float32 rewards and rounds to six digits: a policy that always earns
# the threshold must not miss it by that.
_ROUNDING = 1e-6


class StopWhenSolved(BaseCallback):
    """Stops training when the running reward reaches ``reward_threshold``.

    The running reward is `RunningReward` over the returns that Monitor (or VecMonitor)
    reports. A ``learn`` that counts its steps from 0 begins anew; one with
    ``reset_num_timesteps=False`` goes on with the running reward of the last.

    Attributes:
        solved: Whether the threshold was reached.
    """

    def __init__(
        self,
        reward_threshold: float | None = None,
        min_episodes: int = 20,
        factor: float = 0.05,
        verbose: int = 1,
    ) -> None:
        """Choose when to stop.

        Args:
            reward_threshold: Running reward that counts as solved; None reads
                ``spec.reward_threshold`` of the training environment.
            min_episodes: Episodes to see before stopping, at least 1. After 20 of them,
                with a factor of 0.05, 64 % of the average's final weight is in place.
            factor: Weight of the newest return in the running reward, in (0, 1].
            verbose: At 1 or more, says so when the environment is solved.

        Raises:
            ValueError: If ``factor`` or ``min_episodes`` is out of range, or
                ``reward_threshold`` is no number; when training starts, if there is
                no threshold; while training, if no returns are reported because the
                environment has no Monitor.
        """
        super().__init__(verbose)
        check_count("min_episodes", min_episodes)
        if reward_threshold is not None:
            check_number("reward_threshold", reward_threshold)
        self.reward_threshold = reward_threshold
        self.min_episodes = min_episodes
        self.solved = False
        self._average = RunningReward(factor)
        self._threshold = float("nan")
        self._n_ends_without_return = 0

    @property
    def running_reward(self) -> float:
        """The running reward so far; NaN before the first episode."""
        return self._average.value

    @property
    def n_episodes(self) -> int:
        """Number of episodes in the running reward."""
        return self._average.n_episodes

    def take_up(self, returns: Iterable[float]) -> None:
        """Go on with a run of another process, whose ``learn`` counted these episodes.

        Args:
            returns: Their undiscounted returns, in the order in which they ended.
        """
        for episode_return in returns:
            self._average.update(episode_return)

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:
            self._average = RunningReward(self._average.factor)
            self._n_ends_without_return = 0
        self.solved = False
        self._threshold = self._find_threshold()

    def _find_threshold(self) -> float:
        if self.reward_threshold is not None:
            return self.reward_threshold
        try:
            spec = self.training_env.get_attr("spec")[0]
        except AttributeError:  # a vector environment may know of no spec
            spec = None
        threshold = getattr(spec, "reward_threshold", None)
        if threshold is None:
            name = getattr(spec, "id", None) or "the training environment"
            raise ValueError(
                f"{name} has no reward_threshold in its spec; give one with "
                "StopWhenSolved(reward_threshold=...) or "
                "gymnasium.register(..., reward_threshold=...)"
            )
        return float(threshold)

    def _on_step(self) -> bool:
        episodes = finished_episodes(self.locals)
        if self.n_episodes == 0 and not episodes:
            self._check_that_returns_are_reported()
        for episode in episodes:
            self._average.update(episode.episode_return)
            if self._is_solved():
                self.solved = True
                self._say_solved()
                return False
        return True

    def _is_solved(self) -> bool:
        tolerance = _ROUNDING * max(1.0, abs(self._threshold))
        reached = self.running_reward >= self._threshold - tolerance
        return reached and self.n_episodes >= self.min_episodes

    def _say_solved(self) -> None:
        if self.verbose >= 1:
            # tqdm.write leaves a progress bar that is on the screen whole.
            tqdm.write(
                f"Solved after {self.n_episodes} episodes "
                f"({self.num_timesteps} steps): running reward "
                f"{self.running_reward:.4g} >= {self._threshold:.4g}."
            )

    def _check_that_returns_are_reported(self) -> None:
        self._n_ends_without_return += int(sum(self.locals["dones"]))
        allowed = _ENDS_WITHOUT_RETURN * self.training_env.num_envs
        if self._n_ends_without_return >= allowed:
            raise ValueError(
                f"{self._n_ends_without_return} episodes ended and none reported its "
                "return in info['episode']; wrap the environment in SB3's Monitor, or "
                "the vector environment in VecMonitor"
            )
