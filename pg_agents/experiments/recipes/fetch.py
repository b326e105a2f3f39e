"""The Fetch robot of gymnasium-robotics: reach, push, and slide out of reach."""

from dataclasses import replace

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

_ENV = "gymnasium_robotics:Fetch"

# Small steps of the policy and larger ones of the critic, which knows nothing yet when
# the policy is a clone already.
SLIDE = Settings(
    algorithm="ActorCritic",
    env_id=f"{_ENV}Slide-v4",
    n_envs=8,
    policy="MultiInputPolicy",
    normalize={"norm_reward": False},
    policy_kwargs={
        "net_arch": [256, 256],
        "activation_fn": "ReLU",
        "log_std_init": -2.0,
    },
    arguments={
        "learning_rate": 1e-4,
        "critic_learning_rate": 1e-3,
        "gamma": 0.98,
        "gae_lambda": 0.95,
        "n_steps": 250,
        "normalize_advantage": True,
        "n_epochs": 8,
        "batch_size": 250,
        "clip_range": 0.1,
        "max_grad_norm": 0.5,
        "use_rms_prop": False,
    },
    timesteps=50_000,
    evaluation=Evaluation(n_episodes=100, n_envs=4),
    checkpoint_every=10_000,
    train="pg_agents.experiments.warm_start:train",
    extra="robotics",
)

RECIPES = (
    Recipe(
        name="fetch-slide",
        title="policy gradient from a clone of a controller, and from scratch",
        reported=Reported(text="no figure; does the warm start help?", source="D"),
        variants={
            "sparse": SLIDE,
            "dense": replace(SLIDE, env_id=f"{_ENV}SlideDense-v4"),
            "reach": replace(SLIDE, env_id=f"{_ENV}Reach-v4"),
            "push": replace(SLIDE, env_id=f"{_ENV}Push-v4"),
        },
        seeds=5,
    ),
)
