"""The environments whose right answers are known: the row of states, the bandit."""

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

RECIPES = (
    Recipe(
        name="sequence-reinforce",
        title="REINFORCE with a linear policy on three states in a row",
        # Right, right, centre: -0.05 - 0.05 + 1.
        reported=Reported(text="final policies, no figure; 0.90 is best", source="D"),
        variants={
            "notebook": Settings(
                algorithm="REINFORCE",
                env_id="PGToy-Sequence-v0",
                policy_kwargs={"net_arch": [], "optimizer_class": "AdamW"},
                arguments={"learning_rate": 0.01, "gamma": 0.6},
                episodes=500,
                evaluation=Evaluation(n_episodes=10),
                checkpoint_every=2000,
            )
        },
    ),
)
