"""Gradients in closed form, compared with autograd's."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, distributions, nn
from torch.nn import functional

from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.learning import closed_form
from pg_agents.learning.gradients import (
    Autograd,
    ClosedForm,
    evaluate_actions,
    why_autograd,
)
from pg_agents.learning.learner import Learner
from pg_agents.policies.policies import MlpPolicy
from pg_agents.policies.tabular import TabularPolicy
from pg_agents.rollout.data import Batch

CPU = torch.device("cpu")
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(3),
    "Discrete from -2": spaces.Discrete(4, start=-2),
    "MultiDiscrete": spaces.MultiDiscrete([2, 4, 3], start=[0, 5, -1]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box of 1": spaces.Box(-1.0, 1.0, (1,)),
    "Box of 2 x 3": spaces.Box(-1.0, 1.0, (2, 3)),
    "Box without axes": spaces.Box(-1.0, 1.0, ()),
}
COLUMNS = ("actions", "advantages", "returns", "old_values", "old_log_prob")
CRITICS = ["separate", "shared", "none"]
ACTIVATIONS: list[type[nn.Module]] = [nn.Tanh, nn.ReLU, nn.Identity]
# Widths, whether there is a layer norm, and the activation function.
BODIES = [
    ([], False, nn.Tanh),
    *(
        (widths, norm, activation)
        for widths in ([5], [6, 4])
        for norm in (False, True)
        for activation in ACTIVATIONS
    ),
]
LOSSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "entropy": {"ent_coef": 0.3},
    "clipped": {"clip_range": 0.2},
    "clipped, entropy, limited KL": {
        "clip_range": 0.1,
        "ent_coef": 0.2,
        "target_kl": 0.01,
    },
    "standardised mini-batch": {"batch_size": 8, "normalize_advantage": True},
    "huber": {"critic_loss": "huber", "vf_coef": 0.7},
    "clipped values": {"clip_range_vf": 0.3},
    "clipped values, huber": {
        "clip_range_vf": 0.8,
        "critic_loss": "huber",
        "clip_range": 0.3,
    },
}


# Half of the pairs of a body and a loss, another half for the next actions and the next
# critic; all in the slow tests.
HALF_OR_ALL = pytest.mark.parametrize(
    "step", [2, pytest.param(1, marks=pytest.mark.slow)], ids=["half", "all"]
)


def losses_for(action: str, critic: str, body: Any, step: int) -> list[str]:
    first = list(ACTIONS).index(action) + CRITICS.index(critic) + BODIES.index(body)
    return list(LOSSES)[first % step :: step]


def config_of(loss: str, critic: str) -> PolicyGradientConfig | None:
    """Returns settings; None if the loss needs a critic and there is none."""
    settings = {"n_steps": 8, **LOSSES[loss]}
    if critic == "none":
        if settings.keys() & {"critic_loss", "clip_range_vf"}:
            return None
        return PolicyGradientConfig(**settings)
    return PolicyGradientConfig(**settings, baseline="value")


def coefficients_of(config: PolicyGradientConfig) -> dict[str, float]:
    names = ("ent_coef", "clip_range", "clip_range_vf")
    return {n: getattr(config, n) for n in names if getattr(config, n) is not None}


def random_actions(
    space: spaces.Space[Any], n: int, rng: np.random.Generator, dtype: Any
) -> Any:
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, n)
    if isinstance(space, spaces.MultiDiscrete):
        pairs = zip(space.start, space.nvec, strict=True)
        return np.stack([rng.integers(low, low + k, n) for low, k in pairs], axis=-1)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(0, 2, (n, *space.shape)).astype(dtype)
    return rng.normal(size=(n, *space.shape)).astype(dtype)  # type: ignore[misc]


def random_batch(
    actions: Any, log_prob: Any, values: Any, rng: np.random.Generator
) -> Batch:
    """Returns arrays whose ratios and values are within and outside of clip ranges."""
    shape, dtype = log_prob.shape, log_prob.dtype

    def normal(scale: float) -> Any:
        return (scale * rng.normal(size=shape)).astype(dtype)

    return Batch(
        observations=None,
        actions=actions,
        advantages=normal(1.0),
        returns=values + normal(1.5),
        old_values=values + normal(0.5),
        old_log_prob=log_prob + normal(0.2),
        n_samples=3.5,
    )


# Pure functions, in float64.


@dataclass
class Parts:
    """The same networks and distribution, in torch and in NumPy.

    Attributes:
        modules: body, actor and critic.
        log_std: logarithms of standard deviations, of a Box.
        networks: body, actor and critic.
        distribution: over actions.
        gradients: arrays that the closed form adds to, by id of the parameter.
    """

    modules: list[nn.Sequential]
    log_std: nn.Parameter
    networks: list[closed_form.Network]
    distribution: closed_form.Distribution
    gradients: dict[int, Any]

    def parameters(self) -> list[Tensor]:
        found = [p for module in self.modules for p in module.parameters()]
        return [*found, self.log_std]


def n_outputs(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape))  # type: ignore[arg-type]


def layers(n_inputs: int, widths: list[int], norm: bool, activation: Any) -> list[Any]:
    found: list[nn.Module] = []
    for width in widths:
        found.append(nn.Linear(n_inputs, width))
        if norm:
            found.append(nn.LayerNorm(width, eps=1e-3))
        found.append(activation())
        n_inputs = width
    return found


def make_parts(space: spaces.Space[Any], critic: str, body: Any, seed: int) -> Parts:
    torch.manual_seed(seed)
    widths, norm, activation = body
    n_latent = widths[-1] if widths else 4
    shared = layers(4, widths, norm, activation) if critic == "shared" else []
    actor, value = (
        [] if critic == "shared" else layers(4, widths, norm, activation)
        for _ in range(2)
    )
    modules = [
        nn.Sequential(*shared),
        nn.Sequential(*actor, nn.Linear(n_latent, n_outputs(space))),
        nn.Sequential(*value, nn.Linear(n_latent, 1, bias=False)),
    ]
    for module in modules:
        module.double()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    log_std = nn.Parameter(0.3 * torch.randn(n_outputs(space), dtype=torch.float64))
    gradients: dict[int, Any] = {}

    def pair(parameter: Tensor) -> tuple[Any, Any]:
        gradient = gradients.setdefault(id(parameter), np.zeros(parameter.shape))
        return parameter.detach().numpy(), gradient

    networks = [numpy_network(module, pair) for module in modules]
    distribution = numpy_distribution(space, pair(log_std))
    return Parts(modules, log_std, networks, distribution, gradients)


def numpy_network(module: nn.Sequential, pair: Any) -> closed_form.Network:
    found: list[Any] = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            bias = None if layer.bias is None else pair(layer.bias)
            found.append(closed_form.Linear(pair(layer.weight), bias))
        elif isinstance(layer, nn.LayerNorm):
            affine = pair(layer.weight), pair(layer.bias)
            found.append(closed_form.LayerNorm(*affine, layer.eps))
        elif not isinstance(layer, nn.Identity):
            found.append(getattr(closed_form, type(layer).__name__)())
    return closed_form.Network(found)


def numpy_distribution(
    space: spaces.Space[Any], log_std: Any
) -> closed_form.Distribution:
    if isinstance(space, spaces.Discrete):
        return closed_form.Categorical(int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return closed_form.MultiCategorical(space.nvec.tolist(), space.start.tolist())
    if isinstance(space, spaces.MultiBinary):
        return closed_form.Bernoulli()
    return closed_form.Gaussian(log_std, space.shape)  # type: ignore[arg-type]


def torch_evaluation(
    space: spaces.Space[Any], outputs: Tensor, actions: Any, log_std: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities and entropies of torch's distributions."""
    taken = torch.as_tensor(actions)
    if isinstance(space, spaces.Box):
        normal: Any = distributions.Normal(outputs, log_std.exp())
        log_prob = normal.log_prob(taken.reshape(outputs.shape))
        return log_prob.sum(-1), normal.entropy().sum(-1)
    if isinstance(space, spaces.MultiBinary):
        bits: Any = distributions.Bernoulli(logits=outputs)
        return bits.log_prob(taken).sum(-1), bits.entropy().sum(-1)
    if isinstance(space, spaces.Discrete):
        sizes, starts, taken = [int(space.n)], [int(space.start)], taken[:, None]
    else:
        assert isinstance(space, spaces.MultiDiscrete)
        sizes, starts = space.nvec.tolist(), space.start.tolist()
    total: Any = [0.0, 0.0]
    for k, part in enumerate(outputs.split(sizes, dim=-1)):
        choice: Any = distributions.Categorical(logits=part)
        total[0] = total[0] + choice.log_prob(taken[:, k] - starts[k])
        total[1] = total[1] + choice.entropy()
    return total[0], total[1]


