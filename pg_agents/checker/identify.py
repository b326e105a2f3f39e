"""Identifies the formula of a policy gradient from decoded updates.

A formula (`formula.Formula`) predicts the decoded gradients exactly, up to rounding in
float32. `identify` searches the formulas in the order of their number of mistakes, by
their residual on a few updates, refines gamma and lambda where they are none of the
usual values, and verifies what fits on many updates of all tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.formula import (
    USES_CRITIC,
    Formula,
    Frame,
    Window,
    advantages,
    centred,
    credits,
    deviation_groups,
    directions,
    entropy_columns,
    multiplier,
    predicted,
    windows,
)
from pg_agents.checker.parts import Context, Part, cost, part_of, parts_of
from pg_agents.checker.record import IntArray, Record
from pg_agents.checker.task import Array
from pg_agents.checker.unknowns import (
    UnknownFit,
    dimensions,
    fit_action_values,
    fit_constants,
    fit_factors,
    fit_probabilities,
    fit_resampled,
    fit_reward_factor,
    fit_rewards,
    fit_value_of_policy,
    fit_values,
    usual,
    without_rewards,
    without_values,
)
from pg_agents.checker.value_output import fit_value_output

# A formula is named if it leaves at most this share of the gradients' norm. Rounding in
# float32 leaves 1e-6 to 3e-5; gamma 1 in place of 0.999 leaves 9e-4.
MAX_RESIDUAL = 1e-4
# Formulas that leave this many times the smallest residual are worse, not as good.
_TIE = 5.0
# Residual on few updates at which a formula is verified on more of them.
_SCREEN_RESIDUAL = 2e-3
# Transitions per record by which formulas are screened, and verified.
_SCREEN_ROWS = 120
_VERIFY_ROWS = 4_000
_UNKNOWNS_ROWS = 600
_MIN_NUMBERS = 20
# Residual that rounding leaves, and expected number of formulas that fit by chance
# above which none is named.
_ROUNDING = 1e-6
_CHANCE = 1e-3
# Updates at the start of later records that are left out.
_N_SKIPPED = 2
_MAX_PROJECTIONS = 48
# Projections by which most formulas are ruled out, and how much smaller than the
# residual on all projections that on these may be.
_FEW_PROJECTIONS = 14
_MARGIN = 3.0
_GAMMAS = (1.0, 0.99, 0.95, 0.9, 0.98, 0.999, 0.97, 0.995, 0.8, 0.5)
_LAMBDAS = (0.95, 0.9, 0.98, 0.8, 0.5)
# Numbers (advantages of formulas on rows) that are screened at once.
_CHUNK = 4_000_000
# CPU time that a search may take, in seconds.
MAX_SECONDS = 6.0


@dataclass(frozen=True)
class Identification:
    """What `identify` found.

    Attributes:
        formula: the formula, with gamma and lambda; None if none fits.
        parts: its departures and mistakes.
        factor: c, by which the formula's gradient is multiplied; positive if the loss
            descends along it.
        entropy: coefficient of the entropy term, positive for a bonus; 0 without one.
        residual: share of the gradients' norm that the formula leaves, on the task on
            which it fits worst. Without a formula, that of the best one.
        ties: other formulas that fit as well, with as few mistakes, but with other
            ones; if there are any, the mistakes of `parts` are not asserted.
        closest: the formula with the smallest residual.
        explanation: what the factor is.
        notes: remarks.
        context: what the formula was judged against.
        values: `[S]` for each record: the critic or the baseline of each state, if it
            was fitted, or divided by the factor of the rewards; they stand for
            `Record.values`.
        n_candidates: number of formulas, with gamma and lambda, that were evaluated.
        critic_unknown: whether the value output receives a gradient that no critic's
            loss explains, so that a value that is not detached would not be seen.
        reward_factor: by what rewards are multiplied before the critic learns them.
        same_mean: whether a mean over steps and one over episodes are the same here.
    """

    formula: Formula | None
    parts: tuple[Part, ...]
    factor: float
    entropy: float
    residual: float
    ties: tuple[tuple[Part, ...], ...] = ()
    closest: Formula | None = None
    explanation: str = ""
    notes: tuple[str, ...] = ()
    context: Context = field(default_factory=Context)
    values: tuple[Array, ...] | None = None
    n_candidates: int = 0
    critic_unknown: bool = False
    reward_factor: float = 1.0
    same_mean: bool = False

    @property
    def mistakes(self) -> tuple[Part, ...]:
        """The parts that are mistakes."""
        return tuple(p for p in self.parts if p.kind in ("mistake", "no gradient"))

    @property
    def is_ambiguous(self) -> bool:
        """Whether a mistake and what is none fit equally well."""
        kinds = [{part.kind for part in parts} for parts in (self.parts, *self.ties)]
        wrong = [bool(k & {"mistake", "no gradient"}) for k in kinds]
        return any(wrong) and not all(wrong)

    @property
    def departures(self) -> tuple[Part, ...]:
        """The parts that documented algorithms share."""
        return tuple(p for p in self.parts if p.kind == "departure")

    @property
    def named(self) -> bool:
        """Whether a formula fits and no other one as well."""
        return self.formula is not None and not self.ties


def with_found_values(record: Record, number: int, found: Identification) -> Record:
    """Returns a record with the critic that was found in place of its own.

    Args:
        record: the record.
        number: its index among those that were identified.
        found: the identification.
    """
    if found.values is None:
        return record
    return replace(record, values=found.values[number])


@dataclass(frozen=True)
class Fit:
    """A formula fitted to the updates of a frame.

    Attributes:
        formula: the formula.
        factor: c.
        entropy: coefficient of the entropy term.
        residual: on the worst record.
        prediction: what it predicts, without factors.
        values: `[S]` for each record: values that were fitted; None if there are none.
        keys: keys of mistakes that are not part of the formula.
    """

    formula: Formula
    factor: float
    entropy: float
    residual: float
    prediction: Array
    values: tuple[Array, ...] | None = None
    keys: tuple[str, ...] = ()


class OutOfTimeError(Exception):
    """The search has used up its time."""


class _Budget:
    """CPU time of a search.

    Args:
        seconds: how long it may take.
        clock: returns the time that has been used, in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.n_candidates = 0

    def spend(self, n_candidates: int) -> None:
        """Counts formulas that are evaluated next.

        Raises:
            OutOfTimeError: if the time has been used up.
        """
        if self._clock() >= self._end:
            raise OutOfTimeError
        self.n_candidates += n_candidates


