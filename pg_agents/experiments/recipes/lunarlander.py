"""LunarLander-v3: a landing craft with four engines; 200 is solved."""

from pg_agents.experiments.recipe import Recipe, Reported
from pg_agents.experiments.settings import Evaluation, Settings

_SOLVED = "no figure; solved at 200"

# The network and the memory of the row reinforce-memory, with as many episodes.
NOTEBOOK = Settings(
    algorithm="REINFORCE",
    env_id="LunarLander-v3",
    policy_kwargs={"net_arch": [20, 20], "activation_fn": "ReLU"},
    arguments={
        "learning_rate": 1e-3,
        "gamma": 0.99,
        "memory_size": 512,
        "learning_starts": 256,
        "gradient_steps": 2,
        "batch_size": 256,
        "replay": "returns",
    },
    episodes=2500,
    evaluation=Evaluation(n_episodes=100, n_envs=4),
    extra="box2d",
)

# Mini-batches that the clipped surrogate keeps near, and an incentive to go on trying.
_SEVERAL_PASSES = {
    "learning_rate": "lin_6e-4",
    "gamma": 0.999,
    "normalize_advantage": True,
    "n_epochs": 6,
    "batch_size": 128,
    "clip_range": 0.2,
    "ent_coef": 0.01,
    "max_grad_norm": 0.5,
}

# Returns against a learned value, which stands for what lies beyond a rollout too, and
# several passes that the clipped surrogate keeps near. The shorter the rollout, the
# less noise: with whole episodes and gamma=0.99, and with 512 steps of 16 environments,
# it learnt to hover until the time is up. So it did without layer norm, in two of the
# four seeds that were tried with 128 steps of 64.
REINFORCE_BEST = Settings(
    algorithm="REINFORCE",
    env_id="LunarLander-v3",
    n_envs=128,
    normalize={"norm_obs": False, "gamma": 0.999},
    policy_kwargs={"net_arch": [64, 64], "layer_norm": True},
    arguments={
        **_SEVERAL_PASSES,
        "n_steps": 64,
        "baseline": "value",
        "bootstrap": True,
    },
    timesteps=600_000,
    evaluation=Evaluation(n_episodes=100, n_envs=4),
    checkpoint_every=50_000,
    extra="box2d",
)

ACTOR_CRITIC_BEST = Settings(
    algorithm="ActorCritic",
    env_id="LunarLander-v3",
    n_envs=64,
    normalize={"norm_obs": False, "gamma": 0.999},
    policy_kwargs={"net_arch": [64, 64], "layer_norm": True, "ortho_init": True},
    arguments={
        **_SEVERAL_PASSES,
        "n_steps": 128,
        "gae_lambda": 0.98,
        "use_rms_prop": False,
    },
    timesteps=500_000,
    evaluation=Evaluation(n_episodes=100, n_envs=4),
    checkpoint_every=50_000,
    extra="box2d",
)

RECIPES = (
    Recipe(
        name="lunarlander",
        title="REINFORCE with a memory; best: against a learned value",
        reported=Reported(text=_SOLVED, solved=200.0, source="C"),
        variants={"notebook": NOTEBOOK, "best": REINFORCE_BEST},
        seeds=5,
    ),
    Recipe(
        name="improved-lunarlander",
        title="actor-critic with layer norm, GAE, clipping, mini-batches, epochs",
        reported=Reported(text=_SOLVED, solved=200.0, source="E"),
        variants={"best": ACTOR_CRITIC_BEST},
        seeds=5,
    ),
)
