"""Exercises on policy gradients: what to write, and a checker that says what is wrong.

>>> from pg_agents.exercises import check
>>> check("returns", my_function)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.exercises.catalogue import EXERCISES, exercise
    from pg_agents.exercises.checking import check, check_file
    from pg_agents.exercises.data import Exercise, Hint, Result

__all__ = [
    "EXERCISES",
    "Exercise",
    "Hint",
    "Result",
    "check",
    "check_file",
    "exercise",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "catalogue": ["EXERCISES", "exercise"],
        "checking": ["check", "check_file"],
        "data": ["Exercise", "Hint", "Result"],
    },
)