def textbook_loss(
    batch: Batch,
    log_prob: Tensor,
    entropy: Tensor,
    values: Tensor | None,
    config: Any,
) -> Any:
    """The loss as papers write it, for autograd."""
    advantages, returns, old_values, old_log_prob = map(
        torch.as_tensor,
        (batch.advantages, batch.returns, batch.old_values, batch.old_log_prob),
    )
    if config.standardizes_mini_batches:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    objective = advantages * log_prob
    if config.clip_range is not None:
        ratio, clip = (log_prob - old_log_prob).exp(), config.clip_range
        clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
        objective = torch.minimum(advantages * ratio, advantages * clipped)
    loss = -(objective + config.ent_coef * entropy).sum() / batch.n_samples
    if values is None:
        return loss
    if config.clip_range_vf is not None:
        clip = config.clip_range_vf
        values = old_values + (values - old_values).clamp(-clip, clip)
    is_huber = config.critic_loss == "huber"
    distance = functional.smooth_l1_loss if is_huber else functional.mse_loss
    return loss + config.vf_coef * distance(values, returns)


def numpy_gradient(
    parts: Parts, obs: Any, batch: Batch, config: Any, has_critic: bool
) -> dict[str, Any]:
    """Adds the gradient in closed form to the arrays; returns terms of the loss."""
    body, actor, critic = parts.networks
    in_body = body.activations(obs)
    in_actor = actor.activations(in_body[-1])
    in_critic = critic.activations(in_body[-1])
    evaluation = parts.distribution.evaluate(in_actor[-1], batch.actions)
    terms, d = closed_form.loss_and_derivatives(
        batch,
        evaluation.log_prob,
        evaluation.entropy,
        in_critic[-1][..., 0],
        config,
        coefficients_of(config),
    )
    d_outputs = parts.distribution.gradient(evaluation, d.log_prob, d.entropy)
    d_body: Any = actor.backward(in_actor, d_outputs, to_input=True)
    if has_critic:
        assert d.values is not None
        d_body = d_body + critic.backward(in_critic, d.values[..., None], to_input=True)
    else:
        assert d.values is None
    body.backward(in_body, d_body)
    return terms