def identify(
    records: Sequence[Record],
    *,
    known_gamma: bool = True,
    seconds: float | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> Identification:
    """Returns the formula of the gradients that a subject computes.

    Args:
        records: what the subject did, one record for each task, with the same formula.
        known_gamma: whether the subject was told the gamma of the tasks, so that
            another one is a mistake. If not, gamma is the subject's own.
        seconds: time after which the search ends, `MAX_SECONDS` by default; likely
            formulas come first.
        clock: returns the time used so far, in seconds; CPU time by default.

    Returns:
        The identification; its formula is None if none of the formulas that were
        tried leaves less than `MAX_RESIDUAL`. A note says if the time did not suffice
        to try all of them.
    """
    if not any(u.outputs.any() for record in records for u in record.updates):
        # Every formula would fit, with a factor of 0.
        return Identification(None, (), 0.0, 0.0, 0.0)
    limit = MAX_SECONDS if seconds is None else seconds
    found = _Search(records, known_gamma, _Budget(limit, clock)).run()
    if found.formula is not None:
        return found
    longer = _without_single_steps(records)
    if longer is None:
        return found
    # Code that standardises often leaves a single number as it is.
    of_longer = _Search(longer, known_gamma, _Budget(0.5 * limit, clock)).run()
    if of_longer.formula is None or not of_longer.formula.standardises:
        return found
    note = (
        "updates of a single step were left out: they follow another rule, such as one "
        "number not being standardised"
    )
    return replace(of_longer, notes=(*of_longer.notes, note))


def _without_single_steps(records: Sequence[Record]) -> list[Record] | None:
    """Returns the records without updates of a single step; None if there are none."""
    longer = [
        replace(
            record,
            updates=tuple(u for u in record.updates if u.last - u.first > 1),
        )
        for record in records
    ]
    if not all(record.updates for record in longer) or all(
        len(one.updates) == len(other.updates)
        for one, other in zip(records, longer, strict=True)
    ):
        return None
    return longer


# Options


@dataclass(frozen=True)
class Traits:
    """What the data have, so that options without an effect are left out."""

    critic: bool
    truncation: bool
    unfinished: bool
    several_episodes: bool
    several_envs: bool
    rows: bool
    old_rows: bool
    shared_windows: bool
    resets: bool
    gaussian: bool
    logits: bool
    integers: bool
    one_step: bool


def traits_of(records: Sequence[Record], frame: Frame) -> Traits:
    """Returns what the data of a frame have."""
    bounds = [[(u.first, u.last) for u in r.updates] for r in records]
    rewards = np.concatenate([r.transitions.reward for r in records])
    return Traits(
        critic=frame.has_critic,
        truncation=any(r.transitions.truncated.any() for r in records),
        unfinished=bool((~frame.finished).any()),
        several_episodes=bool((frame.n_parts > 1).any()),
        several_envs=bool(frame.by_chain.n > len(frame.picks)),
        rows=any(u.rows is not None for r in records for u in r.updates),
        old_rows=any(
            u.rows is not None and len(u.rows) and u.rows.min() < u.first
            for r in records
            for u in r.updates
        ),
        shared_windows=any(len(set(b)) < len(b) for b in bounds),
        resets=any(r.transitions.reset is not None for r in records),
        gaussian=records[0].family == "gaussian",
        logits=records[0].logits is not None,
        integers=bool((rewards == np.rint(rewards)).all()),
        one_step=len(frame) == len(frame.picks),
    )


@cache
def advantage_options(traits: Traits, mistakes: int) -> tuple[Formula, ...]:
    """Returns all choices of credit, baseline and scale with a number of mistakes."""
    return tuple(
        replace(credit, baseline=baseline, scale=scale, ddof=ddof, transform=transform)
        for credit in _credits(traits, mistakes)
        for baseline, scale, ddof, transform in _centrings(traits, credit)
        if level(credit)
        + cost("baseline", baseline)
        + cost("scale", scale)
        + cost("transform", transform)
        == mistakes
    )


def _credits(traits: Traits, budget: int) -> Iterator[Formula]:
    """Yields what credits may be, up to a number of mistakes."""
    orders = ["kept", "last_lost", "last_skipped", "reversed_episode"]
    orders += ["reversed_window"]
    orders += ["next", "next_discounted", "previous"]
    if traits.several_envs:
        orders.append("reversed_environment")
    rewards = ["raw", "clipped"]
    rewards += [
        f"standardized_{over}_{ddof}" for over in ("window", "episode") for ddof in "10"
    ]
    if traits.one_step:
        orders, rewards = orders[:1], rewards[:2]
    along = [""]
    if traits.several_envs:
        along = ["", "@workers", "@flat"]
    ends = ["both"]
    if traits.truncation:
        ends.append("terminated")
    shifted = ["previous", "previous_zero", "rolled", "next"]
    if not traits.several_episodes:
        # No end lies before another step: the mask hides nothing, as without one.
        shifted.remove("previous_zero")
    ends += [f"{kind}{way}" for kind in (*shifted, "ignored") for way in along]
    ends.append("carried")
    if traits.several_envs:
        ends.append("both@flat")
    if traits.one_step:
        ends = ["both"]
    sums = ["to_go", "episode", "from_start", "forward", "cumulative"]
    if traits.one_step:
        # A sum over one step of an episode is its reward.
        sums = [] if traits.unfinished else ["to_go"]
    for reward in rewards:
        for order in orders:
            for credit in sums:
                for end in ends:
                    formula = Formula(reward, credit, end, order=order)
                    if end == "carried" and credit != "to_go":
                        continue
                    if level(formula) <= budget:
                        yield formula
    for kind in ("immediate", "window", "window_so_far", "value", "one"):
        if kind == "value" and not traits.critic:
            continue
        if kind == "window_so_far" and not traits.several_episodes:
            continue
        formula = Formula(credit=kind)
        if level(formula) <= budget:
            yield formula
    if not traits.critic:
        return
    bootstraps = ["both", "ignored", *shifted]
    if traits.truncation:
        bootstraps.insert(1, "terminated")
    successors = ["true", "seen", "same", "same_always", "none"]
    if traits.one_step:
        # Masks of other steps and ends of windows mean nothing there.
        bootstraps = [b for b in bootstraps if b in ("both", "terminated", "ignored")]
        successors = ["true", "seen", "same_always"]
    for reward in ("raw", "clipped"):
        for order in orders:
            for bootstrap in bootstraps:
                for successor in successors:
                    base = Formula(
                        reward,
                        order=order,
                        bootstrap=bootstrap,
                        successor=successor,
                    )
                    yield from _with_critic(traits, base, ends, budget)


def _with_critic(
    traits: Traits, base: Formula, ends: Sequence[str], budget: int
) -> Iterator[Formula]:
    if level(base) > budget:
        return
    yield replace(base, credit="td")
    if traits.one_step:
        return
    for end in ends:
        # The two masks agree, or only one of them is wrong.
        if end == "carried":
            continue
        same = end == base.bootstrap
        if not same and end != "both" and base.bootstrap not in ("both", "terminated"):
            continue
        formula = replace(base, ends=end, credit="bootstrapped")
        if level(formula) > budget:
            continue
        yield formula
        for lam in _LAMBDAS[: 3 if level(formula) else None]:
            yield replace(formula, credit="lambda", lam=lam)
        if not level(formula):
            for n in (2, 3, 4, 5):
                yield replace(formula, credit="n_step", n=n)


def _centrings(traits: Traits, credit: Formula) -> Iterator[tuple[str, str, int, str]]:
    """Yields baseline, scale, ddof and transform for a credit."""
    if credit.credit != "from_start" or level(credit):
        # Otherwise the same as the sum to go times gamma^t.
        yield "none", "none", 1, "none"
    if credit.credit == "one":
        return
    if level(credit):
        yield from _usual_centrings(traits)
        return
    own = ["none"]
    if traits.critic:
        own.append("value")
        yield "value", "none", 1, "none"
        if credit.credit not in USES_CRITIC:
            # One reward and the next state's value, minus it, is one reward.
            yield "next_value", "none", 1, "none"
            yield "next_value_always", "none", 1, "none"
        yield "action_value", "none", 1, "none"
    transforms = ["int", "round"] if not traits.integers or traits.critic else []
    for transform in transforms:
        for baseline in own:
            yield baseline, "none", 1, transform
    for baseline in own:
        for scale in ("square", "absolute"):
            yield baseline, scale, 1, "none"
    if traits.one_step:
        return
    yield "window_mean", "none", 1, "none"
    means = ["product_of_sums", "product_of_discounted_sums", "own_episode"]
    if traits.several_episodes:
        means += ["time_mean", "time_mean_alive", "episodes_mean", "episode_product"]
        means += ["leave_one_out_time", "leave_one_out_episode"]
    if traits.critic:
        means += ["value_mean", "value_sum", "credit_mean", "product_of_advantages"]
    for baseline in means:
        yield baseline, "none", 1, "none"
    scales = ["window", "deviation", "largest"]
    if traits.several_episodes:
        scales += ["episode", "time_step"]
    if traits.several_envs:
        scales.append("environment")
    if traits.rows or traits.shared_windows:
        scales.append("mini_batch")
    for baseline in own:
        for scale in scales:
            for ddof in (1, 0) if scale != "largest" else (1,):
                yield baseline, scale, ddof, "none"
        for transform in ("int", "round") if transforms else ():
            yield baseline, "window", 1, transform
    if traits.critic and credit.credit not in ("episode", "window"):
        for over in ("window", "episode"):
            for ddof in (1, 0):
                for baseline in ("value", "product_of_advantages", "value_mean"):
                    yield baseline, "none", ddof, f"standardized_{over}"


def _usual_centrings(traits: Traits) -> Iterator[tuple[str, str, int, str]]:
    """Yields the baselines and scales that go with a wrong credit."""
    own = ("none", "value") if traits.critic else ("none",)
    if traits.critic:
        yield "value", "none", 1, "none"
    if traits.one_step:
        return
    yield "window_mean", "none", 1, "none"
    for baseline in own:
        yield baseline, "window", 1, "none"
        yield baseline, "window", 0, "none"
        if traits.rows or traits.shared_windows:
            yield baseline, "mini_batch", 1, "none"
    if traits.several_episodes:
        yield "none", "episode", 1, "none"
        yield "time_mean", "none", 1, "none"


@cache
def multiplier_options(
    traits: Traits, mistakes: int, pairs: bool
) -> tuple[Formula, ...]:
    """Returns choices of discount, reduction, steps and score with some mistakes.

    Args:
        traits: what the data have.
        mistakes: number of mistakes.
        pairs: whether a mean may be one over pairs of steps.
    """
    discounts = ["none", "gamma_t", "task_gamma_t", "gamma_2t", "window", "not_reset"]
    reductions_ = ["sum", "steps", "episodes"]
    if pairs:
        reductions_.append("steps_squared")
    steps = ["all"]
    scores = ["log_prob", "probability", "next_state", "clipped_action"]
    scores += ["reparameterized", "variance", "root"]
    if not traits.one_step:
        reductions_ += ["own_steps", "own_steps_episodes"]
        steps += [
            "window_last_lost",
            "episode_last_lost",
            "episode_first_lost",
            "episode_last_only",
            "episode_first_only",
        ]
    if traits.unfinished:
        steps.append("finished")
    if traits.several_episodes:
        steps += ["last_episode", "first_episode"]
        steps += [f"first_finished_{n}" for n in range(1, 8)]
    if traits.several_envs:
        steps.append("first_environment")
    if not traits.gaussian:
        scores = [
            "log_prob",
            "probability",
            "next_state",
            "all_actions",
            "first_action",
            "most_likely_action",
            "logit",
            "p_log_p",
            "inverse_probability",
            "softmax_twice",
            "binary_cross_entropy",
            "binary_cross_entropy_logits",
            "squared_error",
        ]
        if not traits.one_step:
            scores += [
                "previous_action",
                "next_action",
                "gather_rows",
                "all_pairs",
                "all_pairs_columns",
                "softmax_over_batch",
                "softmax_over_batch_normalized",
            ]
    return tuple(
        Formula(discount=discount, reduction=reduction, steps=step, score=score)
        for discount in discounts
        for reduction in reductions_
        for step in steps
        for score in scores
        if cost("discount", discount)
        + cost("reduction", reduction)
        + cost("steps", step)
        + cost("score", score)
        == mistakes
    )


def data_options(traits: Traits) -> list[str]:
    """Returns which transitions may form the windows."""
    options = ["window"]
    if traits.resets:
        options.append("through_resets")
    if traits.shared_windows and not traits.rows:
        options.append("chunks")
    if traits.old_rows:
        options.append("memory_rows")
    if traits.rows:
        options.append("mixed_up")
    options += ["accumulated", "memory"]
    options += [f"memory_{n}" for n in (2, 3, 4, 5, 8)]
    options += ["late", "stale_rewards", "stale_actions", "next_states"]
    if traits.resets:
        options.append("resets")
    return options


_FIELDS = (
    "rewards",
    "credit",
    "ends",
    "bootstrap",
    "successor",
    "order",
    "transform",
    "baseline",
    "scale",
    "discount",
    "reduction",
    "steps",
    "score",
    "data",
    "entropy",
)


def level(formula: Formula) -> int:
    """Returns the number of mistakes of a formula."""
    mistakes = sum(cost(name, getattr(formula, name)) for name in _FIELDS)
    masked = formula.bootstrap in ("both", "terminated")
    if formula.successor == "seen" and not masked:
        # One mistake: the mask does not hide the state after the end.
        mistakes -= 1
    shifted = formula.ends.partition("@")[0]
    if formula.credit in USES_CRITIC and shifted == formula.bootstrap != "both":
        # The same wrong mask twice.
        mistakes -= cost("ends", formula.ends)
    return mistakes


# Screening


class Screen:
    """Residuals of many formulas on a few updates.

    Args:
        frame: the updates.
        wide: whether to allow for log-probabilities as "entropy", too.

    Attributes:
        used: `[R]`, the rows that the updates use, in whose weights the residuals are.
    """

    def __init__(self, frame: Frame, wide: bool = False) -> None:
        self.frame = frame
        self.wide = wide
        self.used = np.flatnonzero(frame.times > 0)
        n_updates, width = frame.target.shape
        size = n_updates * width
        rng = np.random.default_rng(0)
        if size > _MAX_PROJECTIONS:
            shape = n_updates, width, _MAX_PROJECTIONS
            self._projection = rng.normal(size=shape) / np.sqrt(size)
        else:
            self._projection = np.eye(size).reshape(n_updates, width, size)
        y = np.einsum("um,ump->p", frame.target, self._projection)
        self._basis = self._nuisances()
        self._y = self._without(y)
        n = len(self._y)
        self._few = rng.normal(size=(n, min(n, _FEW_PROJECTIONS))) / np.sqrt(n)

    def _nuisances(self) -> Array:
        """Returns an orthonormal basis of the entropy terms, `[p, q]`."""
        columns = [
            column
            for name, column in entropy_columns(self.frame).items()
            if self.wide or not name.startswith("log_prob")
        ]
        matrix = np.array(
            [np.einsum("um,ump->p", c, self._projection) for c in columns]
        ).T
        return _orthonormal(matrix)

    def _without(self, x: Array) -> Array:
        rest: Array = x - (x @ self._basis) @ self._basis.T
        return rest

    def folded(self, formula: Formula, gamma: float, vectors: Array) -> Array:
        """Returns what a weight of 1 on each used row predicts, `[R, p]`."""
        factors = multiplier(self.frame, formula, gamma)[self.used]
        rows, vectors = self.frame.update[self.used], vectors[self.used]
        x = np.empty((len(rows), self._projection.shape[-1]))
        for u in range(len(self.frame.picks)):
            mine = rows == u
            x[mine] = vectors[mine] @ self._projection[u]
        return self._without(x * factors[:, None])

    def residuals(
        self, weights: NDArray[np.floating], folded: Array, limit: float = 1.0
    ) -> Array:
        """Returns the residual of each row of weights `[N, R]`.

        Residuals above the limit may be those on a few projections alone.
        """
        if limit >= 1.0 / _MARGIN:
            return _residuals(weights, folded, self._y)
        residual = _residuals(weights, folded @ self._few, self._y @ self._few)
        near = np.flatnonzero(residual < _MARGIN * limit)
        residual[near] = _residuals(weights[near], folded, self._y)
        return residual

    def pair_residuals(
        self,
        weights: NDArray[np.floating],
        others: NDArray[np.floating],
        folded: Array,
    ) -> Array:
        """Returns residuals of sums of two rows `[N, R]`, each with its own factor."""
        x, z = weights @ folded, others @ folded
        xx, zz = np.einsum("np,np->n", x, x), np.einsum("np,np->n", z, z)
        xz, xy, zy = np.einsum("np,np->n", x, z), x @ self._y, z @ self._y
        determinant = xx * zz - xz**2
        # Without both, there is no factor between them.
        apart = determinant > 1e-8 * xx * zz
        explained = xy**2 * zz - 2.0 * xy * zy * xz + zy**2 * xx
        share = explained / np.where(apart, determinant, np.inf)
        left = 1.0 - share / max(float(self._y @ self._y), 1e-300)
        residual: Array = np.where(apart, np.sqrt(np.maximum(left, 0.0)), 1.0)
        return residual


def _is_linear_in_values(formula: Formula) -> bool:
    """Whether the weight is a sum of a part of the rewards and one of the values."""
    of_values = formula.credit in USES_CRITIC or formula.baseline in _OF_VALUES
    linear = formula.transform == "none" and formula.scale == "none"
    return of_values and linear and formula.rewards == "raw"


def _residuals(weights: NDArray[np.floating], folded: Array, y: Array) -> Array:
    x = (weights @ folded.astype(weights.dtype)).astype(np.float64)
    along = x @ y
    norms = np.einsum("np,np->n", x, x)
    explained = along**2 / np.maximum(norms, 1e-300)
    left = np.maximum(1.0 - explained / max(float(y @ y), 1e-300), 0.0)
    residual: Array = np.sqrt(left)
    return residual


def _distinct(rows: NDArray[np.float32]) -> tuple[IntArray, IntArray]:
    """Returns indices of rows `[N, R]` that differ in more than a factor.

    Returns:
        Indices of distinct rows, and for each row its index in them, `[N]`.
    """
    rng = np.random.default_rng(0)
    keys = rows @ rng.normal(size=(rows.shape[1], 4)).astype(np.float32)
    norms = np.sqrt(np.einsum("nk,nk->n", rows, rows))
    keys /= np.maximum(norms, 1e-30)[:, None]
    keys *= np.where(keys[:, :1] < 0, -1.0, 1.0)
    rounded = np.rint(1e4 * keys).astype(np.int64)
    mixed = rounded @ np.array([1, 1_000_003, 998_244_353, 2_147_483_647])
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    return first, inverse


def _orthonormal(matrix: Array) -> Array:
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return u[:, s > 1e-9 * s.max(initial=1e-300)]


# The search


def _n_choices(formula: Formula) -> int:
    """Returns the number of parts whose option is not the first."""
    first = Formula(gamma=formula.gamma, lam=formula.lam, n=formula.n)
    return sum(
        getattr(formula, field.name) != getattr(first, field.name)
        for field in fields(Formula)
    )


class _Search:
    """Searches formulas in the order of their mistakes.

    Formulas are screened on a few updates of one record, then on a few of every
    record, and verified on many.
    """

    def __init__(
        self, records: Sequence[Record], known_gamma: bool, budget: _Budget
    ) -> None:
        self.records = records
        self.budget = budget
        self.known_gamma = known_gamma
        own = dict.fromkeys(float(r.task.gamma) for r in records)
        self.own_gammas = np.array(list(dict.fromkeys((*own, 1.0))))
        self.all_gammas = np.array(list(dict.fromkeys((*own, *_GAMMAS))))
        self.gammas = self.own_gammas if known_gamma else self.all_gammas
        self._frames: dict[tuple[str, int, bool], Frame] = {}
        self.fits: list[Fit] = []
        self.best: Fit | None = None
        self._seen: set[Formula] = set()
        # By what rewards are multiplied before they are compared with values.
        self._reward_factor = 1.0
        self._critic_unknown = False

    def run(self) -> Identification:
        """Searches level by level, until the time is used up."""
        notes = []
        bad = [not_finite(r, i) for i, r in enumerate(self.records)]
        n_bad = sum(len(x) for x in bad)
        if n_bad:
            n_updates = sum(len(r.updates) for r in self.records)
            notes.append(
                f"the gradients of {n_bad} of {n_updates} updates are NaN or infinite; "
                "these updates were left out"
            )
        try:
            self._run()
        except OutOfTimeError:
            notes.append(
                "the search for a formula ended early, and "
                + (
                    "others may fit as well"
                    if self.fits
                    else "not all formulas were tried"
                )
            )
        result = self._result()
        if result.formula is not None and n_bad:
            frame = Frame(self.records, [w for x in bad for w in x])
            if divides_by_single(frame, result.formula):
                parts = (*result.parts, part_of("nan_deviation"))
                result = replace(result, parts=parts)
        if result.formula is not None and self._reward_factor != 1.0:
            notes.append(
                f"rewards are multiplied by {self._reward_factor:.4g} before the "
                "critic learns from them"
            )
        if result.formula is not None and self._critic_unknown:
            notes.append(
                "no formula was found for the critic's gradient: whether its value "
                "is detached in the actor's loss was not checked (fix what is named, "
                "and check again)"
            )
        return replace(
            result,
            notes=tuple(notes),
            n_candidates=self.budget.n_candidates,
            critic_unknown=self._critic_unknown,
            reward_factor=self._reward_factor,
        )

    def _run(self) -> None:
        """Searches level by level."""
        self.traits = traits_of(self.records, self.frame("window", _VERIFY_ROWS))
        kinds = data_options(self.traits)
        if only_window(self.records):
            kinds = [k for k in kinds if k in _WITHIN_WINDOW]
        # Usual gammas and lambdas first, then those between them; right formulas first.
        for mistakes, refine in ((0, False), (0, True), (1, False), (1, True)):
            if refine:
                self.gammas = self.all_gammas
            elif self.known_gamma:
                self.gammas = self.own_gammas
            self._search(kinds, mistakes, refine)
            # A wrong sign or gamma is a mistake that the fit itself shows.
            if self.fits and self._fewest() <= 1:
                break
            if not self.fits and not refine:
                if self._reward_factor == 1.0 and self._rescale(kinds, mistakes):
                    break
                self._unknowns(mistakes)
            if self.fits and mistakes:
                break
        if not self.fits:
            self._skipped()

    def _skipped(self) -> None:
        """Screens loops that skip the last step and run on through ends of episodes."""
        shapes = [
            replace(formula, order="last_skipped", ends="ignored", bootstrap=bootstrap)
            for formula in advantage_options(self.traits, 0)
            if formula.credit == "lambda" and formula.bootstrap == "both"
            for bootstrap in ("both", "ignored")
        ]
        if shapes:
            factors = multiplier_options(self.traits, 0, False)
            self._level("window", shapes, factors, refine=False)

    def _search(self, kinds: Sequence[str], mistakes: int, refine: bool) -> None:
        """Screens all formulas with a number of mistakes."""
        ways = []
        for data in kinds:
            rest = mistakes - cost("data", data)
            ways += [(a, rest - a, data) for a in range(rest, -1, -1)]
        # The fewest formulas first: there are more factors than advantages, and they
        # are less likely wrong.
        ways.sort(key=lambda way: (way[0] + way[1], way[1]))
        for a, left, data in ways:
            if self.fits and self._fewest() <= 0:
                return
            shapes = list(advantage_options(self.traits, a))
            factors = multiplier_options(self.traits, left, mistakes > 0)
            if data.startswith(("memory", "stale")):
                # What is not cleared is often summed as one episode.
                shapes += _leaking(shapes)
            self._level(data, shapes, factors, refine)

    def _rescale(self, kinds: Sequence[str], mistakes: int) -> bool:
        """Seeks a factor of the rewards, and divides the critic by it instead.

        Returns:
            Whether a formula fits with such a factor.
        """
        if not self.traits.critic:
            return False
        screen = Screen(self.frame("window", _SCREEN_ROWS, one=True))
        found: list[tuple[float, Formula]] = []
        for a in range(mistakes + 1):
            shapes = [
                f for f in advantage_options(self.traits, a) if _is_linear_in_values(f)
            ]
            factors = multiplier_options(self.traits, mistakes - a, mistakes > 0)
            found += self._scaled(screen, shapes, factors)
        found.sort(key=lambda pair: pair[0])
        frame = self.frame("window", _SCREEN_ROWS)
        for _, formula in found[:_MAX_VERIFIED]:
            self.budget.spend(1)
            factor, residual = fit_reward_factor(frame, formula)
            known = abs(factor - 1.0) <= _SCREEN_RESIDUAL
            if residual < MAX_RESIDUAL and factor > 0.0 and not known:
                self._divide_values(factor)
                self._search(kinds, 0, refine=False)
                if not self.fits:
                    self._verify_all("window", [f for _, f in found])
                return bool(self.fits)
        return False

    def _divide_values(self, factor: float) -> None:
        self._reward_factor = factor
        self.records = [
            r if r.values is None else replace(r, values=r.values / factor)
            for r in self.records
        ]
        self._frames.clear()
        vars(self).pop("_context", None)

    def _scaled(
        self, screen: Screen, shapes: Sequence[Formula], factors: Sequence[Formula]
    ) -> list[tuple[float, Formula]]:
        """Returns residuals of formulas that fit with some factor of the rewards."""
        frame = screen.frame
        with without_values(frame):
            of_rewards = self._stack(screen, shapes)
        with without_rewards(frame):
            of_values = self._stack(screen, shapes)
        found = []
        for group in _proportional(screen, factors):
            factor = group[0]
            vectors = directions(frame, factor.score)
            self.budget.spend(len(group) * len(shapes) * len(self.gammas))
            for g, gamma in enumerate(self.gammas):
                if factor.discount != "none" and gamma == 1.0:
                    continue
                folded = screen.folded(factor, float(gamma), vectors)
                residual = screen.pair_residuals(
                    of_rewards[:, g], of_values[:, g], folded
                )
                for i in np.flatnonzero(residual < _SCREEN_RESIDUAL).tolist():
                    found += [
                        (
                            float(residual[i]),
                            replace(
                                shapes[i],
                                discount=same.discount,
                                reduction=same.reduction,
                                steps=same.steps,
                                score=same.score,
                                gamma=float(gamma),
                            ),
                        )
                        for same in group
                    ]
        return found

    def _unknowns(self, mistakes: int) -> None:
        """Tries formulas with unknown numbers, on one record and then on all."""
        frame = self.frame("window", _UNKNOWNS_ROWS, one=True)
        gammas = [float(g) for g in self.gammas[:7]]
        own = set(self.own_gammas.tolist())
        truncation = self.traits.truncation
        kinds: list[Callable[[Frame, Formula], UnknownFit | None]]
        kinds = [fit_constants, fit_factors]
        if mistakes:
            kinds = [fit_probabilities, fit_resampled, fit_action_values]
        tried = [
            (kind, f) for f in usual(frame, gammas, False, truncation) for kind in kinds
        ]
        if self.traits.critic:
            tried += [
                (kind, replace(f, baseline="value"))
                for f in usual(frame, gammas, True, truncation)
                for kind in kinds
            ]
        if mistakes:
            tried += [
                (fit_action_values, f)
                for f in usual(frame, gammas, True, truncation)
                if f.credit == "td"
            ]
        if not mistakes:
            tried += [(fit_values, f) for f in usual(frame, gammas, False, truncation)]
            # Also with a known critic: rewards may be scaled, and values not.
            tried += [(fit_values, f) for f in usual(frame, gammas, True, truncation)]
            tried += [
                (kind, f)
                for f in usual(frame, [g for g in gammas if g in own], False, False)
                for kind in (fit_value_of_policy, fit_rewards)
            ]
        for kind, formula in tried:
            self.budget.spend(1)
            # Few updates of a Gaussian policy tell an action that was drawn again.
            all_at_once = kind is fit_resampled and self.traits.gaussian
            fit = None if all_at_once else kind(frame, formula)
            if not all_at_once and (fit is None or fit.residual > _SCREEN_RESIDUAL):
                continue
            if all_at_once or len(self.records) > 1:
                fit = kind(self.frame("window", _UNKNOWNS_ROWS), formula)
            if fit is not None and fit.residual < MAX_RESIDUAL:
                found = Fit(
                    fit.formula,
                    fit.factor,
                    fit.entropy,
                    fit.residual,
                    np.zeros(0),
                    values=fit.values,
                    keys=fit.keys,
                )
                self.fits.append(found)

    def _fewest(self) -> int:
        """Returns the fewest mistakes of a formula that fits."""
        return min(sum(p.kind in _NOT_RIGHT for p in self._parts(f)) for f in self.fits)

    def _parts(self, fit: Fit) -> tuple[Part, ...]:
        context = self._context
        if fit.values is not None:
            exact = all(
                _critic_is_exact(replace(r, values=v))
                for r, v in zip(self.records, fit.values, strict=True)
            )
            context = replace(context, inexact_critic=not exact)
        return parts_of(fit.formula, fit.factor, fit.entropy, context)

    def frame(self, data: str, rows: int, one: bool = False) -> Frame:
        """Returns a frame of some updates.

        Args:
            data: what the windows are.
            rows: about how many rows there are per record.
            one: whether one record is enough.
        """
        key = data, rows, one
        if key not in self._frames:
            picks: list[Window] = []
            for i, record in enumerate(self.records):
                if one and i != self._richest:
                    continue
                kind = "window" if data == "accumulated" else data
                picks += _some(record, windows(record, i, kind), rows)
            self._frames[key] = Frame(self.records, picks, data == "accumulated")
        return self._frames[key]

    @cached_property
    def _richest(self) -> int:
        """The record whose updates have the most independent numbers."""

        def rank(record: Record) -> float:
            outputs = np.array(
                [
                    u.outputs.ravel()
                    for u in record.updates
                    if np.isfinite(u.outputs).all()
                ]
            )
            if not len(outputs):
                return 0.0
            values = np.linalg.svd(outputs, compute_uv=False)
            return float((values > 1e-3 * values.max(initial=1e-300)).sum())

        ranks = [rank(r) for r in self.records]
        # Only the first is known to start with nothing remembered.
        return 0 if ranks[0] > 0.6 * max(ranks) else int(np.argmax(ranks))

    def _level(
        self,
        data: str,
        shapes: Sequence[Formula],
        factors: Sequence[Formula],
        refine: bool,
    ) -> None:
        """Screens all combinations, and verifies those that fit.

        Args:
            data: what the windows are.
            shapes: credits with baseline and scale.
            factors: discounts, reductions, steps and scores.
            refine: whether to look for gammas and lambdas between those of the grid.
        """
        self.budget.spend(0)
        frame = self.frame(data, _SCREEN_ROWS, one=True)
        screen = Screen(frame, wide=refine)
        found: list[tuple[float, Formula]] = []
        vectors = {f.score: directions(frame, f.score) for f in factors}
        groups = _proportional(screen, factors)
        size = max(1, _CHUNK // (len(screen.used) * len(self.gammas)))
        limit = _NEAR if refine else _SCREEN_RESIDUAL
        for start in range(0, len(shapes), size):
            chunk = shapes[start : start + size]
            stack = self._stack(screen, chunk)
            distinct = _distinct(stack.reshape(-1, stack.shape[-1]))
            for group in groups:
                n_formulas = len(group) * len(chunk) * len(self.gammas)
                self.budget.spend(n_formulas)
                residual = self._residuals(
                    screen, stack, distinct, group[0], vectors, limit
                )
                for i, g in np.argwhere(residual < limit):
                    for factor in group:
                        formula = replace(
                            chunk[i],
                            discount=factor.discount,
                            reduction=factor.reduction,
                            steps=factor.steps,
                            score=factor.score,
                            data=data,
                            gamma=float(self.gammas[g]),
                        )
                        found.append((float(residual[i, g]), formula))
        found.sort(key=lambda pair: pair[0])
        hits = [f for r, f in found if r < _SCREEN_RESIDUAL]
        # Many formulas agree on one update: the simplest first.
        hits.sort(key=_n_choices)
        self._verify_all(data, hits)
        if refine and not self.fits:
            self._verify_all(data, self._refined(screen, found))

    def _verify_all(self, data: str, hits: list[Formula]) -> None:
        """Verifies formulas on some updates of all records, then on many."""
        n_records = len(self.records)
        if len(hits) > (3 if n_records > 1 else _MAX_VERIFIED):
            # Several updates: in one alone a factor of the update is any constant.
            frame = self.frame(data, _SCREEN_ROWS * (1 if n_records > 1 else 4))
            fits = []
            for formula in hits[:_MAX_SCREENED]:
                self.budget.spend(1)
                fits.append(best_fit(frame, formula))
            fits.sort(key=lambda fit: fit.residual)
            hits = [f.formula for f in fits if f.residual < 2 * MAX_RESIDUAL]
            hits = [replace(f, entropy="none") for f in hits]
        for formula in hits[:_MAX_VERIFIED]:
            self._verify(formula)

    def _stack(self, screen: Screen, shapes: Sequence[Formula]) -> NDArray[np.float32]:
        """Returns the advantages of each shape and gamma, `[N, G, R]`."""
        frame, gammas, used = screen.frame, self.gammas, screen.used
        stack = np.empty((len(shapes), len(gammas), len(used)), dtype=np.float32)
        last, credit = None, np.zeros(0)
        for row, formula in zip(stack, shapes, strict=True):
            own = replace(formula, **_NO_CENTRING)
            if own != last:
                self.budget.spend(0)
                lams = np.full(len(gammas), formula.lam)
                last, credit = own, credits(frame, formula, gammas, lams)
            row[:] = centred(frame, credit, formula, gammas)[:, used]
        return stack

    def _residuals(
        self,
        screen: Screen,
        stack: NDArray[np.float32],
        distinct: tuple[IntArray, IntArray],
        factor: Formula,
        vectors: dict[str, Array],
        limit: float,
    ) -> Array:
        """Returns the residuals of all rows with a multiplier, `[N, G]`.

        Args:
            screen: the updates.
            stack: advantages, `[N, G, R]`.
            distinct: see `_distinct`, of the advantages as rows.
            factor: the multiplier.
            vectors: scores `[K, M]` by their names.
            limit: see `Screen.residuals`.
        """
        n, n_gammas, k = stack.shape
        score = vectors[factor.score]
        if factor.discount in ("none", "task_gamma_t"):
            folded = screen.folded(factor, 1.0, score)
            first, inverse = distinct
            residual = screen.residuals(stack.reshape(-1, k)[first], folded, limit)
            residual = residual[inverse].reshape(n, n_gammas)
            if factor.discount == "task_gamma_t":
                # The same as gamma^t.
                residual[:, 0] = 1.0
            return residual
        residual = np.ones((n, n_gammas))
        for g, gamma in enumerate(self.gammas):
            if gamma < 1.0:
                folded = screen.folded(factor, float(gamma), score)
                residual[:, g] = screen.residuals(stack[:, g], folded, limit)
        return residual

    def _refined(
        self, screen: Screen, found: list[tuple[float, Formula]]
    ) -> list[Formula]:
        """Refines gamma and lambda of the best formulas."""
        hits = []
        seen: set[Formula] = set()
        for _, formula in found:
            shape = replace(formula, gamma=0.0, lam=0.0)
            if shape in seen or len(seen) >= _MAX_REFINED:
                continue
            seen.add(shape)
            self.budget.spend(1)
            refined = _refine(screen, formula)
            if refined is not None:
                hits.append(refined)
        return hits

    def _verify(self, formula: Formula) -> None:
        """Fits a formula to many updates of all records."""
        if formula in self._seen:
            return
        self._seen.add(formula)
        self.budget.spend(1)
        fit = best_fit(self.frame(formula.data, _VERIFY_ROWS), formula)
        if self.best is None or fit.residual < self.best.residual:
            self.best = fit
        if fit.residual < MAX_RESIDUAL:
            self.fits.append(fit)

    def _result(self) -> Identification:
        context = self._context
        if not self.fits:
            best = self.best
            return Identification(
                None,
                (),
                best.factor if best else 0.0,
                best.entropy if best else 0.0,
                best.residual if best else 1.0,
                closest=best.formula if best else None,
                context=context,
            )
        self.fits = [fit for fit in self.fits if not self._may_be_chance(fit)]
        if not self.fits:
            return self._result()
        smallest = min(fit.residual for fit in self.fits)
        good = [f for f in self.fits if f.residual <= max(_TIE * smallest, 1e-6)]

        def rank(fit: Fit) -> tuple[float, ...]:
            parts = self._parts(fit)
            mistakes = sum(p.kind in _NOT_RIGHT for p in parts)
            unexplained = abs(abs(fit.factor) - 1.0) > 1e-3
            return (
                mistakes,
                len(parts) + unexplained,
                unexplained,
                complexity(fit.formula),
            )

        good.sort(key=rank)
        first = good[0]
        parts = self._parts(first)
        parts += self._value_parts(first)
        mistakes = {p.key for p in parts if p.kind in _NOT_RIGHT}
        if len(mistakes - OF_VALUES) > _MAX_MISTAKES:
            # Many mistakes together explain anything.
            self.fits = []
            return self._result()
        ties: list[tuple[Part, ...]] = []
        for fit in good[1:]:
            others = self._parts(fit)
            keys = {p.key for p in others if p.kind in _NOT_RIGHT}
            keys |= mistakes & OF_VALUES
            if len(keys) == len(mistakes) and keys != mistakes:
                if others not in ties:
                    ties.append(others)
        return Identification(
            first.formula,
            parts,
            first.factor,
            first.entropy,
            first.residual,
            ties=tuple(ties),
            closest=first.formula,
            explanation=_explanation(
                first, self.frame(first.formula.data, _VERIFY_ROWS)
            ),
            context=context,
            values=first.values or self._divided_values(),
            same_mean=first.formula.reduction in _MEANS
            and _MEANS
            <= {
                fit.formula.reduction
                for fit in good
                if replace(fit.formula, reduction="sum")
                == replace(first.formula, reduction="sum")
                and abs(fit.factor / first.factor - 1.0) < 1e-3
            },
        )

    def _divided_values(self) -> tuple[Array, ...] | None:
        """Returns the critic that stands for the recorded one; None if it does."""
        values = [r.values for r in self.records if r.values is not None]
        return tuple(values) if self._reward_factor != 1.0 else None

    def _may_be_chance(self, fit: Fit) -> bool:
        """Whether one of as many wrong formulas could fit as well, to few numbers."""
        if fit.values is not None:
            return False
        formula = fit.formula
        n_fitted = 1 + (formula.entropy != "none")
        n_fitted += formula.gamma not in self.all_gammas
        n_fitted += formula.credit == "lambda" and formula.lam not in _LAMBDAS
        n_numbers = int(dimensions(self.frame(formula.data, _VERIFY_ROWS)).sum())
        by_chance = max(fit.residual, _ROUNDING) ** max(n_numbers - n_fitted, 0)
        return self.budget.n_candidates * by_chance > _CHANCE

    def _value_parts(self, fit: Fit) -> tuple[Part, ...]:
        """Returns the mistakes in the gradient of the values."""
        if fit.keys:
            return tuple(part_of(key) for key in fit.keys)
        frame = self.frame(fit.formula.data, _UNKNOWNS_ROWS)
        others = fit.formula.data == "mixed_up" or frame.accumulated
        if others or fit.values is not None:
            return ()
        found = fit_value_output(frame, fit.formula, MAX_RESIDUAL)
        self._critic_unknown = found is None and _critic_learns(self.records)
        return () if found is None else tuple(part_of(key) for key in found.keys)

    @cached_property
    def _context(self) -> Context:
        frame = self.frame("window", _VERIFY_ROWS)
        steps = frame.by_used.counts
        tasks = [r.task for r in self.records]
        return Context(
            gamma=tasks[0].gamma if self.known_gamma else None,
            limit_is_task=not any(t.bootstrap for t in tasks),
            has_truncation=bool(frame.truncated.any()),
            has_unfinished=bool((~frame.finished).any()),
            one_episode=not self.traits.several_episodes,
            equal_steps=bool(np.ptp(steps) == 0),
            equal_episodes=bool(frame.finished.all() and np.ptp(frame.n_parts) == 0),
            inexact_critic=any(not _critic_is_exact(r) for r in self.records),
        )


# Data of which no state lies outside the window.
_WITHIN_WINDOW = (
    "window",
    "through_resets",
    "chunks",
    "resets",
    "stale_rewards",
    "mixed_up",
    "next_states",
)
_NEAR = 0.1
_MEANS = {"steps", "episodes"}
# Kinds of parts that are counted, and of which formulas with the fewest are preferred.
_NOT_RIGHT = ("mistake", "no gradient", "warning")
# Mistakes in the gradient of the value output, which no formula has.
OF_VALUES = {"value_not_detached", "next_value_not_detached", "critic_sign_flipped"}
_NO_CENTRING: dict[str, Any] = {
    "baseline": "none",
    "scale": "none",
    "ddof": 1,
    "transform": "none",
}
# Baselines that depend on the critic.
_OF_VALUES = frozenset(
    {
        "value",
        "next_value",
        "action_value",
        "value_mean",
        "value_sum",
        "credit_mean",
        "product_of_advantages",
    }
)
_MAX_SCREENED = 150
_MAX_VERIFIED = 24
_MAX_MISTAKES = 2
_MAX_REFINED = 30


def remembers(formula: Formula) -> bool:
    """Whether updates depend on what was seen before their windows."""
    return formula.ends == "carried" or formula.data.startswith(("memory", "stale"))


def not_finite(record: Record, number: int) -> list[Window]:
    """Returns the windows of the updates whose gradients are NaN or infinite."""
    return [
        w
        for w in windows(record, number)
        if not np.isfinite(record.updates[w.update].outputs).all()
    ]


def _proportional(screen: Screen, factors: Sequence[Formula]) -> list[list[Formula]]:
    """Returns multipliers in groups of those that differ in a constant factor."""
    groups: dict[tuple[str, str, bytes], list[Formula]] = {}
    for factor in factors:
        weights = multiplier(screen.frame, factor, 0.5)[screen.used]
        largest = np.abs(weights).max(initial=0.0)
        if largest > 0.0:
            key = np.round(weights / largest, 9).tobytes()
            groups.setdefault((factor.discount, factor.score, key), []).append(factor)
    return list(groups.values())


def divides_by_single(frame: Frame, formula: Formula) -> bool:
    """Whether the formula divides by the deviation of one number in all updates."""
    groups = deviation_groups(frame, formula)
    if groups is None:
        return False
    single = frame.update[groups.counts[groups.ids] == 1.0]
    return len(np.unique(single)) == len(frame.picks)


def _leaking(shapes: Sequence[Formula]) -> list[Formula]:
    """Returns the shapes whose sums do not stop at the ends of episodes."""
    return [
        replace(f, ends="ignored") for f in shapes if f.credit in ("to_go", "episode")
    ]


def only_window(records: Sequence[Record]) -> bool:
    """Whether no update has a gradient in a state that its window does not contain.

    False if it cannot be known, because all windows contain all states.
    """
    some_missing = False
    for record in records:
        if record.basis is not None:
            continue
        for update in record.updates:
            window = slice(update.first, update.last)
            seen = np.zeros(len(record.policy), dtype=bool)
            seen[record.transitions.state[window]] = True
            # Some mistakes learn in the next state.
            seen[record.transitions.next_state[window]] = True
            if seen.all() or not np.isfinite(update.outputs).all():
                continue
            norms = np.linalg.norm(update.outputs, axis=1)
            if norms[~seen].max() > 1e-3 * norms.max():
                return False
            some_missing = some_missing or norms.max() > 0.0
    return some_missing


def complexity(formula: Formula) -> int:
    """Returns the number of options that are not the default."""
    default = Formula()
    names = (*_FIELDS, "n")
    return sum(getattr(formula, n) != getattr(default, n) for n in names)


def _critic_learns(records: Sequence[Record]) -> bool:
    """Whether a value output receives a gradient that is more than rounding."""
    return any(
        update.value is not None
        and np.abs(update.value).max() > 1e-4 * np.abs(update.outputs).max()
        for record in records
        for update in record.updates
    )


def _critic_is_exact(record: Record) -> bool:
    if record.values is None or record.family == "gaussian":
        return True
    exact = record.task.values(record.policy)
    values = record.values
    if values.ndim == 1:
        # Time steps near the limit are rarely reached.
        exact, values = exact[:1], values[None]
    return bool(np.abs(values - exact).max() < 1e-3 * max(1.0, np.abs(exact).max()))


def _some(record: Record, all_windows: list[Window], rows: int) -> list[Window]:
    """Returns windows from the whole record, with about the given number of rows.

    There are more if they have too few independent numbers together.
    """
    # Later records may begin within a window.
    n_skipped = _N_SKIPPED if len(all_windows) >= 10 * _N_SKIPPED else 0
    usable = [
        w
        for w in all_windows
        if len(w.index)
        and np.isfinite(record.updates[w.update].outputs).all()
        and (w.record == 0 or w.update >= n_skipped)
    ]
    # Long windows, such as those of a memory that grows, only if there are no others.
    sizes = [len(w.index) for w in usable]
    limit = max(rows, min(sizes, default=0))
    # Scores of logits sum to 0.
    per_state = record.policy.shape[1] - int(record.family == "categorical")
    chosen, n_rows, n_numbers = [], 0, 0
    for i in np.random.default_rng(0).permutation(len(usable)):
        if sizes[i] > limit:
            continue
        window = usable[i]
        chosen.append(window)
        n_rows += sizes[i]
        used = window.scored[window.times > 0]
        n_numbers += per_state * len(np.unique(record.transitions.state[used]))
        if n_rows >= rows and n_numbers >= _MIN_NUMBERS:
            break
    return sorted(chosen, key=lambda w: w.update)


def _refine(screen: Screen, formula: Formula) -> Formula | None:
    """Refines gamma, and lambda if there is one; None if the formula does not fit."""
    frame = screen.frame
    vectors = directions(frame, formula.score)
    gamma, lam, best = formula.gamma, formula.lam, np.inf
    width, lam_width = 0.06, 0.12 if formula.credit == "lambda" else 0.0
    shifts = np.linspace(-1.0, 1.0, 5)
    for _ in range(16):
        gammas = np.unique(np.clip(gamma + width * shifts, 0.0, 1.0))
        lams = np.unique(np.clip(lam + lam_width * shifts, 0.0, 1.0))
        grid = np.array([(g, x) for g in gammas for x in lams])
        stack = advantages(frame, formula, grid[:, 0], grid[:, 1])[:, screen.used]
        if formula.discount == "none":
            folded = screen.folded(formula, 1.0, vectors)
            residual = screen.residuals(stack, folded)
        else:
            residual = np.array(
                [
                    screen.residuals(
                        row[None], screen.folded(formula, float(g), vectors)
                    )[0]
                    for row, (g, _) in zip(stack, grid, strict=True)
                ]
            )
        i = int(residual.argmin())
        best = float(residual[i])
        gamma, lam = (float(x) for x in grid[i])
        width, lam_width = width * 0.5, lam_width * 0.5
        if best > 0.2 and width < 0.01:
            return None
    if best > _SCREEN_RESIDUAL:
        return None
    return replace(formula, gamma=gamma, lam=lam)


def best_fit(frame: Frame, formula: Formula) -> Fit:
    """Fits factor and entropy coefficient, with as few terms as possible."""
    weight = advantages(
        frame, formula, np.array([formula.gamma]), np.array([formula.lam])
    )[0] * multiplier(frame, formula, formula.gamma)
    x = predicted(frame, weight, formula.score)
    target, record = frame.target, np.array([w.record for w in frame.picks])
    fits = [_fit(target, record, formula, x, "none", None)]
    if fits[0].residual > 1e-6:
        for name, column in entropy_columns(frame).items():
            fits.append(_fit(target, record, formula, x, name, column))
    smallest = min(f.residual for f in fits)
    for fit in fits:
        if fit.residual <= max(3.0 * smallest, 1e-6):
            return fit
    return fits[0]


def _fit(
    target: Array,
    record: IntArray,
    formula: Formula,
    x: Array,
    name: str,
    column: Array | None,
) -> Fit:
    columns = [x.ravel()]
    if column is not None:
        columns.append(column.ravel())
    design = np.array(columns).T
    scale = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    coefficients = (
        np.linalg.lstsq(design / scale, target.ravel(), rcond=1e-10)[0] / scale
    )
    rest = target - (design @ coefficients).reshape(target.shape)
    numbers = np.unique(record)
    residuals = [float(np.linalg.norm(rest[record == i])) for i in numbers]
    residual = max(residuals)
    if remembers(formula) and len(numbers) > 1:
        # The memory may hold what was seen before a record, on another task: the
        # formula must fit to half of the records.
        fits = [
            _fit(
                target[record == i],
                record[record == i],
                formula,
                x[record == i],
                name,
                None if column is None else column[record == i],
            )
            for i in numbers
        ]
        return sorted(fits, key=lambda fit: fit.residual)[(len(fits) - 1) // 2]
    entropy = float(coefficients[1]) if column is not None else 0.0
    fitted = replace(formula, entropy=name)
    return Fit(fitted, float(coefficients[0]), entropy, residual, x)


def _explanation(fit: Fit, frame: Frame) -> str:
    """Says what the factor is, compared with a mean over the window.

    The mean is that over episodes if windows hold a constant number of whole episodes,
    or over steps if they hold a constant number of steps.
    """
    reduction = fit.formula.reduction
    if reduction == "clipped":
        return ""
    factor = abs(fit.factor)
    n_steps = _constant(frame.by_used.counts)
    n_episodes = _constant(frame.n_parts) if frame.finished.all() else None
    n_envs = _constant(frame.by_update.sums(_starts_of_chains(frame))[0])
    sizes = {"sum": 1.0, "steps": n_steps, "episodes": n_episodes}
    size, usual_size = sizes.get(reduction), n_episodes or n_steps
    if size is None or usual_size is None:
        return "" if _near(factor, 1.0) else _times(factor)
    relative = factor * usual_size / size
    if _near(relative, 1.0):
        return ""
    counts = {"episodes": n_episodes, "environments": n_envs, "steps": n_steps}
    for what, n in counts.items():
        if n is None or n == 1.0:
            continue
        if _near(relative, n):
            return (
                f"a sum over your {n:g} {what}: the step size is {n:g} times as large"
            )
        if _near(relative, 1.0 / n):
            return (
                f"divided once more by your {n:g} {what}: the step size is {n:g} times "
                "as small"
            )
    if n_episodes and n_steps and _near(relative, n_episodes / n_steps):
        return (
            f"a mean over your {n_steps:g} steps: the step size is "
            f"{n_steps / n_episodes:g} times as small"
        )
    return _times(relative)


def _times(factor: float) -> str:
    return f"the gradient is {factor:.4g} times as long"


def _near(x: float, y: float) -> bool:
    return abs(x / y - 1.0) < 1e-3


def _constant(counts: NDArray[Any]) -> float | None:
    """Returns the number that all are, None if they differ."""
    return float(counts[0]) if np.ptp(counts) == 0 else None


def _starts_of_chains(frame: Frame) -> Array:
    starts: Array = frame.first_in_chain[None].astype(np.float64)
    return starts
