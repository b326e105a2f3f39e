"""InvertedPendulum-v5: a pole on a cart in MuJoCo, pushed by a real number."""

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

BEST = Settings(
    algorithm="REINFORCE",
    env_id="InvertedPendulum-v5",
    n_envs=8,
    policy_kwargs={"net_arch": [32, 32], "log_std_init": -0.5},
    arguments={
        # With twice as much, one seed of five forgot at the end what it had learnt.
        "learning_rate": "lin_5e-3",
        "gamma": 0.99,
        "baseline": "value",
        "normalize_advantage": True,
        "max_grad_norm": 0.5,
    },
    timesteps=200_000,
    evaluation=Evaluation(n_episodes=100, n_envs=4),
    checkpoint_every=20_000,
    extra="mujoco",
)

RECIPES = (
    Recipe(
        name="inverted-pendulum",
        title="REINFORCE with a Gaussian policy",
        reported=Reported(
            text="no figure; solved at 950 of 1,000", solved=950.0, source="D"
        ),
        variants={"best": BEST},
        seeds=5,
    ),
)