def current(parts: Parts, space: Any, obs: Any, actions: Any) -> Any:
    """Returns log-probabilities, entropies and values, by torch."""
    latent = parts.modules[0](torch.as_tensor(obs))
    outputs, values = parts.modules[1](latent), parts.modules[2](latent)[:, 0]
    return *torch_evaluation(space, outputs, actions, parts.log_std), values


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("action", ACTIONS)
def test_gradients_in_float64_equal_autograds(action: str, critic: str) -> None:
    space, rng = ACTIONS[action], np.random.default_rng(0)
    for seed, body in enumerate(BODIES):
        parts = make_parts(space, critic, body, seed)
        obs = rng.normal(size=(9, 4))
        actions = random_actions(space, 9, rng, np.float64)
        log_prob, _, values = (
            x.detach().numpy() for x in current(parts, space, obs, actions)
        )
        batch = random_batch(actions, log_prob, values, rng)
        for loss in LOSSES:
            config = config_of(loss, critic)
            if config is None:
                continue
            log_probs, entropy, v = current(parts, space, obs, actions)
            v = v if critic != "none" else None
            expected = textbook_loss(batch, log_probs, entropy, v, config)
            learnt = parts.parameters()
            found = torch.autograd.grad(expected, learnt, allow_unused=True)
            for gradient in parts.gradients.values():
                gradient.fill(0.0)
            terms = numpy_gradient(parts, obs, batch, config, critic != "none")
            assert terms["loss"] == pytest.approx(expected.item(), rel=1e-10)
            for parameter, gradient in zip(learnt, found, strict=True):
                np.testing.assert_allclose(
                    parts.gradients[id(parameter)],
                    torch.zeros_like(parameter) if gradient is None else gradient,
                    rtol=1e-10,
                    atol=1e-10,
                    err_msg=f"{body}, {loss}",
                )


