"""What recipes of CartPole share."""

from typing import Any

from pg_agents.experiments.settings import Evaluation, Settings

# Gymnasium's own threshold of CartPole-v1.
SOLVED = 475.0
EVALUATION = Evaluation(n_episodes=100, n_envs=10)


def plain_network(*widths: int, **more: Any) -> dict[str, Any]:
    """Returns the policy_kwargs of a network as the notebooks make it.

    With torch's own initial weights and Adam's own epsilon, where SB3's policies have
    orthogonal weights and 1e-5.

    Args:
        *widths: units of each hidden layer.
        **more: further arguments of the policy.
    """
    return {
        "net_arch": list(widths),
        "activation_fn": "ReLU",
        "ortho_init": False,
        "optimizer_kwargs": {"eps": 1e-8},
        **more,
    }


# Tuned on seeds 0 to 9; `make bench` times how soon they solve it.
BEST_REINFORCE = Settings(
    algorithm="REINFORCE",
    env_id="CartPole-v1",
    vectorization="vector",
    n_envs=32,
    arguments={
        "n_steps": 16,
        "n_epochs": 8,
        "batch_size": 256,
        "clip_range": 0.2,
        "learning_rate": "lin_6e-3",
        "gamma": 0.98,
        "baseline": "value",
        "bootstrap": True,
        "normalize_advantage": True,
        "max_grad_norm": 0.5,
    },
    timesteps=200_000,
    checkpoint_every=50_000,
    evaluation=EVALUATION,
)
BEST_ACTOR_CRITIC = Settings(
    algorithm="ActorCritic",
    env_id="CartPole-v1",
    vectorization="vector",
    n_envs=32,
    arguments={
        "n_steps": 16,
        "n_epochs": 8,
        "batch_size": 256,
        "clip_range": "lin_0.2",
        "learning_rate": "lin_6e-3",
        "gamma": 0.99,
        "gae_lambda": 0.9,
        "normalize_advantage": True,
        "use_rms_prop": False,
    },
    timesteps=100_000,
    checkpoint_every=50_000,
    evaluation=EVALUATION,
)
