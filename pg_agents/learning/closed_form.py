"""Networks, distributions and losses with their gradients written out, in NumPy.

Every loss of a policy gradient is a function of three numbers for each step b: the
log-probability of its action, the entropy of the policy in its state, and the state's
value. So its gradient has three factors:

1. `dL/dlog pi(a_b | s_b)`, `dL/dH(s_b)` and `dL/dV(s_b)`: `loss_and_derivatives`,
2. the score, `dlog pi/do` and `dH/do`, of the network's outputs o: the distributions,
3. `do/dtheta`, backpropagation through a multilayer perceptron: the layers.

Arrays may have further leading axes, such as one for independent learners: parameters
`[..., out, in]` then belong to inputs `[..., B, in]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pg_agents.learning.baselines import standardize
from pg_agents.rollout.data import Batch

if TYPE_CHECKING:
    from pg_agents.algorithms.config import PolicyGradientConfig

Array = NDArray[Any]
# Rows from which on, and columns up to which, comparing columns is several times as
# fast as NumPy's argmax of rows.
_MIN_COLUMNWISE = 4096
_MAX_COLUMNWISE = 16
# Draws numbers of the standard "exponential", "uniform" or "normal" distribution.
Draw = Callable[[str, tuple[int, ...]], Array]


class Layer(Protocol):
    """A differentiable function of the rows of a matrix."""

    def forward(self, x: Array) -> Array:
        """Returns the outputs `[..., B, out]` of inputs `[..., B, in]`."""

    def backward(
        self, gradient: Array, x: Array, y: Array, to_input: bool, adds: bool
    ) -> Array | None:
        """Sets the gradients of parameters; returns the gradient of the inputs.

        Args:
            gradient: dL/dy, `[..., B, out]`; may be overwritten.
            x: the inputs.
            y: the outputs; may be overwritten.
            to_input: whether dL/dx, `[..., B, in]`, is needed.
            adds: whether gradients of parameters are added to those that are there.
        """


class Linear:
    """`y = x W^T + b`.

    Args:
        weight: W, `[..., out, in]`, and its gradient.
        bias: b, `[..., out]`, and its gradient; None without bias.
    """

    def __init__(
        self, weight: tuple[Array, Array], bias: tuple[Array, Array] | None
    ) -> None:
        self.weight, self._weight_gradient = weight
        self._transposed = self.weight.swapaxes(-1, -2)
        # Of two matrices, `dot` takes half as long if they are small.
        self._product: Any = np.ndarray.dot if self.weight.ndim == 2 else np.matmul
        self._bias = self._bias_gradient = None
        if bias is not None:
            self._bias, self._bias_gradient = bias[0][..., None, :], bias[1]

    def forward(self, x: Array) -> Array:
        """See `Layer`."""
        y: Array = self._product(x, self._transposed)
        if self._bias is not None:
            y += self._bias
        return y

    def backward(
        self, gradient: Array, x: Array, y: Array, to_input: bool, adds: bool
    ) -> Array | None:
        """See `Layer`: `dL/dW = g^T x`, `dL/db = sum_b g_b`, `dL/dx = g W`."""
        product, transposed = self._product, gradient.swapaxes(-1, -2)
        if adds:
            self._weight_gradient += product(transposed, x)
        else:
            product(transposed, x, out=self._weight_gradient)
        if self._bias_gradient is not None:
            # A product with ones is faster than a sum.
            ones = _ones(gradient.shape[-2], gradient.dtype)
            if adds:
                self._bias_gradient += product(ones, gradient)
            else:
                product(ones, gradient, out=self._bias_gradient)
        return product(gradient, self.weight) if to_input else None


class Tanh:
    """`y = tanh x`, in place."""

    def forward(self, x: Array) -> Array:
        """See `Layer`."""
        return np.tanh(x, out=x)

    def backward(
        self, gradient: Array, x: Array, y: Array, to_input: bool, adds: bool
    ) -> Array | None:
        """See `Layer`: `dL/dx = g (1 - y^2)`."""
        np.multiply(y, y, out=y)
        np.subtract(1.0, y, out=y)
        gradient *= y
        return gradient


class ReLU:
    """`y = max(x, 0)`, in place."""

    def forward(self, x: Array) -> Array:
        """See `Layer`."""
        return np.maximum(x, 0.0, out=x)

    def backward(
        self, gradient: Array, x: Array, y: Array, to_input: bool, adds: bool
    ) -> Array | None:
        """See `Layer`: `dL/dx = g` where `y > 0`, else 0."""
        gradient *= y > 0.0
        return gradient


class LayerNorm:
    """`y = w (x - mean) / sqrt(variance + epsilon) + b`, over the numbers of a row.

    Reference: Ba, Kiros and Hinton (2016), "Layer normalization".

    Args:
        weight: w, `[..., out]`, and its gradient.
        bias: b, `[..., out]`, and its gradient.
        epsilon: added to the variance.
    """

    def __init__(
        self, weight: tuple[Array, Array], bias: tuple[Array, Array], epsilon: float
    ) -> None:
        self._weight, self._weight_gradient = weight[0][..., None, :], weight[1]
        self._bias, self._bias_gradient = bias[0][..., None, :], bias[1]
        self._epsilon = epsilon

    def forward(self, x: Array) -> Array:
        """See `Layer`."""
        normalized, _ = self._normalized(x)
        return normalized * self._weight + self._bias

    def backward(
        self, gradient: Array, x: Array, y: Array, to_input: bool, adds: bool
    ) -> Array | None:
        """See `Layer`: `dL/dx = (h - mean h - n mean(h n)) / std` with `h = g w`."""
        normalized, std = self._normalized(x)
        for total, terms in (
            (self._weight_gradient, gradient * normalized),
            (self._bias_gradient, gradient),
        ):
            total[...] = terms.sum(-2) + (total if adds else 0.0)
        h = gradient * self._weight
        mean_of_product = (h * normalized).mean(-1, keepdims=True)
        found: Array = h - h.mean(-1, keepdims=True) - normalized * mean_of_product
        return found / std

    def _normalized(self, x: Array) -> tuple[Array, Array]:
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        std = np.sqrt(variance + self._epsilon)
        return centred / std, std


class Network:
    """Layers one after the other.

    Args:
        layers: from inputs to outputs; none for the identity.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)

    def __call__(self, x: Array) -> Array:
        """Returns the outputs `[..., B, out]` of inputs `[..., B, in]`."""
        for layer in self._layers:
            x = layer.forward(x)
        return x

    def activations(self, x: Array) -> list[Array]:
        """Returns the inputs and the outputs of every layer.

        An activation function overwrites its inputs, which are listed all the same:
        its derivative is a function of its outputs.
        """
        found = [x]
        for layer in self._layers:
            found.append(layer.forward(found[-1]))
        return found

    def backward(
        self,
        activations: list[Array],
        gradient: Array,
        to_input: bool = False,
        adds: bool = True,
    ) -> Array | None:
        """Sets the gradients of the parameters to dL/dtheta.

        Args:
            activations: what the method of this name returned; they are overwritten.
            gradient: dL/do of the outputs, `[..., B, out]`.
            to_input: whether the gradient of the inputs is needed.
            adds: whether to add to the gradients that are there.

        Returns:
            dL/dx, `[..., B, in]`, on request.
        """
        following: Array | None = gradient
        for i in reversed(range(len(self._layers))):
            x, y = activations[i], activations[i + 1]
            assert following is not None
            needed = to_input or i > 0
            following = self._layers[i].backward(following, x, y, needed, adds)
        return following


