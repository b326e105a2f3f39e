"""A progress bar with the return of the last episode and the running reward."""

from typing import TYPE_CHECKING, Never, TextIO

from stable_baselines3.common.callbacks import BaseCallback

# The plain text bar on purpose: tqdm.auto warns in a notebook without ipywidgets, and
# the text bar shows well in notebooks too.
from tqdm import tqdm

from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.callbacks.running_reward import RunningReward
from pg_agents.common.checks import check_count

if TYPE_CHECKING:
    Bar = tqdm[Never]  # tqdm is generic for the type checker alone

_BAR_FORMAT = (
    "{{desc}}{{percentage:3.0f}}%|{{bar:20}}| {{n_fmt}}/{{total_fmt}} {unit}"
    "{{postfix}} [{{elapsed}}<{{remaining}}]"
)


class ProgressCallback(BaseCallback):
    """Shows steps, the last episode's return and the running reward while training.

    It reads ``1234/20000 steps, episode 0.85, running 0.79``, or, with ``episodes``,
    ``35/500 episodes, 1234 steps, episode 0.85, running 0.79``. Returns are those that
    Monitor (or VecMonitor) reports; SB3 wraps a single environment in it by itself.

    A second ``learn(..., reset_num_timesteps=False)`` goes on where the first ended,
    the running reward included; a ``learn`` that counts from 0 begins anew.

    When ``learn`` raises, SB3 calls no hook: the bar is then closed by ``close``, by
    the next ``learn``, or when the callback is garbage-collected.
    """

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
        """Prepare the bar, which opens when training starts.

        Args:
            factor: Weight of the newest return in the running reward, in (0, 1].
            description: Words in front of the bar, such as the name of the run.
            episodes: After how many episodes training is to end, where that, and not a
                number of steps, is known: then the bar counts episodes. It ends
                nothing by itself.
            leave: Whether the finished bar stays on the screen.
            disable: Whether to show nothing; None shows nothing unless on a terminal.
            file: Where the bar is written; None is the standard error stream.

        Raises:
            ValueError: If ``factor`` is outside (0, 1], or ``episodes`` below 1.
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
        """Close the bar if one is open; needed only after ``learn`` has raised."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _on_training_start(self) -> None:
        self.close()
        if self.model.num_timesteps == 0:
            self.running_reward = RunningReward(self.running_reward.factor)
        # SB3 has already added the steps of earlier calls to its total.
        total, unit = self.locals["total_timesteps"], "steps"
        if self.episodes is not None:
            total, unit = self.episodes, "episodes"
        self._bar = tqdm(
            total=total,
            initial=self._count,
            desc=f"{self.description}: " if self.description else None,
            bar_format=_BAR_FORMAT.format(unit=unit),
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
        if self._bar.total is not None and self._count > self._bar.total:
            # The last rollout runs past the total, and tqdm hides the bar of a count
            # beyond it.
            self._bar.total = self._count
        self._bar.update(self._count - self._bar.n)
        return True

    @property
    def _count(self) -> int:
        """What the bar counts, so far."""
        if self.episodes is not None:
            return self.running_reward.n_episodes
        return self.model.num_timesteps

    def _on_training_end(self) -> None:
        self.close()
