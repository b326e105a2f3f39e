"""Every option that the search tries has words of its own."""

from dataclasses import fields, replace

import pytest

from pg_agents.checker.description import described
from pg_agents.checker.formula import Formula
from pg_agents.checker.identify import (
    Traits,
    advantage_options,
    data_options,
    multiplier_options,
)

TRAITS = Traits(
    **{
        field.name: field.name not in ("gaussian", "one_step")
        for field in fields(Traits)
    }
)
# Those that are fitted.
FITTED = [
    Formula(baseline="update_constant"),
    Formula(reduction="clipped"),
    Formula(score="resampled"),
    Formula(score="clamped_0.1_0.9"),
    Formula(score="smoothed_0.1"),
    Formula(entropy="bonus_sum"),
    Formula(entropy="taken_steps"),
    Formula(entropy="log_prob_episodes"),
]


def searched() -> list[Formula]:
    """Formulas in which one option differs from the usual one, for each option."""
    formulas = [Formula(data=data) for data in data_options(TRAITS)]
    for mistakes in (0, 1):
        formulas += advantage_options(TRAITS, mistakes)
        formulas += multiplier_options(TRAITS, mistakes, pairs=True)
    single = {
        replace(Formula(), **{field.name: getattr(formula, field.name)})
        for formula in formulas
        for field in fields(Formula)
        if field.name not in ("ddof", "lam")
    }
    return sorted(single, key=str)


def test_every_option_has_words_of_its_own() -> None:
    formulas = [*searched(), *FITTED]
    assert len(formulas) > 120
    said = [described(formula) for formula in formulas]
    # The options of rewards with ddof 0 and 1 are the same to a reader, as is a
    # number that a formula does not use.
    twice = {words for words in said if said.count(words) > 1}
    assert all("standardised" in w or w == described(Formula()) for w in twice), twice


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (Formula(), "sum over steps of G_t grad log pi(a_t|s_t); gamma = 1."),
        (
            Formula(credit="td", baseline="value", discount="gamma_t", gamma=0.9),
            "sum over steps of gamma^t (r_t + gamma V(s_{t+1}) - V(s_t)) "
            "grad log pi(a_t|s_t); gamma = 0.9.",
        ),
        (
            Formula(scale="episode", reduction="steps", order="next"),
            "mean over steps of (G_t, standardised over its episode) "
            "grad log pi(a_t|s_t); gamma = 1; each step has the return of the next "
            "one.",
        ),
        (
            Formula(credit="lambda", lam=0.95, baseline="value", data="memory_3"),
            "sum over steps of (lambda-return - V(s_t)) grad log pi(a_t|s_t); "
            "gamma = 1; lambda = 0.95; with the steps of the last 3 rollouts.",
        ),
    ],
    ids=["right", "td", "standardised", "gae"],
)
def test_a_formula_in_words(formula: Formula, words: str) -> None:
    assert described(formula) == words


def test_means_that_are_the_same_are_both_named() -> None:
    text = described(Formula(reduction="episodes"), same_mean=True)
    assert text.startswith("mean over steps (or over episodes, which is the same here)")
