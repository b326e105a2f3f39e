"""An entropy weight that falls while the agent learns."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback


class LinearEntCoef(BaseCallback):
    """Lets `ent_coef` fall linearly from a value to 0.

    An update after n of N steps uses `initial_value * (1 - n/N)`, the progress that
    SB3's schedules of the step size see at this update.

    Args:
        initial_value: weight of the entropy at the start, at least 0.
        verbose: as SB3's callbacks.
    """

    def __init__(self, initial_value: float, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.initial_value = initial_value

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model = self.model
        # SB3 brings its own account of the progress up to date only after this.
        remaining = 1.0 - model.num_timesteps / model._total_timesteps
        model.ent_coef = self.initial_value * max(remaining, 0.0)  # type: ignore[attr-defined]
