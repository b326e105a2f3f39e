"""PGToy-Sequence-v0: three states, whose best actions are right, right, centre."""

from typing import Any

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings


def _sequence(net_arch: list[int], **arguments: Any) -> Settings:
    return Settings(
        algorithm="REINFORCE",
        env_id="PGToy-Sequence-v0",
        policy_kwargs={"net_arch": net_arch, "optimizer_class": "AdamW"},
        arguments={"learning_rate": 0.01, "gamma": 0.6, **arguments},
        episodes=500,
        evaluation=Evaluation(n_episodes=10),
        checkpoint_every=2000,
    )


RECIPES = (
    Recipe(
        name="sequence-reinforce",
        title="REINFORCE with a linear policy on three states in a row",
        # The best return is -0.05 - 0.05 + 1.
        reported=Reported(
            text="9 of 10 runs find right, right, centre (it trains on the "
            "probability, pgtoy on its logarithm); the best return is 0.90"
        ),
        variants={"notebook": _sequence([])},
    ),
    Recipe(
        name="sequence-explore",
        title="the same with another gamma, step size, baseline, network",
        variants={
            "gamma": _sequence([], gamma=0.95),
            "step": _sequence([], learning_rate=0.05),
            "baseline": _sequence([], baseline="value"),
            "network": _sequence([16]),
        },
    ),
)
