"""What a formula is called: no mistake is passed over, and warnings are no mistakes."""

from dataclasses import replace
from itertools import product

import pytest

from pg_agents.checker.formula import Formula
from pg_agents.checker.identify import (
    Traits,
    advantage_options,
    data_options,
    multiplier_options,
)
from pg_agents.checker.parts import Context, cost, parts_of

# Data that have everything, so that the search leaves out no option.
TRAITS = Traits(**dict.fromkeys(Traits.__annotations__, True))
TRAITS = replace(TRAITS, one_step=False, gaussian=False)
COUNTED = {"mistake", "no gradient", "warning"}


def kinds(formula: Formula, **context: bool) -> set[str]:
    return {part.kind for part in parts_of(formula, 1.0, 0.0, Context(**context))}


@pytest.mark.parametrize("gaussian", [False, True])
def test_a_formula_that_counts_as_wrong_is_called_wrong(gaussian: bool) -> None:
    """Whatever right options it is combined with."""
    traits = replace(TRAITS, gaussian=gaussian)
    right_data = [d for d in data_options(traits) if not cost("data", d)]
    wrong = (*advantage_options(traits, 1), *multiplier_options(traits, 1, True))
    assert len(wrong) > 1000
    passed_over = [
        replace(formula, data=data)
        for formula, data in product(wrong, right_data)
        if not kinds(replace(formula, data=data)) & COUNTED
    ]
    assert passed_over == []


def test_what_is_not_cleared_is_one_mistake_although_it_is_summed_as_one() -> None:
    formula = Formula(data="memory", ends="ignored")
    keys = [part.key for part in parts_of(formula, 1.0, 0.0, Context())]
    assert keys == ["replay"]


@pytest.mark.parametrize("option", ["first_episode", "last_episode"])
def test_one_of_several_episodes_is_a_mistake_if_its_length_chooses_it(
    option: str,
) -> None:
    formula = Formula(steps=option)
    assert kinds(formula, equal_episodes=True) == {"warning"}
    assert "mistake" in kinds(formula, equal_episodes=False)