ORDERS: dict[str, list[type[nn.Module]]] = {
    "last": [nn.Linear, nn.Tanh],
    "around a norm": [nn.Linear, nn.Tanh, nn.LayerNorm, nn.ReLU, nn.Linear],
    "norm first": [nn.LayerNorm, nn.Tanh, nn.Linear],
    "two norms": [nn.LayerNorm, nn.LayerNorm, nn.Linear, nn.Linear],
}


@pytest.mark.parametrize("order", ORDERS)
def test_networks_leave_their_inputs_as_they_are(order: str) -> None:
    """Activations follow linear layers and norms, of which they need no outputs."""
    torch.manual_seed(0)
    arguments: dict[Any, Any] = {nn.Linear: (4, 4), nn.LayerNorm: (4,)}
    module = nn.Sequential(*(kind(*arguments.get(kind, ())) for kind in ORDERS[order]))
    module.double()
    gradients: dict[int, Any] = {}

    def pair(parameter: Tensor) -> tuple[Any, Any]:
        gradient = gradients.setdefault(id(parameter), np.zeros(parameter.shape))
        return parameter.detach().numpy(), gradient

    network = numpy_network(module, pair)
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(2, 9, 4))
    x = torch.tensor(inputs, requires_grad=True)
    outputs = module(x)
    (outputs * torch.as_tensor(weights)).sum().backward()
    given = inputs.copy()
    np.testing.assert_allclose(network(given), outputs.detach(), rtol=1e-10)
    np.testing.assert_array_equal(given, inputs)
    activations = network.activations(given)
    np.testing.assert_allclose(activations[-1], outputs.detach(), rtol=1e-10)
    to_input: Any = network.backward(activations, weights.copy(), to_input=True)
    from_torch: Any = x.grad
    np.testing.assert_allclose(to_input, from_torch, rtol=1e-9, atol=1e-12)
    for parameter in module.parameters():
        expected: Any = parameter.grad
        np.testing.assert_allclose(
            gradients[id(parameter)], expected, rtol=1e-9, atol=1e-12
        )


def test_gradients_add_up() -> None:
    """What two calls add is the sum of both."""
    space, rng = ACTIONS["Box of 2 x 3"], np.random.default_rng(1)
    parts = make_parts(space, "shared", BODIES[-1], 0)
    config = config_of("entropy", "shared")
    totals = []
    for times in (1, 3):
        for gradient in parts.gradients.values():
            gradient.fill(0.0)
        rng = np.random.default_rng(1)
        obs, actions = rng.normal(size=(9, 4)), rng.normal(size=(9, 2, 3))
        batch = random_batch(actions, np.zeros(9), np.zeros(9), rng)
        for _ in range(times):
            numpy_gradient(parts, obs, batch, config, has_critic=True)
        totals.append({key: g.copy() for key, g in parts.gradients.items()})
    for key, once in totals[0].items():
        np.testing.assert_allclose(totals[1][key], 3.0 * once, rtol=1e-12, atol=1e-13)


