"""tqdm's bars: a widget in notebooks that can show one, text everywhere else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Never, TypeAlias

with warnings.catch_warnings():
    # Without ipywidgets a notebook has the text bar; that needs no warning.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

IS_WIDGET = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
"""Whether bars are widgets, which have a width of their own."""

if TYPE_CHECKING:
    Bar: TypeAlias = tqdm[Never]  # tqdm is generic for the type checker alone
else:
    Bar = tqdm

_FORMAT = (
    "{{desc}}{{percentage:3.0f}}%|{{{bar}}}| {{n_fmt}}/{{total_fmt}} {unit}"
    "{{postfix}} [{{elapsed}}<{{remaining}}]"
)


def bar_format(unit: str) -> str:
    """Returns tqdm's `bar_format` of a bar that counts `unit`, such as "steps"."""
    return _FORMAT.format(bar="bar" if IS_WIDGET else "bar:20", unit=unit)


def advance(bar: Bar, count: int) -> None:
    """Moves a bar to a count; one beyond its total, where tqdm hides it, raises that.

    The last rollout may exceed the number of steps that was asked for.
    """
    if bar.total is not None and count > bar.total:
        bar.total = count
    bar.update(count - bar.n)


__all__ = ["IS_WIDGET", "Bar", "advance", "bar_format", "tqdm"]
