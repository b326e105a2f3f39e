"""PGToy-Pixelcopter-v0: a helicopter in an endless cave.

A return is the score of the original game: 1 for each block or column passed, -5 for a
crash. A crash costs 1 in Hugging Face's course, so a flight scores 4 more there.
"""

from dataclasses import replace
from typing import Any

from pg_agents.experiments.recipe import Point, Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

# A flight of 20,000 steps, which scores about 3,500, is truncated.
_EVALUATION = Evaluation(
    n_episodes=100,
    n_envs=100,
    env_kwargs={
        "max_episode_steps": 20_000,
        "vectorization_mode": "vector_entry_point",
    },
)
# Number of stacked observations; a column passes in six steps.
_STACK = 8


def _network(n_stack: int) -> dict[str, Any]:
    """Returns the policy_kwargs for a stack of observations.

    The features are scaled by typical sizes in pixels: y, momentum, distances to
    ceiling and floor, distance to the next block, its upper and its lower edge.
    """
    return {
        "net_arch": [64, 64],
        "activation_fn": "ReLU",
        "optimizer_class": "Adam",
        "features_extractor_class": "ScaledExtractor",
        "features_extractor_kwargs": {
            "centre": [24, 0, 12, 12, 24, 24, 33] * n_stack,
            "scale": [4, 1, 5, 5, 16, 7, 7] * n_stack,
        },
    }


_BEST = Settings(
    algorithm="ActorCritic",
    env_id="PGToy-Pixelcopter-v0",
    vectorization="vector",
    n_envs=256,
    env_kwargs={"autoreset_mode": "SameStep"},
    policy_kwargs=_network(1),
    arguments={
        "learning_rate": "lin_2e-3",
        "n_steps": 64,
        "gamma": 0.995,
        "gae_lambda": 0.95,
        "clip_range": 0.2,
        "n_epochs": 8,
        "batch_size": 2048,
        "normalize_advantage": True,
        "ent_coef": 1e-3,
    },
    timesteps=8_000_000,
    evaluation=_EVALUATION,
    checkpoint_every=500_000,
)

RECIPES = (
    Recipe(
        name="pixelcopter-mc",
        title="REINFORCE on Pixelcopter, MLP 7-64-128-2",
        reported=Reported(
            text="average score: 6 at 1,000, 18 at 10,000, 26 at 20,000, 36 at 27,000; "
            "final evaluation 43.0 ± 57.4 over 10 episodes",
            value=43.0,
            points=(
                Point(1_000, 100, 6.0),
                Point(10_000, 100, 18.0),
                Point(20_000, 100, 26.0),
                Point(27_000, 100, 36.0),
                Point(50_000, 100, None),
            ),
            tenth=True,
        ),
        variants={
            # One environment: the source makes an update after each episode.
            "notebook": Settings(
                algorithm="REINFORCE",
                env_id="PGToy-Pixelcopter-v0",
                vectorization="vector",
                env_kwargs={"autoreset_mode": "SameStep"},
                policy_kwargs={
                    "net_arch": [64, 128],
                    "activation_fn": "ReLU",
                    "ortho_init": False,
                    "optimizer_class": "Adam",
                },
                arguments={
                    "learning_rate": 1e-4,
                    "gamma": 0.99,
                    "standardize_returns": True,
                },
                episodes=50_000,
                evaluation=_EVALUATION,
                checkpoint_every=500_000,
            ),
            "best": _BEST,
            # One column shows where the cave is, several where it leads.
            "stacked": replace(
                _BEST,
                frame_stack=_STACK,
                policy_kwargs=_network(_STACK),
                timesteps=4_000_000,
            ),
        },
        seeds=5,
    ),
)
