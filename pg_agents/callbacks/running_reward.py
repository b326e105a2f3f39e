"""An exponential average of episode returns that starts without bias."""

import math

from pg_agents.common.checks import check_weight


class RunningReward:
    r"""Exponential average of episode returns, corrected for its start.

    With the factor :math:`f` and the return :math:`G_n` of episode :math:`n`:

    .. math::
        m_n = (1 - f) m_{n-1} + f G_n, \quad m_0 = 0, \qquad
        \mathrm{value}_n = \frac{m_n}{1 - (1 - f)^n}

    The weights of ``value`` sum to one after every episode. Without the division, a
    start at 0 would flatter a task whose returns are negative; a start at the first
    return would count one lucky episode as the whole past. It is computed as

    .. math::
        \mathrm{value}_n = \mathrm{value}_{n-1}
            + \frac{f}{1 - (1 - f)^n} (G_n - \mathrm{value}_{n-1})

    which is the same, and keeps the average of equal returns exactly at that return.

    Reference: Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization",
    section 3 (initialization bias correction).

    Attributes:
        factor: Weight of the newest return.
        n_episodes: Number of returns taken in.
        value: The average so far; NaN before the first episode.
    """

    def __init__(self, factor: float = 0.05) -> None:
        """Start an average of nothing.

        Args:
            factor: Weight of the newest return, in (0, 1]. At 1 the value is the last
                return; at 0.05 the average looks back over about 20 episodes.

        Raises:
            ValueError: If ``factor`` is outside (0, 1].
        """
        check_weight("factor", factor)
        self.factor = factor
        self.n_episodes = 0
        self.value = math.nan

    def update(self, episode_return: float) -> float:
        """Take in the return of one more episode.

        Args:
            episode_return: Undiscounted return of the episode that just ended.

        Returns:
            The new average, the same as ``value``.
        """
        self.n_episodes += 1
        if self.n_episodes == 1 or self.factor == 1.0:
            self.value = episode_return
        else:
            weight_in_place = -math.expm1(self.n_episodes * math.log1p(-self.factor))
            self.value += self.factor / weight_in_place * (episode_return - self.value)
        return self.value
