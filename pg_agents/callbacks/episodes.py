"""Finished episodes, and the running average of their returns."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.common.checks import check_weight


class FinishedEpisode(NamedTuple):
    """An episode that has ended.

    Attributes:
        episode_return: undiscounted return.
        length: number of steps.
    """

    episode_return: float
    length: int


def finished_episodes(locals_: Mapping[str, Any]) -> list[FinishedEpisode]:
    """Returns the episodes that ended in the last step, in order of environments.

    Args:
        locals_: ``locals`` of an SB3 callback, with a dict for each environment under
            ``"infos"``. Monitor and VecMonitor add the key ``"episode"`` to it when an
            episode ends.
    """
    dones = locals_.get("dones")
    # Most steps end no episode: then there may be no infos yet, see `LazyInfos`.
    if dones is not None and not np.count_nonzero(dones):
        return []
    reports = (info.get("episode") for info in locals_.get("infos", ()))
    return [
        FinishedEpisode(float(report["r"]), int(report["l"]))
        for report in reports
        if report is not None
    ]


def step_variable(callback: BaseCallback, name: str) -> Any:  # noqa: ANN401
    """Returns a local variable of the last step, such as `"rewards"`.

    Raises:
        TypeError: if the algorithm does not pass it to callbacks, as ARS does not.
    """
    if name not in callback.locals:
        raise TypeError(
            f"{type(callback).__name__} needs the {name} of each step, which "
            f"{type(callback.model).__name__} does not pass to callbacks"
        )
    return callback.locals[name]


class RunningReward:
    r"""Exponential average of episode returns with bias correction.

    With the factor :math:`f` and the return :math:`G_n` of episode :math:`n`:

    .. math::
        m_n &= (1 - f) m_{n-1} + f G_n, \quad m_0 = 0, \\
        \mathrm{value}_n &= \frac{m_n}{1 - (1 - f)^n}

    so that the weights of the returns sum to 1 after every episode. It is computed as

    .. math::
        \mathrm{value}_n = {} & \mathrm{value}_{n-1} \\
            & + \frac{f}{1 - (1 - f)^n} (G_n - \mathrm{value}_{n-1})

    which leaves the average of equal returns exactly at that return.

    Reference: Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization",
    section 3 (initialization bias correction).

    Attributes:
        factor: weight of the newest return.
        n_episodes: number of returns.
        value: the average; NaN before the first episode.
    """

    def __init__(self, factor: float = 0.05) -> None:
        """Initialises the average.

        Args:
            factor: weight of the newest return, in (0, 1]. With 1 the value is the last
                return; 0.05 averages over about 20 episodes.

        Raises:
            ValueError: if ``factor`` is outside (0, 1].
        """
        check_weight("factor", factor)
        self.factor = factor
        self.n_episodes = 0
        self.value = math.nan

    def update(self, episode_return: float) -> float:
        """Adds the undiscounted return of an episode, and returns the new value."""
        self.n_episodes += 1
        if self.n_episodes == 1 or self.factor == 1.0:
            self.value = episode_return
        else:
            total_weight = -math.expm1(self.n_episodes * math.log1p(-self.factor))
            self.value += self.factor / total_weight * (episode_return - self.value)
        return self.value