@dataclass
class Evaluation:
    """The policy at B steps.

    Attributes:
        log_prob: `[..., B]`, log-probability of each action.
        entropy: `[..., B]`, entropy of the policy in each state.
        saved: what the distribution's `gradient` needs, and may overwrite.
    """

    log_prob: Array
    entropy: Array
    saved: Any


class Distribution(Protocol):
    """A distribution over actions, as a function of the network's outputs."""

    def sample(self, outputs: Array, draw: Draw) -> Array:
        """Returns actions `[..., B, *action_shape]` of outputs `[..., B, K]`."""

    def evaluate(self, outputs: Array, actions: Array) -> Evaluation:
        """Returns log-probabilities of actions `[..., B, *action_shape]`."""

    def gradient(
        self, evaluation: Evaluation, d_log_prob: Array, d_entropy: float | Array | None
    ) -> Array:
        """Returns dL/do `[..., B, K]`; adds to gradients of parameters of its own.

        Args:
            evaluation: what `evaluate` returned.
            d_log_prob: dL/dlog pi, `[..., B]`.
            d_entropy: dL/dH, one number for all steps, or `[..., B]`; None without an
                entropy term.
        """


class Categorical:
    """A softmax over A actions, `pi(a) = exp(o_a) / sum_k exp(o_k)`.

    Args:
        start: the first action.
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start

    def sample(self, outputs: Array, draw: Draw) -> Array:
        """See `Distribution`: the first of A exponential clocks with rates pi."""
        times = draw("exponential", outputs.shape)
        actions = _argmax(outputs - np.log(times))
        return actions + self._start if self._start else actions

    def evaluate(self, outputs: Array, actions: Array) -> Evaluation:
        """See `Distribution`."""
        shape = actions.shape
        # One row for each action: NumPy reduces a long last axis faster.
        log_p = outputs.reshape(-1, outputs.shape[-1]).T.copy()
        log_p -= np.maximum.reduce(log_p)
        p = np.exp(log_p)
        total = np.add.reduce(p)
        p /= total
        log_p -= np.log(total)
        taken = (actions.reshape(-1) - self._start, np.arange(actions.size))
        entropy = -np.add.reduce(p * log_p)
        saved = p, log_p, taken, entropy, outputs.shape
        return Evaluation(log_p[taken].reshape(shape), entropy.reshape(shape), saved)

    def gradient(
        self, evaluation: Evaluation, d_log_prob: Array, d_entropy: float | Array | None
    ) -> Array:
        """See `Distribution`.

        `dlog pi(a)/do_k = 1[k = a] - pi_k` and `dH/do_k = -pi_k (log pi_k + H)`.
        """
        p, log_p, taken, entropy, shape = evaluation.saved
        weight = d_log_prob.reshape(-1)
        gradient = p * -weight
        if d_entropy is not None:
            log_p += entropy
            log_p *= p
            log_p *= np.broadcast_to(d_entropy, d_log_prob.shape).reshape(-1)
            gradient -= log_p
        gradient[taken] += weight
        return gradient.T.reshape(shape)


class MultiCategorical:
    """K independent softmax distributions, side by side.

    Args:
        sizes: number of values of each, `[K]`.
        starts: first value of each, `[K]`.
    """

    def __init__(self, sizes: Sequence[int], starts: Sequence[int]) -> None:
        ends = np.cumsum(sizes)
        self._slices = [
            slice(end - size, end) for size, end in zip(sizes, ends, strict=True)
        ]
        self._parts = [Categorical(start) for start in starts]

    def sample(self, outputs: Array, draw: Draw) -> Array:
        """See `Distribution`."""
        pairs = zip(self._parts, self._slices, strict=True)
        return np.stack(
            [part.sample(outputs[..., s], draw) for part, s in pairs], axis=-1
        )

    def evaluate(self, outputs: Array, actions: Array) -> Evaluation:
        """See `Distribution`."""
        parts = [
            part.evaluate(outputs[..., s], actions[..., k])
            for k, (part, s) in enumerate(zip(self._parts, self._slices, strict=True))
        ]
        log_prob = sum(part.log_prob for part in parts)
        return Evaluation(log_prob, sum(part.entropy for part in parts), parts)  # type: ignore[arg-type]

    def gradient(
        self, evaluation: Evaluation, d_log_prob: Array, d_entropy: float | Array | None
    ) -> Array:
        """See `Distribution`."""
        pairs = zip(self._parts, evaluation.saved, strict=True)
        return np.concatenate(
            [part.gradient(saved, d_log_prob, d_entropy) for part, saved in pairs],
            axis=-1,
        )


class Bernoulli:
    """Independent bits, `pi(1) = 1 / (1 + exp(-o))`."""

    def sample(self, outputs: Array, draw: Draw) -> Array:
        """See `Distribution`."""
        uniform = draw("uniform", outputs.shape)
        return (uniform < _sigmoid(outputs)).astype(outputs.dtype)

    def evaluate(self, outputs: Array, actions: Array) -> Evaluation:
        """See `Distribution`: `log pi(a) = a o - log(1 + exp o)`."""
        softplus = np.logaddexp(0.0, outputs)
        p = _sigmoid(outputs)
        log_prob = (actions * outputs - softplus).sum(-1)
        entropy = (softplus - p * outputs).sum(-1)
        return Evaluation(log_prob, entropy, (p, outputs, actions))

    def gradient(
        self, evaluation: Evaluation, d_log_prob: Array, d_entropy: float | Array | None
    ) -> Array:
        """See `Distribution`: `dlog pi/do = a - p` and `dH/do = -o p (1 - p)`."""
        p, outputs, actions = evaluation.saved
        gradient: Array = d_log_prob[..., None] * (actions - p)
        if d_entropy is not None:
            weight = np.broadcast_to(d_entropy, d_log_prob.shape)[..., None]
            gradient -= weight * outputs * p * (1.0 - p)
        return gradient


class Gaussian:
    """Independent normal distributions with means o.

    Args:
        log_std: logarithms of the standard deviations, `[..., K]`, and their gradient.
        shape: shape of an action.
    """

    def __init__(self, log_std: tuple[Array, Array], shape: tuple[int, ...]) -> None:
        self._log_std, self._log_std_gradient = log_std
        self._shape = shape

    def sample(self, outputs: Array, draw: Draw) -> Array:
        """See `Distribution`."""
        std = np.exp(self._log_std)[..., None, :]
        actions = outputs + draw("normal", outputs.shape) * std
        return actions.reshape(*outputs.shape[:-1], *self._shape)

    def evaluate(self, outputs: Array, actions: Array) -> Evaluation:
        """See `Distribution`: `log pi(a) = -sum z^2 / 2 - H + K / 2`.

        With `z = (a - o) / std` and `H = K (1 + log(2 pi)) / 2 + sum log std`.
        """
        std = np.exp(self._log_std)[..., None, :]
        z = (actions.reshape(outputs.shape) - outputs) / std
        k = outputs.shape[-1]
        # In Python's numbers, which keep the dtype of the outputs.
        entropy = self._log_std.sum(-1) + 0.5 * k * (1.0 + math.log(2.0 * math.pi))
        entropy = np.broadcast_to(entropy[..., None], z.shape[:-1])
        log_prob = 0.5 * k - 0.5 * np.square(z).sum(-1) - entropy
        return Evaluation(log_prob, entropy, (z, std))

    def gradient(
        self, evaluation: Evaluation, d_log_prob: Array, d_entropy: float | Array | None
    ) -> Array:
        """See `Distribution`.

        `dlog pi/do = z / std`, `dlog pi/dlog std = z^2 - 1` and `dH/dlog std = 1`.
        """
        z, std = evaluation.saved
        weight = d_log_prob[..., None]
        self._log_std_gradient += (weight * (np.square(z) - 1.0)).sum(-2)
        if d_entropy is not None:
            total = np.broadcast_to(d_entropy, d_log_prob.shape).sum(-1)
            self._log_std_gradient += total[..., None]
        gradient: Array = weight * z / std
        return gradient


@lru_cache(maxsize=256)
def _ones(n: int, dtype: Any) -> Array:  # noqa: ANN401
    """Returns `[n]` ones, which are not to be written to."""
    return np.ones(n, dtype)


def _argmax(values: Array) -> Array:
    """Returns the index of the first largest number of each row, `[..., B]` int64."""
    n_columns = values.shape[-1]
    if values.size < _MIN_COLUMNWISE * n_columns or n_columns > _MAX_COLUMNWISE:
        found: Array = values.argmax(-1)
        return found
    columns = np.ascontiguousarray(values.reshape(-1, n_columns).T)
    largest, index = columns[0], np.zeros(columns.shape[1], np.int8)
    for k in range(1, n_columns):
        is_larger = columns[k] > largest
        np.maximum(index, is_larger.view(np.int8) * np.int8(k), out=index)
        np.maximum(largest, columns[k], out=largest)
    return index.reshape(values.shape[:-1]).astype(np.int64)


def _sigmoid(x: Array) -> Array:
    # Through exp(-|x|), which does not overflow.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, e) / (1.0 + e)


@dataclass
class Derivatives:
    """Derivatives of a loss at B steps.

    Attributes:
        log_prob: dL/dlog pi(a_b | s_b), `[..., B]`.
        entropy: dL/dH(s_b), a number for all steps, or `[..., B]`; None without an
            entropy term.
        values: dL/dV(s_b), `[..., B]`; None without a critic.
    """

    log_prob: Array
    entropy: float | Array | None
    values: Array | None


def loss_and_derivatives(
    batch: Batch,
    log_prob: Array,
    entropy: Array,
    values: Array,
    config: PolicyGradientConfig,
    coefficients: Mapping[str, float],
) -> tuple[dict[str, Any], Derivatives]:
    """Returns the terms of `Learner.loss`, `"loss"` last, and their derivatives.

    With n samples and B steps, `rho_b = pi(a_b | s_b) / pi_old(a_b | s_b)` and the
    error `e_b = V(s_b) - G_b`:

    - policy gradient: `dL/dlog pi_b = -A_b / n`,
    - clipped surrogate: `-A_b rho_b / n`, or 0 where the clipped term is the smaller,
    - entropy: `dL/dH_b = -ent_coef / n`,
    - squared error: `dL/dV_b = vf_coef 2 e_b / B`,
    - Huber: `vf_coef clip(e_b, -1, 1) / B`,
    - clipped values: 0 where V_b is clipped.

    Reference: as the losses in `pg_agents.learning.losses`.

    Args:
        batch: the data, as arrays `[..., B]`; `n_samples` may be `[..., 1]`.
        log_prob: `[..., B]`.
        entropy: `[..., B]`.
        values: `[..., B]`; not read without a critic.
        config: all settings.
        coefficients: current `ent_coef`, `clip_range` and `clip_range_vf`, where used.
    """
    n_samples, advantages = batch.n_samples, batch.advantages
    if config.standardizes_mini_batches and not batch.standardized:
        advantages = standardize(advantages)
    terms: dict[str, Any] = {}
    ratio = None
    if config.clip_range is not None or config.target_kl is not None:
        log_ratio = log_prob - batch.old_log_prob
        ratio = np.exp(log_ratio)
        terms["approx_kl"] = (ratio - 1.0 - log_ratio).mean(-1)
    # Divided first: every learner has its own number of samples.
    weights = advantages / n_samples
    if config.clip_range is None:
        loss = -_sum(weights * log_prob)
        d_log_prob = -weights
    else:
        assert ratio is not None
        clip = coefficients["clip_range"]
        terms["clip_fraction"] = (np.abs(ratio - 1.0) > clip).mean(-1)
        surrogate = weights * ratio
        clipped = weights * ratio.clip(1.0 - clip, 1.0 + clip)
        loss = -_sum(np.minimum(surrogate, clipped))
        d_log_prob = np.where(clipped < surrogate, 0.0, -surrogate)
    terms["policy_loss"] = loss
    terms["entropy_loss"] = -_sum(entropy / n_samples)
    d_entropy = None
    if coefficients["ent_coef"] != 0.0:
        d_entropy = -coefficients["ent_coef"] / n_samples
        loss = loss + coefficients["ent_coef"] * terms["entropy_loss"]
    d_values = None
    if config.baseline == "value":
        inside = None
        if config.clip_range_vf is not None:
            clip, old = coefficients["clip_range_vf"], batch.old_values
            inside = np.abs(values - old) <= clip
            values = old + (values - old).clip(-clip, clip)
        error = values - batch.returns
        n_steps = error.shape[-1]
        if config.critic_loss == "huber":
            d_values = error.clip(-1.0, 1.0)
            # x^2 / 2 within [-1, 1] and |x| - 1/2 outside.
            losses = d_values * (error - 0.5 * d_values)
        else:
            losses = np.square(error)
            d_values = 2.0 * error
        terms["value_loss"] = _sum(losses) / n_steps
        loss = loss + config.vf_coef * terms["value_loss"]
        d_values *= config.vf_coef / n_steps
        if inside is not None:
            d_values *= inside
    terms["loss"] = loss
    return terms, Derivatives(d_log_prob, d_entropy, d_values)


def _sum(values: Array) -> Any:  # noqa: ANN401
    """Returns sums over the last axis; for few numbers faster than `values.sum`."""
    return np.add.reduce(values, axis=-1)