# Free leading axes.


def stacked(learners: list[Parts], space: spaces.Space[Any]) -> tuple[Parts, list[Any]]:
    """Returns parameters `[R, ...]` of R learners, and their gradients in order."""
    by_parameter = list(zip(*(each.parameters() for each in learners), strict=True))
    values = [np.stack([p.detach().numpy() for p in ps]) for ps in by_parameter]
    gradients = [np.zeros_like(value) for value in values]
    first = learners[0]
    index = {id(p): i for i, p in enumerate(first.parameters())}

    def pair(parameter: Tensor) -> tuple[Any, Any]:
        return values[index[id(parameter)]], gradients[index[id(parameter)]]

    networks = [numpy_network(module, pair) for module in first.modules]
    distribution = numpy_distribution(space, pair(first.log_std))
    return replace(first, networks=networks, distribution=distribution), gradients


@HALF_OR_ALL
@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("action", ACTIONS)
def test_leading_axes_are_separate_learners(
    action: str, critic: str, step: int
) -> None:
    space, rng, n = ACTIONS[action], np.random.default_rng(0), 3
    for body in BODIES:
        learners = [make_parts(space, critic, body, seed) for seed in range(n)]
        together, gradients = stacked(learners, space)
        obs = rng.normal(size=(n, 9, 4))
        actions = np.stack(
            [random_actions(space, 9, rng, np.float64) for _ in range(n)]
        )
        batch = random_batch(actions, np.full((n, 9), -1.0), np.zeros((n, 9)), rng)
        for loss in losses_for(action, critic, body, step):
            config = config_of(loss, critic)
            if config is None or config.standardizes_mini_batches:
                continue
            for gradient in gradients:
                gradient.fill(0.0)
            terms = numpy_gradient(together, obs, batch, config, critic != "none")
            for r, learner in enumerate(learners):
                for gradient in learner.gradients.values():
                    gradient.fill(0.0)
                own = replace(
                    batch, **{name: getattr(batch, name)[r] for name in COLUMNS}
                )
                each = numpy_gradient(learner, obs[r], own, config, critic != "none")
                assert each.keys() == terms.keys()
                for name, term in each.items():
                    np.testing.assert_allclose(terms[name][r], term, rtol=1e-12)
                for p, all_of_it in zip(learner.parameters(), gradients, strict=True):
                    np.testing.assert_allclose(
                        all_of_it[r],
                        learner.gradients[id(p)],
                        rtol=1e-11,
                        atol=1e-12,
                        err_msg=f"{body}, {loss}",
                    )


def test_each_learner_standardises_its_own_mini_batch() -> None:
    rng, n = np.random.default_rng(0), 3
    scales = 10.0 ** np.arange(n)[:, None]
    batch = random_batch(None, np.full((n, 8), -1.0), np.zeros((n, 8)), rng)
    batch = replace(batch, advantages=scales * batch.advantages)
    config = config_of("standardised mini-batch", "none")
    assert config is not None
    zeros, coefficients = np.zeros((n, 8)), coefficients_of(config)

    def d_log_prob(each: Batch, x: Any) -> Any:
        _, derivatives = closed_form.loss_and_derivatives(
            each, x, x, x, config, coefficients
        )
        return derivatives.log_prob

    found = d_log_prob(batch, zeros)
    for r in range(n):
        own = replace(batch, advantages=batch.advantages[r])
        np.testing.assert_allclose(found[r], d_log_prob(own, zeros[r]))


