"""A warm start: fits a model's policy to demonstrations before it learns by itself."""

from __future__ import annotations

import operator
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.cloning.cloning_data import as_the_policy_acts, as_the_policy_sees
from pg_agents.cloning.demonstrations import Demonstrations
from pg_agents.cloning.likelihood_fit import (
    CloningResult,
    FitSettings,
    LikelihoodFit,
    copy_weights,
)
from pg_agents.cloning.space_arrays import Observations, Place, row_number
from pg_agents.common.checks import (
    check_bool,
    check_integer,
    check_unit_interval,
    kind_of,
)
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
    """Makes a model's policy do what was demonstrated; `learn` then goes on from there.

    It minimises, over the actions that are not held out,

    `mean of -log pi(a | s)  -  ent_coef * H(pi(. | s))  +  l2 / 2 * |theta|^2`

    which without the last two terms is maximum likelihood: action frequencies for a
    table, least squares for the mean of a Gaussian and the root mean square of its
    residuals for the standard deviation. Adam with a constant step size does it, made
    for this call: the optimiser that learns, and its schedule, stay as they are.

    What only the critic uses does not change, its batch norm included. Where policy and
    critic share a body or a features extractor (SB3's default for images), that is
    fitted too, and the critic's head then sees other features than it learnt to read.

    Where the model's environment normalises observations (SB3's `VecNormalize`,
    Gymnasium's `NormalizeObservation`), raw ones are given here, which are normalised
    as there, by its statistics as they stand. These do not change here but go on
    changing while the model learns: give them data first
    (`normalizer.obs_rms.update(observations)`), or cloning is lost. A model without an
    environment is given what its policy sees.

    Args:
        model: REINFORCE, ActorCritic, SB3's A2C, PPO or any other whose `policy` is an
            `ActorCriticPolicy` that is not recurrent.
        observations: `Demonstrations`; or `[B, *obs_shape]` as the environment returns
            them beneath what normalises, in the same other wrappers; images with
            channels first or last; a dict of these for Dict spaces. They may be
            infinite if the policy can do with it.
        actions: `[B, *action_shape]`, as the environment takes them; None with
            `Demonstrations`. A Gaussian knows no bounds: an action on one is a number
            like any other. A squashed policy (`squash_output=True`) reaches a bound
            only in the limit, and SB3 takes it for tanh(8.3).
        n_epochs: passes through the data, at most.
        batch_size: actions per step of the optimiser, at most.
        learning_rate: Adam's step size.
        ent_coef: weight of the entropy, which keeps the policy from certainty.
        l2: weight of the squared parameters, log standard deviations apart.
        fit_std: whether to fit the standard deviation of a Gaussian. It shrinks towards
            0 where demonstrations are predictable, and `learn` then explores nothing:
            False leaves it as it is.
        held_out_fraction: share of the actions, chosen at random, that is not fitted
            to, in [0, 1); 0 for none: the last weights are kept then. Neighbouring
            steps of an episode are alike, and the held-out loss is lower for it.
        patience: epochs without a smaller held-out loss after which to stop; None to
            never stop early.
        max_grad_norm: largest norm of the gradient; None for no bound.
        progress_bar: whether to show epochs and losses.
        seed: of the split, the minibatches and dropout; the global generators are
            neither seeded nor used.

    Returns:
        The losses, and after which epoch the weights are. Ctrl-C does not raise: the
        best weights so far are kept, and the result says so.

    Raises:
        NonFiniteError: (a ValueError) if an action, a log-probability, the loss, the
            gradient or a weight is NaN or infinite; it names the first bad action or
            observation, if there is one. The model is then as it was.
        ValueError: if an argument is out of range, or data are not of the model's
            spaces; if it can't be told how the model's environment normalises.
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
    check_bool("progress_bar", progress_bar)
    if seed is not None:
        check_integer("seed", seed, 0)
        seed = operator.index(seed)
    policy = _policy_of(model, ent_coef)
    place: Place = row_number
    seen_in: spaces.Space[Any] | None = None
    done_in: spaces.Space[Any] | None = None
    if isinstance(observations, Demonstrations):
        if actions is not None:
            raise ValueError("actions must be None: the Demonstrations have their own")
        shown, place = observations, observations.place
        seen_in, done_in = shown.observation_space, shown.action_space
        observations, actions = shown.observations, shown.actions
    seen = as_the_policy_sees(model, observations, seen_in)
    done = as_the_policy_acts(policy, actions, count(seen), place, done_in)
    rng = np.random.default_rng(seed)
    training, held_out = _split(len(done), held_out_fraction, rng)
    with _kept_from_harm(policy, rng):
        fit = LikelihoodFit(
            policy, settings, seen, done, training, held_out, rng, place
        )
        result = fit.run(progress_bar)
        if policy.use_sde:
            # The noise that is held was drawn with the old standard deviation.
            policy.reset_noise(model.n_envs)
    return result


def _policy_of(model: BaseAlgorithm, ent_coef: float) -> ActorCriticPolicy:
    """Returns the policy of a model, if it can be fitted."""
    policy = getattr(model, "policy", None)
    if not isinstance(policy, ActorCriticPolicy):
        has = "" if policy is None else f" with {type(policy).__name__}"
        raise TypeError(
            "model must have an ActorCriticPolicy, as REINFORCE, ActorCritic, A2C and "
            f"PPO have, got {kind_of(model)}{has}"
        )
    if hasattr(policy, "lstm_actor"):
        raise TypeError(
            "model must have a policy that is not recurrent, got "
            f"{type(policy).__name__}"
        )
    if ent_coef > 0 and policy.squash_output:
        raise ValueError(
            "ent_coef must be 0 for a policy with squash_output=True, whose entropy is "
            f"not known, got {ent_coef}"
        )
    if not isinstance(policy, PolicyGradientPolicy):
        for space in (policy.observation_space, policy.action_space):
            _check_counts_from_zero(space, policy)
    return policy


def _check_counts_from_zero(space: spaces.Space[Any], policy: object) -> None:
    for part in space.values() if isinstance(space, spaces.Dict) else (space,):
        if np.any(getattr(part, "start", 0)):
            raise ValueError(
                f"model must have spaces that count from 0, as {type(policy).__name__} "
                f"does, got {part}"
            )


def _split(
    n: int, held_out_fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the rows to fit to and those held out, at least one of each."""
    check_unit_interval("held_out_fraction", held_out_fraction)
    n_held_out = round(n * held_out_fraction)
    if held_out_fraction > 0:
        n_held_out = max(n_held_out, 1)
    if n_held_out >= n:
        raise ValueError(
            f"held_out_fraction={held_out_fraction} of {n} actions leaves none to fit "
            "to"
        )
    order = rng.permutation(n)
    return order[n_held_out:], order[:n_held_out]


@contextmanager
def _kept_from_harm(
    policy: ActorCriticPolicy, rng: np.random.Generator
) -> Generator[None]:
    """Keeps the global generators and mode, and the weights if anything raises."""
    before = copy_weights(policy)
    mode = policy.training
    cuda = policy.device.type == "cuda"
    with torch.random.fork_rng([policy.device] if cuda else []):
        seed = int(rng.integers(2**63))
        # torch.manual_seed would seed the other devices as well.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(policy.device):
                torch.cuda.manual_seed(seed)
        try:
            yield
        except BaseException:
            policy.load_state_dict(before)
            raise
        finally:
            # No gradient of this is left to the next update.
            policy.zero_grad(set_to_none=True)
            policy.set_training_mode(mode)
