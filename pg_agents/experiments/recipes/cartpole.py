"""CartPole-v1: pole on a cart, a return of 500 at most."""

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

RECIPES = (
    Recipe(
        name="random-baseline",
        title="uniform random actions, watched for 10 episodes",
        reported=Reported(text="none", source="A"),
        variants={
            "notebook": Settings(
                algorithm="RandomAgent",
                env_id="CartPole-v1",
                episodes=10,
                evaluation=Evaluation(n_episodes=100),
            )
        },
    ),
    Recipe(
        name="cartpole-policy-network",
        title="REINFORCE, MLP 4-32-2, returns standardised within the episode",
        reported=Reported(text="none; solved is 475", source="A"),
        variants={
            "notebook": Settings(
                algorithm="REINFORCE",
                env_id="CartPole-v1",
                policy_kwargs={"net_arch": [32], "activation_fn": "ReLU"},
                arguments={
                    "learning_rate": 5e-3,
                    "gamma": 0.99,
                    "standardize_returns": True,
                },
                episodes=1000,
                evaluation=Evaluation(n_episodes=100),
            )
        },
    ),
)