@pytest.mark.parametrize("action", ACTIONS)
def test_each_learner_has_its_weight_of_the_entropy(action: str) -> None:
    space, rng, n = ACTIONS[action], np.random.default_rng(0), 3
    size = n_outputs(space)
    log_std, gradient = rng.normal(size=(n, size)), np.zeros((n, size))
    outputs = rng.normal(size=(n, 5, size))
    actions = np.stack([random_actions(space, 5, rng, np.float64) for _ in range(n)])
    weight, of_entropy = rng.normal(size=(n, 5)), rng.normal(size=(n, 1))
    together = numpy_distribution(space, (log_std, gradient))
    evaluation = together.evaluate(outputs.copy(), actions)
    d_outputs = together.gradient(evaluation, weight, of_entropy)
    for r in range(n):
        own = np.zeros(size)
        alone = numpy_distribution(space, (log_std[r], own))
        evaluation = alone.evaluate(outputs[r].copy(), actions[r])
        d_alone = alone.gradient(evaluation, weight[r], of_entropy[r])
        np.testing.assert_allclose(d_outputs[r], d_alone, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(gradient[r], own, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_actions", [1, 2, 3, 16, 17])
@pytest.mark.parametrize("shape", [(9,), (5000,), (2, 5000)])
def test_a_softmax_takes_the_first_clock_to_ring(
    shape: tuple[int, ...], n_actions: int
) -> None:
    """That of the smallest time over its rate; of equal ones, the first."""
    rng = np.random.default_rng(n_actions)
    # Powers of two make many exact ties.
    outputs = np.log(2.0) * rng.integers(-1, 2, (*shape, n_actions))
    times = 2.0 ** rng.integers(-1, 2, outputs.shape)

    def draw(kind: str, shape: Any) -> Any:
        assert (kind, shape) == ("exponential", times.shape)
        return times

    actions = numpy_distribution(spaces.Discrete(n_actions), ()).sample(outputs, draw)
    assert actions.shape == shape
    assert actions.dtype == np.int64
    scores = outputs - np.log(times)
    expected = (scores == scores.max(-1, keepdims=True)).argmax(-1)
    np.testing.assert_array_equal(actions, expected)


def test_leading_axes_of_samples_are_separate_learners() -> None:
    """Each takes its own draws."""
    rng, n, size = np.random.default_rng(0), 3, 6
    drawn = rng.uniform(0.1, 0.9, (n, 5, size))
    outputs, log_std = rng.normal(size=(n, 5, size)), rng.normal(size=(n, size))
    for action in ("Discrete", "MultiBinary", "Box of 2 x 3"):
        space = ACTIONS[action]
        width = size if isinstance(space, spaces.Box) else n_outputs(space)
        zeros = np.zeros_like(log_std)
        together = numpy_distribution(space, (log_std[..., :width], zeros))
        numbers = drawn[..., :width]

        def draw_all(kind: str, shape: Any, drawn: Any = numbers) -> Any:
            return drawn

        of_all = together.sample(outputs[..., :width], draw_all)
        for r in range(n):
            alone = numpy_distribution(space, (log_std[r, :width], zeros[r]))

            def draw_one(kind: str, shape: Any, drawn: Any = numbers[r]) -> Any:
                return drawn

            own = alone.sample(outputs[r, :, :width], draw_one)
            np.testing.assert_array_equal(of_all[r], own)


# Distributions.


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("action", ACTIONS)
def test_log_probabilities_and_entropies_are_those_of_torch(
    action: str, scale: float
) -> None:
    space, rng = ACTIONS[action], np.random.default_rng(0)
    size = n_outputs(space)
    outputs, log_std = scale * rng.normal(size=(50, size)), rng.normal(size=size)
    actions = random_actions(space, 50, rng, np.float64)
    distribution = numpy_distribution(space, (log_std, np.zeros(size)))
    found = distribution.evaluate(outputs.copy(), actions)
    given = torch.as_tensor(outputs), actions, torch.as_tensor(log_std)
    log_prob, entropy = torch_evaluation(space, *given)
    np.testing.assert_allclose(found.log_prob, log_prob, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.entropy, entropy, rtol=1e-10, atol=1e-10)


# Policies, in float32.


def make_policy(
    space: spaces.Space[Any], body: Any, obs_space: Any = None, **kwargs: Any
) -> Any:
    widths, norm, activation = body
    torch.manual_seed(1)
    policy: Any = MlpPolicy(
        obs_space or spaces.Box(-1.0, 1.0, (4,)),
        space,
        lambda _: 0.1,
        net_arch=widths,
        layer_norm=norm,
        activation_fn=activation,
        **kwargs,
    )
    with torch.no_grad():
        # Not the tiny weights with which policies begin.
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


def batch_for(policy: Any, n: int) -> Batch:
    """Returns random steps of a policy, as arrays."""
    rng = np.random.default_rng(2)
    policy.observation_space.seed(3)
    obs = np.stack([policy.observation_space.sample() for _ in range(n)])
    actions = random_actions(policy.action_space, n, rng, np.float32)
    with torch.no_grad():
        values, log_prob, _ = evaluate_actions(
            policy, torch.as_tensor(obs), torch.as_tensor(actions)
        )
    steps = random_batch(actions, log_prob.numpy(), values.flatten().numpy(), rng)
    return replace(steps, observations=obs, n_samples=float(n))


def gradients_of(policy: Any, batch: Batch, config: Any) -> Any:
    """Returns terms and gradients by autograd, and in closed form."""
    found = []
    for source_of in (Autograd, ClosedForm):
        copy = deepcopy(policy)
        source: Any = source_of(copy)
        learner = Learner(copy, config, source, CPU)
        given = batch if source.uses_arrays else batch.with_tensors()
        terms = source.gradient(
            given,
            lambda b, own=learner: own.loss(b, 1.0),
            config,
            coefficients_of(config),
        )
        gradients = {
            n: p.grad for n, p in copy.named_parameters() if p.grad is not None
        }
        found.append((terms, gradients))
    return found


def assert_same_gradients(policy: Any, batch: Batch, config: Any, what: str) -> None:
    (expected_terms, expected), (terms, gradients) = gradients_of(policy, batch, config)
    assert list(terms) == list(expected_terms)
    for name, term in expected_terms.items():
        assert float(terms[name]) == pytest.approx(float(term), rel=1e-4, abs=1e-5), (
            f"{name} of {what}"
        )
    largest = max(float(g.abs().max()) for g in expected.values())
    assert largest > 1e-3
    for name, gradient in gradients.items():
        # A sum of zeros where autograd finds no gradient.
        other = expected.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(
            gradient, other, rtol=1e-4, atol=1e-5 * largest, msg=f"{name} of {what}"
        )
    assert expected.keys() <= gradients.keys()


@HALF_OR_ALL
@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("action", ACTIONS)
def test_gradients_of_policies_equal_autograds(
    action: str, critic: str, step: int
) -> None:
    for body in BODIES:
        policy = make_policy(ACTIONS[action], body, critic=critic)
        assert why_autograd(policy) is None
        batch = batch_for(policy, 20)
        for loss in losses_for(action, critic, body, step):
            config = config_of(loss, critic)
            if config is not None:
                assert_same_gradients(policy, batch, config, f"{body}, {loss}")


OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "Discrete from 3": spaces.Discrete(5, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4], start=[-1, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "MultiBinary of 2 x 3": spaces.MultiBinary([2, 3]),
    "Box of 2 x 3": spaces.Box(-1.0, 1.0, (2, 3)),
    "Box of float64": spaces.Box(-1.0, 1.0, (4,), np.float64),
    "Box of integers": spaces.Box(-9, 9, (4,), np.int64),
}


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_they_do_for_each_space_of_observations(observation: str, critic: str) -> None:
    space = OBSERVATIONS[observation]
    policy = make_policy(ACTIONS["Discrete"], BODIES[1], space, critic=critic)
    assert why_autograd(policy) is None
    config = config_of("clipped, entropy, limited KL", critic)
    assert_same_gradients(policy, batch_for(policy, 20), config, observation)


@pytest.mark.parametrize("critic", ["separate", "none"])
@pytest.mark.parametrize("action", ["Discrete", "Discrete from -2"])
def test_gradients_of_tables_equal_autograds(action: str, critic: Any) -> None:
    space: Any = ACTIONS[action]
    policy: Any = TabularPolicy(
        spaces.Discrete(6, start=2), space, lambda _: 0.1, critic=critic
    )
    assert why_autograd(policy) is None
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(torch.randn_like(parameter))
    for loss in LOSSES:
        config = config_of(loss, critic)
        if config is not None:
            assert_same_gradients(policy, batch_for(policy, 20), config, loss)


@pytest.mark.parametrize("action", ["Discrete", "MultiDiscrete", "Box of 1"])
def test_gradients_of_sb3s_policies_equal_autograds(action: str) -> None:
    space = ACTIONS[action]
    if isinstance(space, spaces.MultiDiscrete):
        space = spaces.MultiDiscrete(space.nvec)
    policy = ActorCriticPolicy(spaces.Box(-1.0, 1.0, (4,)), space, lambda _: 0.1)
    assert why_autograd(policy) is None
    config = config_of("entropy", "separate")
    assert_same_gradients(policy, batch_for(policy, 20), config, action)


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 3000, 65_536, 65_537])
def test_gradients_of_batches_of_any_size_equal_autograds(n: int) -> None:
    for critic in ("separate", "shared"):
        # Long sums of a linear policy are the least work.
        body = BODIES[0] if n > 3000 else BODIES[-1]
        policy = make_policy(ACTIONS["Box of 1"], body, critic=critic)
        config = config_of("clipped, entropy, limited KL", critic)
        assert_same_gradients(policy, batch_for(policy, n), config, f"{n} steps")


