"""Samplers of hyperparameters for rl_zoo3, and converters to constructor arguments.

A trial's parameters are numbers and names, which Optuna's storages can hold. A
converter turns them into arguments of the constructor, for a new trial and for a
reloaded one. It passes parameters that it does not know on: to tune another argument,
suggest it under its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import optuna

Params = dict[str, Any]

# Settings of a hyperparameter file that exclude some of the values drawn here: off.
_EXCLUDED: Params = {
    "weight_by_gamma_t": False,
    "standardize_returns": False,
    "clip_range_vf": None,
    "memory_size": None,
    "learning_starts": 1,
    "gradient_steps": 1,
}

# One list for policy and critic, which may share their layers.
NET_ARCHS = {"linear": [], "tiny": [16], "small": [64], "medium": [64, 64]}
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def sample_reinforce_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: Params
) -> Params:
    """Draws arguments of `REINFORCE` with `MlpPolicy`.

    Args:
        trial: Optuna's trial.
        n_actions: not used.
        n_envs: not used: episodes are counted per environment.
        additional_args: not used.

    Returns:
        Arguments of the constructor.
    """
    params = _sample_shared(trial)
    # At least two: the leave-one-out baseline needs another episode.
    params["n_episodes_pow"] = trial.suggest_int("n_episodes_pow", 1, 5)
    params["returns"] = trial.suggest_categorical(
        "returns", ["reward_to_go", "full_return"]
    )
    params["baseline"] = trial.suggest_categorical(
        "baseline", ["none", "mean", "leave_one_out", "value"]
    )
    return _annotate(trial, convert_reinforce_params(params))


def convert_reinforce_params(sampled_params: Params) -> Params:
    """Returns arguments of `REINFORCE` from the parameters of a trial.

    They include arguments that exclude a drawn value and that a hyperparameter file
    may set: `n_steps`, `bootstrap` and so on.

    Args:
        sampled_params: `trial.params`, which is not changed.
    """
    params = _convert_shared(sampled_params)
    if params["baseline"] != "value":
        # The critic would not be used.
        params["policy_kwargs"]["critic"] = "none"
        params |= {"critic_learning_rate": None, "critic_loss": "squared"}
    # Without bootstrapping a target network is not used.
    params |= {"target_update_interval": None, "tau": 1.0}
    return {**_EXCLUDED, "n_steps": None, "bootstrap": False, **params}


def sample_actor_critic_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: Params
) -> Params:
    """Draws arguments of `ActorCritic` with `MlpPolicy`.

    The estimator is GAE, with lambda from 0 (TD) to 1 (returns).

    Args:
        trial: Optuna's trial.
        n_actions: not used.
        n_envs: not used: steps are counted per environment.
        additional_args: not used.

    Returns:
        Arguments of the constructor.
    """
    params = _sample_shared(trial)
    params["n_steps_pow"] = trial.suggest_int("n_steps_pow", 2, 9)
    params["gae_lambda"] = trial.suggest_categorical(
        "gae_lambda", [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0]
    )
    params["target_update_interval"] = trial.suggest_categorical(
        "target_update_interval", [None, 1, 10, 100]
    )
    params["tau"] = trial.suggest_float("tau", 0.005, 1.0, log=True)
    params["use_rms_prop"] = trial.suggest_categorical("use_rms_prop", [False, True])
    return _annotate(trial, convert_actor_critic_params(params))


def convert_actor_critic_params(sampled_params: Params) -> Params:
    """Returns arguments of `ActorCritic` from the parameters of a trial.

    They include arguments that exclude a drawn value and that a hyperparameter file
    may set: `n_episodes`, `estimator` and so on.

    Args:
        sampled_params: `trial.params`, which is not changed.
    """
    params = _convert_shared(sampled_params)
    if params["target_update_interval"] is None:
        params["tau"] = 1.0
    fixed = {"n_episodes": None, "estimator": "gae", "td_steps": 1}
    return {**_EXCLUDED, **fixed, **params}


def _sample_shared(trial: optuna.Trial) -> Params:
    """Draws the arguments of both algorithms.

    Every trial has the same parameters: Optuna's multivariate sampler draws those that
    only some trials have at random.
    """
    number, choice = trial.suggest_float, trial.suggest_categorical
    return {
        **_sample_update(trial),
        "learning_rate": number("learning_rate", 1e-4, 3e-2, log=True),
        # 1 - gamma on a logarithmic scale: 0.99 and 0.999 are far apart.
        "one_minus_gamma": number("one_minus_gamma", 1e-4, 0.1, log=True),
        "ent_coef": number("ent_coef", 1e-8, 0.1, log=True),
        "vf_coef": number("vf_coef", 0.1, 1.0),
        "max_grad_norm": number("max_grad_norm", 0.3, 5.0, log=True),
        "normalize_advantage": choice("normalize_advantage", [False, True]),
        "critic": choice("critic", ["separate", "shared"]),
        "net_arch": choice("net_arch", list(NET_ARCHS)),
        "activation_fn": choice("activation_fn", list(ACTIVATIONS)),
    }


def _sample_update(trial: optuna.Trial) -> Params:
    """Draws the arguments of the update."""
    choice = trial.suggest_categorical
    return {
        "n_epochs": choice("n_epochs", [1, 2, 4, 10]),
        "batch_size": choice("batch_size", [None, 32, 64, 256]),
        "clip_range": choice("clip_range", [None, 0.1, 0.2, 0.3]),
        "target_kl": choice("target_kl", [None, 0.01, 0.03, 0.1]),
        "critic_loss": choice("critic_loss", ["squared", "huber"]),
        # Ratio of the critic's learning rate to the policy's.
        "critic_rate_ratio": choice("critic_rate_ratio", [0.5, 1, 2, 5]),
    }


def _convert_shared(sampled_params: Params) -> Params:
    params = dict(sampled_params)
    params["gamma"] = 1.0 - params.pop("one_minus_gamma")
    for name in [name for name in params if name.endswith("_pow")]:
        params[name.removesuffix("_pow")] = 2 ** params.pop(name)
    ratio = params.pop("critic_rate_ratio")
    params["critic_learning_rate"] = ratio * params["learning_rate"]
    params["policy_kwargs"] = {
        "net_arch": list(NET_ARCHS[params.pop("net_arch")]),
        "activation_fn": ACTIVATIONS[params.pop("activation_fn")],
        "critic": params.pop("critic"),
    }
    return params


def _annotate(trial: optuna.Trial, arguments: Params) -> Params:
    """Stores the values that powers and complements stand for with the trial."""
    for name in ("gamma", "n_steps", "n_episodes"):
        if arguments.get(name) is not None:
            trial.set_user_attr(name, arguments[name])
    return arguments


SAMPLERS: dict[str, Callable[[optuna.Trial, int, int, Params], Params]] = {
    "reinforce": sample_reinforce_params,
    "actor_critic": sample_actor_critic_params,
}
CONVERTERS: dict[str, Callable[[Params], Params]] = {
    "reinforce": convert_reinforce_params,
    "actor_critic": convert_actor_critic_params,
}
