"""The evaluation that follows a training."""

from __future__ import annotations

from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed

from pg_agents.experiments.building import derived_seed, make_evaluation_env
from pg_agents.experiments.folder import EvaluationRecord, RunFolder

_EVALUATION = 1


def evaluate(folder: RunFolder) -> EvaluationRecord:
    """Evaluates the policy that has been saved, so that anyone can do it again.

    Args:
        folder: with the trained model.

    Returns:
        The episodes; they depend on the model and the run's seed alone.

    Raises:
        DamagedRunError: (a ValueError) if the model is missing or damaged.
    """
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _EVALUATION)
    env = make_evaluation_env(settings, seed)
    try:
        model = folder.load_model(env)
        set_random_seed(seed)
        # Its own copy, which RandomAgent draws from.
        model.policy.action_space.seed(seed)
        returns, lengths = evaluate_policy(
            model,
            env,
            settings.evaluation.n_episodes,
            settings.evaluation.deterministic,
            return_episode_rewards=True,
        )
        assert isinstance(returns, list) and isinstance(lengths, list), "asked for"
    finally:
        env.close()
    return EvaluationRecord(
        seed, tuple(float(r) for r in returns), tuple(int(n) for n in lengths)
    )