# At 16 numbers torch draws in another way.
@pytest.mark.parametrize("n", [1, 3, 16, 17, 100, 1100])
@pytest.mark.parametrize("action", ACTIONS)
def test_actions_are_torchs_draws_from_the_same_generator(action: str, n: int) -> None:
    """In mini-batches, values and log-probabilities of acting come with them."""
    space = ACTIONS[action]
    policy = make_policy(space, BODIES[1])
    obs = batch_for(policy, n).observations
    source = ClosedForm(policy)
    for seed in range(10):
        torch.manual_seed(seed)
        with torch.no_grad():
            drawn = policy.get_distribution(torch.as_tensor(obs)).sample()
            evaluation = evaluate_actions(policy, torch.as_tensor(obs), drawn)
        expected = drawn.numpy()
        after = torch.get_rng_state()
        for updates_whole_rollouts in (True, False):
            torch.manual_seed(seed)
            source.begin_rollout(updates_whole_rollouts)
            actions, values, log_probs = source.act(obs)
            assert torch.equal(torch.get_rng_state(), after)
            assert actions.shape == (n, *space.shape)  # type: ignore[misc]
            assert actions.dtype == expected.dtype
            np.testing.assert_allclose(
                actions, expected.reshape(actions.shape), rtol=1e-5, atol=1e-6
            )
        torch.testing.assert_close(values, evaluation[0].flatten())
        torch.testing.assert_close(log_probs, evaluation[1])


def test_values_equal_those_of_the_policy() -> None:
    for critic in CRITICS:
        policy = make_policy(ACTIONS["Discrete"], BODIES[-1], critic=critic)
        target = make_policy(ACTIONS["Discrete"], BODIES[-1], critic=critic)
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.mul_(-0.5)
        source = ClosedForm(policy)
        for n in (1, 5, 1025, 2048, 2500):
            obs = batch_for(policy, n).observations
            for network in (policy, target):
                with torch.no_grad():
                    expected = network.predict_values(torch.as_tensor(obs)).flatten()
                found = source.values(network, obs)
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
