"""The entropy weight falls in step with the step size."""

from __future__ import annotations

from typing import Any

import pytest

from pg_agents import ActorCritic
from pg_agents.zoo.schedules import LinearEntCoef


def test_an_update_has_the_progress_that_its_step_size_has() -> None:
    seen: list[tuple[float, float]] = []

    class Watched(ActorCritic):
        def train(self) -> None:
            super().train()
            rate = self.policy.optimizer.param_groups[0]["lr"]
            seen.append((self.ent_coef, rate))

    def falling(remaining: float) -> float:
        return 1e-3 * remaining

    named: dict[str, Any] = {"n_steps": 10, "learning_rate": falling, "ent_coef": 0.5}
    model = Watched("MlpPolicy", "pg_envs:PGToy-Sequence-v0", seed=0, **named)
    # The last rollout goes on to step 50: a weight is never negative.
    model.learn(45, callback=LinearEntCoef(0.5))
    left = [1 - steps / 45 for steps in (10, 20, 30, 40)] + [0.0]
    assert [weight for weight, _ in seen] == pytest.approx([0.5 * x for x in left])
    assert [rate for _, rate in seen[:4]] == pytest.approx([1e-3 * x for x in left[:4]])
