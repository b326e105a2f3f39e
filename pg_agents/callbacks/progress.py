"""A progress bar with the last return and the running reward."""

from typing import TextIO

from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks.episodes import RunningReward, finished_episodes
from pg_agents.common.checks import check_count
from pg_agents.common.progress import Bar, advance, bar_format, tqdm


class ProgressCallback(BaseCallback):
    """Shows steps, the return of the last episode and the running reward.

    The bar reads ``1234/20000 steps, episode 0.85, running 0.79``, or, with
    ``episodes``, ``35/500 episodes, 1234 steps, episode 0.85, running 0.79``. Returns
    are those reported by Monitor or VecMonitor; SB3 wraps single environments in it.

    ``learn(..., reset_num_timesteps=False)`` continues counts and running reward;
    another ``learn`` resets them.

    If ``learn`` raises, SB3 does not call callbacks at the end of training: ``close``
    or the next ``learn`` then closes the bar.
    """

    only_watches = True

    def __init__(
        self,
        factor: float = 0.05,
        description: str | None = None,
        *,
        episodes: int | None = None,
        leave: bool = True,
        disable: bool | None = False,
        file: TextIO | None = None,
    ) -> None:
        """Initialises the callback.

        Args:
            factor: weight of the newest return in the running reward, in (0, 1].
            description: text in front of the bar, such as the name of the run.
            episodes: expected number of episodes. The bar then counts episodes instead
                of steps; it does not end training.
            leave: whether the finished bar stays on the screen.
            disable: whether to hide the bar; None hides it unless on a terminal.
            file: output stream; None for standard error.

        Raises:
            ValueError: if ``factor`` is outside (0, 1], or ``episodes`` below 1.
        """
        super().__init__()
        if episodes is not None:
            check_count("episodes", episodes)
        self.episodes = episodes
        self.running_reward = RunningReward(factor)
        self.description = description
        self.leave = leave
        self.disable = disable
        self.file = file
        self._bar: Bar | None = None

    def close(self) -> None:
        """Closes the bar; only needed after ``learn`` has raised."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _on_training_start(self) -> None:
        self.close()
        if self.model.num_timesteps == 0:
            self.running_reward = RunningReward(self.running_reward.factor)
        # SB3's total includes the steps of earlier calls.
        total, unit = self.locals["total_timesteps"], "steps"
        if self.episodes is not None:
            total, unit = self.episodes, "episodes"
        self._bar = tqdm(
            total=total,
            initial=self._count,
            desc=f"{self.description}: " if self.description else None,
            bar_format=bar_format(unit),
            dynamic_ncols=True,
            leave=self.leave,
            disable=self.disable,
            file=self.file,
        )

    def _on_step(self) -> bool:
        if self._bar is None:
            return True
        for episode in finished_episodes(self.locals):
            running = self.running_reward.update(episode.episode_return)
            steps = "" if self.episodes is None else f"{self.num_timesteps} steps, "
            self._bar.set_postfix_str(
                f"{steps}episode {episode.episode_return:.4g}, running {running:.4g}",
                refresh=False,
            )
        advance(self._bar, self._count)
        return True

    @property
    def _count(self) -> int:
        """Number of steps or episodes so far."""
        if self.episodes is not None:
            return self.running_reward.n_episodes
        return self.model.num_timesteps

    def _on_training_end(self) -> None:
        self.close()
