"""What is measured, as plain data: it travels to a process as JSON."""

from __future__ import annotations

from typing import Any

from pg_agents.experiments import Settings as RecipeSettings
from pg_agents.experiments.recipes.cartpole import BEST_ACTOR_CRITIC, BEST_REINFORCE

Settings = dict[str, Any]

CARTPOLE, SEQUENCE = "CartPole-v1", "PGToy-Sequence-v0"
NETWORKS = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}


def learning(
    algorithm: str, env: str, n_envs: int, env_id: str = CARTPOLE, **more: Any
) -> Settings:
    """Returns the settings of a model that learns.

    Args:
        algorithm: `"ActorCritic"`, `"REINFORCE"`, `"A2C"` or `"PPO"`.
        env: `"dummy"`, SB3's `make_vec_env`, with its Monitor; `"bare"`, a DummyVecEnv
            without one; `"gymnasium"`, `gymnasium.make_vec`; `"torch"`,
            `pg_envs.make_torch_vec`.
        n_envs: number of environments.
        env_id: which environment.
        **more: `policy`; `env_arguments`; `extras`, see `LearningTask`; all others are
            arguments of the algorithm, its defaults where not given.
    """
    named: Settings = {
        name: more.pop(name)
        for name in ("policy", "env_arguments", "extras")
        if name in more
    }
    more.setdefault("device", "cpu")
    return {
        "work": "learn",
        "algorithm": algorithm,
        "env": env,
        "env_id": env_id,
        "n_envs": n_envs,
        "arguments": more,
        **named,
    }


# PPO as PureJaxRL has it.
PURE_JAX: Settings = {
    "n_steps": 128,
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}


def like_pure_jax(n_envs: int, n_epochs: int, n_minibatches: int) -> Settings:
    """Returns ours with the settings of PureJaxRL."""
    n_steps = n_envs * PURE_JAX["n_steps"]
    return learning(
        "ActorCritic",
        "torch",
        n_envs,
        **PURE_JAX,
        n_epochs=n_epochs,
        # Without mini-batches there is nothing to draw.
        batch_size=n_steps // n_minibatches if n_minibatches > 1 else None,
        normalize_advantage=True,
        use_rms_prop=False,
        policy_kwargs=NETWORKS,
    )


def pure_jax(n_envs: int, n_epochs: int, n_minibatches: int) -> Settings:
    """Returns PureJaxRL's way of PPO."""
    return {
        "work": "pure_jax",
        "n_envs": n_envs,
        "n_epochs": n_epochs,
        "n_minibatches": n_minibatches,
        **PURE_JAX,
    }


def as_its_recipe(recipe: RecipeSettings) -> Settings:
    """Returns what `pgtoy run` trains, on a native vector environment."""
    given = learning(recipe.algorithm, "gymnasium", recipe.n_envs, **recipe.arguments)
    return {**given, "n_timesteps": recipe.timesteps}


# CartPole-v1 solved; `n_timesteps` is the budget, over which schedules fall. The first
# two were tuned on seeds 0 to 9; seeds 10 to 19 are new to them.
RECIPES: dict[str, Settings] = {
    "ActorCritic": as_its_recipe(BEST_ACTOR_CRITIC),
    # With a learned baseline, and what lies beyond the last step valued by it.
    "REINFORCE": as_its_recipe(BEST_REINFORCE),
    # RL Zoo's tuned settings.
    "PPO": {
        **learning(
            "PPO",
            "dummy",
            8,
            n_steps=32,
            batch_size=256,
            gae_lambda=0.8,
            gamma=0.98,
            n_epochs=20,
            ent_coef=0.0,
            learning_rate="lin_0.001",
            clip_range="lin_0.2",
        ),
        "n_timesteps": 100_000,
    },
    "A2C": {**learning("A2C", "dummy", 8, ent_coef=0.0), "n_timesteps": 500_000},
}
