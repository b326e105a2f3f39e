"""CartPole-v1: pole on a cart, a return of 500 at most."""

from dataclasses import replace
from typing import Any

from pg_agents.experiments.recipe import Point, Recipe, Reported
from pg_agents.experiments.recipes.parts import (
    BEST_REINFORCE,
    EVALUATION,
    SOLVED,
    plain_network,
)
from pg_agents.experiments.settings import Evaluation, Settings

# The training of notebook A: it stops once the running reward says solved.
_UNTIL_SOLVED: dict[str, Any] = {
    "episodes": 2000,
    "stop_when_solved": {"reward_threshold": SOLVED},
    "checkpoint_every": 50_000,
    "evaluation": EVALUATION,
}

# With what the notebooks get wrong, each alone, so that what correcting it changes can
# be seen.
_MISTAKES = "pg_agents.experiments.mistakes"
_POLICY_NETWORK = Settings(
    algorithm="REINFORCE",
    env_id="CartPole-v1",
    policy_kwargs=plain_network(32),
    arguments={
        "learning_rate": 5e-3,
        "gamma": 0.99,
        "standardize_returns": True,
    },
    **_UNTIL_SOLVED,
)
_MEMORY = Settings(
    algorithm="REINFORCE",
    env_id="CartPole-v1",
    policy_kwargs=plain_network(20, 20),
    arguments={
        "learning_rate": 1e-3,
        "gamma": 0.99,
        "memory_size": 512,
        "learning_starts": 256,
        "batch_size": 256,
        "gradient_steps": 2,
        "replay": "returns",
    },
    episodes=2500,
    checkpoint_every=50_000,
    evaluation=EVALUATION,
)

RANDOM_BASELINE = Recipe(
    name="random-baseline",
    title="uniform random actions, watched for 10 episodes",
    reported=Reported(text="watched, no figure", source="A"),
    variants={
        "notebook": Settings(
            algorithm="RandomAgent",
            env_id="CartPole-v1",
            episodes=10,
            evaluation=Evaluation(n_episodes=100),
        )
    },
)
POLICY_NETWORK = Recipe(
    name="cartpole-policy-network",
    title="REINFORCE, MLP 4-32-2, returns standardised within the episode",
    reported=Reported(
        text="solved: running reward above 475", running_reward=SOLVED, source="A"
    ),
    variants={
        "notebook": _POLICY_NETWORK,
        # Gymnasium leaves the time limit away: an episode goes on until the pole falls.
        "stepped-past": replace(
            _POLICY_NETWORK,
            env_kwargs={"max_episode_steps": -1},
            evaluation=replace(EVALUATION, env_kwargs={"max_episode_steps": 500}),
        ),
        "probability": replace(_POLICY_NETWORK, train=f"{_MISTAKES}:probability"),
        "best": BEST_REINFORCE,
    },
)
TWO_HEADED = Recipe(
    name="cartpole-two-headed",
    title="REINFORCE, one hidden layer of 128 with a head for policy and critic",
    reported=Reported(
        text="solved: running reward above 475, up to 2,000 episodes",
        running_reward=SOLVED,
        source="A",
    ),
    variants={
        "notebook": Settings(
            algorithm="REINFORCE",
            env_id="CartPole-v1",
            policy_kwargs=plain_network(128, critic="shared"),
            arguments={
                "learning_rate": 5e-3,
                "gamma": 0.99,
                "baseline": "value",
                "standardize_returns": True,
                "critic_loss": "huber",
                # Both losses are added as they are.
                "vf_coef": 1.0,
            },
            **_UNTIL_SOLVED,
        )
    },
)
MONTE_CARLO = Recipe(
    name="cartpole-mc",
    title="REINFORCE, MLP 4-16-2, gamma 1, episodes of up to 1,000 steps",
    reported=Reported(
        text="average of 100 episodes: 25.7 at 100, 76 at 200, then 310 to 1000; final "
        "evaluation at its cap of 1000",
        value=1000.0,
        points=(Point(100, 100, 25.7), Point(200, 100, 76.0), Point(1000, 100, None)),
        source="B",
    ),
    variants={
        "notebook": Settings(
            algorithm="REINFORCE",
            env_id="CartPole-v1",
            env_kwargs={"max_episode_steps": 1000},
            policy_kwargs=plain_network(16),
            arguments={
                "learning_rate": 1e-2,
                "gamma": 1.0,
                "standardize_returns": True,
            },
            episodes=1000,
            checkpoint_every=50_000,
            evaluation=EVALUATION,
        )
    },
)
MEMORY = Recipe(
    name="reinforce-memory",
    title="REINFORCE from a memory of 512 steps, as if the policy had not changed",
    reported=Reported(
        text="learning curve, no figure",
        points=(Point(500, 100, None), Point(2500, 100, None)),
        source="C",
    ),
    variants={
        "notebook": _MEMORY,
        "rounded": replace(_MEMORY, train=f"{_MISTAKES}:rounded_returns"),
    },
)
RECIPES = (RANDOM_BASELINE, POLICY_NETWORK, TWO_HEADED, MONTE_CARLO, MEMORY)
