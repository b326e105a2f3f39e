"""Behavioural cloning: fits a model's policy to demonstrations before it learns."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.cloning.data import (
    Array,
    Observations,
    RowName,
    check_actions,
    check_observations,
    check_same_space,
    row_name,
)
from pg_agents.cloning.demonstrations import Demonstrations
from pg_agents.cloning.fit import (
    CloningResult,
    FitSettings,
    LikelihoodFit,
    copy_weights,
)
from pg_agents.cloning.normalization import (
    ObservationNormalizer,
    observation_normalizer,
)
from pg_agents.common.checks import (
    check_choice,
    check_integer,
    check_unit_interval,
    kind_of,
)
from pg_agents.common.spaces import scaled
from pg_agents.common.tree import count
from pg_agents.policies.base import PolicyGradientPolicy


def clone_behaviour(
    model: BaseAlgorithm,
    observations: Demonstrations | Observations,
    actions: Any = None,  # noqa: ANN401
    *,
    n_epochs: int = 50,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    ent_coef: float = 0.0,
    l2: float = 0.0,
    fit_std: bool = True,
    held_out_fraction: float = 0.1,
    patience: int | None = 5,
    max_grad_norm: float | None = None,
    progress_bar: bool = False,
    seed: int | None = None,
) -> CloningResult:
    """Fits a model's policy to demonstrated actions, before `learn`.

    Minimises, over the training actions, with Adam and a constant learning rate:

    `mean of -log pi(a | s)  -  ent_coef * H(pi(. | s))  +  l2 / 2 * |theta|^2`

    Without the last two terms this is maximum likelihood: the action frequencies for a
    table; for a Gaussian least squares, with the root mean square of the residuals as
    standard deviation. The model's own optimiser does not change.

    Parameters and buffers that only the critic uses do not change. If policy and critic
    share layers (SB3's default for images), the critic's output changes with them.

    If the model's environment normalises observations (SB3's `VecNormalize`,
    Gymnasium's `NormalizeObservation`), raw observations are passed here and normalised
    with its current statistics. Since these change during `learn`, they should first be
    updated with the demonstrations (`normalizer.obs_rms.update(observations)`). A model
    without an environment takes observations as its policy does.

    Args:
        model: REINFORCE, ActorCritic, SB3's A2C, PPO, or another model whose `policy`
            is an `ActorCriticPolicy` without recurrence.
        observations: `Demonstrations`, or `[B, *obs_shape]` before normalisation;
            images with channels first or last; a dict of arrays for Dict spaces.
            Infinite values are valid if the policy accepts them.
        actions: `[B, *action_shape]`, as the environment takes them; None with
            `Demonstrations`. A squashed policy (`squash_output=True`) reaches the
            bounds only in the limit; SB3 replaces them by tanh(8.3).
        n_epochs: maximum number of epochs.
        batch_size: maximum size of a minibatch.
        learning_rate: learning rate of Adam.
        ent_coef: coefficient of the entropy bonus.
        l2: coefficient of the squared parameters, without log standard deviations.
        fit_std: whether to fit the standard deviation of a Gaussian. It decreases
            towards 0 if demonstrations are predictable, so that `learn` does not
            explore; False keeps it.
        held_out_fraction: fraction of actions, chosen at random, that are held out, in
            [0, 1). With 0 the final weights are kept. Consecutive steps are similar,
            so the held-out loss underestimates the loss on new episodes.
        patience: epochs without improvement of the held-out loss after which to stop;
            None never stops early.
        max_grad_norm: maximum norm of the gradient; None does not clip.
        progress_bar: whether to show epochs and losses.
        seed: seed of the split, the minibatches and dropout. The global generators are
            not used.

    Returns:
        Losses, and the epoch of the final weights. Ctrl-C does not raise: the best
        weights so far are kept.

    Raises:
        NonFiniteError: (a ValueError) if an action, a log-probability, the loss, the
            gradient or a weight is NaN or infinite. It names the first invalid row. The
            model is not changed.
        ValueError: if an argument is out of range, if data are not in the model's
            spaces, or if the normalisation of its environment is not known.
        TypeError: if `model` has no such policy, or a Dict space gets no dict.
    """
    settings = FitSettings(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        ent_coef=ent_coef,
        l2=l2,
        fit_std=fit_std,
        patience=patience,
        max_grad_norm=max_grad_norm,
    )
    check_choice("progress_bar", progress_bar, (True, False))
    if seed is not None:
        check_integer("seed", seed, 0)
        seed = operator.index(seed)
    policy = _checked_policy(model, ent_coef)
    name_of_row: RowName = row_name
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None
    if isinstance(observations, Demonstrations):
        if actions is not None:
            raise ValueError("actions must be None: Demonstrations contain them")
        demonstrations, name_of_row = observations, observations.row_name
        observation_space = demonstrations.observation_space
        action_space = demonstrations.action_space
        observations, actions = demonstrations.observations, demonstrations.actions
    obs = _policy_observations(model, observations, observation_space)
    acts = _policy_actions(policy, actions, count(obs), name_of_row, action_space)
    rng = np.random.default_rng(seed)
    training, held_out = _split(len(acts), held_out_fraction, rng)
    with _restore_on_error(policy), _local_torch_seed(policy, rng):
        fit = LikelihoodFit(
            policy, settings, obs, acts, training, held_out, rng, name_of_row
        )
        result = fit.run(progress_bar)
        if policy.use_sde:
            # The noise was drawn with the old standard deviation.
            policy.reset_noise(model.n_envs)
    return result


def _checked_policy(model: BaseAlgorithm, ent_coef: float) -> ActorCriticPolicy:
    policy = getattr(model, "policy", None)
    if not isinstance(policy, ActorCriticPolicy):
        suffix = "" if policy is None else f" with {type(policy).__name__}"
        raise TypeError(
            "model must have an ActorCriticPolicy, as REINFORCE, ActorCritic, A2C and "
            f"PPO have, got {kind_of(model)}{suffix}"
        )
    if hasattr(policy, "lstm_actor"):
        raise TypeError(
            f"model must not have a recurrent policy, got {type(policy).__name__}"
        )
    if ent_coef > 0 and policy.squash_output:
        raise ValueError(
            "ent_coef must be 0 for a policy with squash_output=True, whose entropy "
            f"has no closed form, got {ent_coef}"
        )
    if not isinstance(policy, PolicyGradientPolicy):
        # SB3's policies ignore the start of discrete spaces.
        for space in (policy.observation_space, policy.action_space):
            for part in space.values() if isinstance(space, spaces.Dict) else (space,):
                if np.any(getattr(part, "start", 0)):
                    raise ValueError(
                        "model must have discrete spaces with start=0, as "
                        f"{type(policy).__name__} ignores it, got {part}"
                    )
    return policy


def _policy_observations(
    model: BaseAlgorithm,
    observations: Any,  # noqa: ANN401
    recorded_space: spaces.Space[Any] | None,
) -> Observations:
    """Returns raw observations as the policy takes them: checked and normalised."""
    normalizer = observation_normalizer(model.get_env())
    space: spaces.Space[Any] = model.policy.observation_space
    if normalizer is not None:
        space = normalizer.space
    if recorded_space is not None:
        check_same_space("observations", recorded_space, space)
    obs = check_observations(space, observations)
    if normalizer is None:
        return obs
    _check_statistics(normalizer, obs)
    return normalizer(obs)


def _check_statistics(normalizer: ObservationNormalizer, obs: Observations) -> None:
    """Checks the shapes of running statistics, and warns if they are of no data."""
    statistics, name = normalizer.statistics, normalizer.name
    keys = statistics if isinstance(statistics, dict) else [None]
    for key in keys:
        rms: Any = statistics if key is None else statistics[key]
        array: Any = obs if key is None else obs[key]
        if rms.mean.shape != array.shape[1:]:
            shape = ", ".join(map(str, rms.mean.shape))
            raise ValueError(
                f"observations must have the shape of {name}'s statistics, [B, "
                f"{shape}], got {list(array.shape)}"
            )
        # SB3 and Gymnasium start with a count of 0.0001.
        if rms.count < 1:
            warnings.warn(
                f"the model's {name} has not seen any observations: its statistics, "
                "and so the inputs of the cloned policy, will change as the model "
                "learns. Update them first: obs_rms.update(observations)",
                stacklevel=4,
            )


def _policy_actions(
    policy: ActorCriticPolicy,
    actions: Any,  # noqa: ANN401
    n_observations: int,
    row_name: RowName,
    recorded_space: spaces.Space[Any] | None,
) -> Array:
    """Returns actions of the environment as `evaluate_actions` takes them."""
    if actions is None:
        raise ValueError(
            "actions must be given, unless the observations are Demonstrations"
        )
    if recorded_space is not None:
        check_same_space("actions", recorded_space, policy.action_space)
    checked = check_actions(policy.action_space, actions, row_name=row_name)
    if len(checked) != n_observations:
        raise ValueError(
            "there must be one action for each observation, got "
            f"{len(checked)} actions and {n_observations} observations"
        )
    if not isinstance(policy.action_space, spaces.Box):
        return checked
    if policy.squash_output:
        checked = scaled(checked, policy.action_space)
    # SB3's Gaussian has vectors for any shape of the action space.
    return checked.reshape(len(checked), -1)


def _split(
    n: int, held_out_fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the training rows and the held-out rows."""
    check_unit_interval("held_out_fraction", held_out_fraction)
    n_held_out = round(n * held_out_fraction)
    if held_out_fraction > 0:
        n_held_out = max(n_held_out, 1)
    if n_held_out >= n:
        raise ValueError(
            f"held_out_fraction={held_out_fraction} of {n} actions leaves none to "
            "train on"
        )
    order = rng.permutation(n)
    return order[n_held_out:], order[:n_held_out]


@contextmanager
def _restore_on_error(policy: ActorCriticPolicy) -> Generator[None]:
    """Restores the weights on an exception; always clears gradients, restores mode."""
    weights, mode = copy_weights(policy), policy.training
    try:
        yield
    except BaseException:
        policy.load_state_dict(weights)
        raise
    finally:
        policy.zero_grad(set_to_none=True)
        policy.set_training_mode(mode)


@contextmanager
def _local_torch_seed(
    policy: ActorCriticPolicy, rng: np.random.Generator
) -> Generator[None]:
    """Seeds torch inside the block; the global generators are restored."""
    is_cuda = policy.device.type == "cuda"
    with torch.random.fork_rng([policy.device] if is_cuda else []):
        seed = int(rng.integers(2**63))
        # torch.manual_seed would seed all devices.
        torch.default_generator.manual_seed(seed)
        if is_cuda:
            with torch.cuda.device(policy.device):
                torch.cuda.manual_seed(seed)
        yield
