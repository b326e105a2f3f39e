"""What a sweep may try, as plain data that JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_KINDS = {
    "float": '["float", low, high]: a number',
    "log": '["log", low, high]: a number above 0, its logarithm uniform',
    "int": '["int", low, high]: an integer, both ends included',
    "log_int": '["log_int", low, high]: an integer above 0, on a logarithmic scale',
    "choice": '["choice", [one, another, ...]]: one of these',
}


class Suggests(Protocol):
    """What draws values: an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Returns a number in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """Returns an integer in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of the choices."""


@dataclass(frozen=True)
class _Range:
    low: Any
    high: Any
    log: bool
    whole: bool

    def draw(self, name: str, trial: Suggests) -> Any:  # noqa: ANN401
        if self.whole:
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class _Choice:
    # As JSON text: a storage holds no lists, and text is what a reader of it wants.
    labels: tuple[str, ...]

    def draw(self, name: str, trial: Suggests) -> Any:  # noqa: ANN401
        # A list or dict is new for each trial: whoever gets it may change it.
        return json.loads(trial.suggest_categorical(name, self.labels))


@dataclass(frozen=True)
class SearchSpace:
    """A search space that was checked; `parse_space` makes it.

    Attributes:
        dimensions: by the name of the setting.
    """

    dimensions: Mapping[str, _Range | _Choice]

    def draw(self, trial: Suggests) -> dict[str, Any]:
        """Settings of a trial.

        Args:
            trial: of Optuna.

        Returns:
            A value for each name.
        """
        return {name: d.draw(name, trial) for name, d in self.dimensions.items()}


def parse_space(space: Mapping[str, Sequence[Any]]) -> SearchSpace:
    """Checks a search space.

    Args:
        space: by the name of each setting, one of `["float", low, high]`,
            `["log", low, high]`, `["int", low, high]`, `["log_int", low, high]` and
            `["choice", [one, another]]`, whose choices are JSON data.

    Returns:
        The space, to draw from.

    Raises:
        ValueError: if it is empty, or an entry is none of these.
        TypeError: if it is no mapping, or a name is no string.
    """
    if not isinstance(space, Mapping):
        raise TypeError(f"the search space must be a mapping, got {space!r}")
    if not space:
        raise ValueError("the search space must name at least one setting, got none")
    for name in space:
        if not isinstance(name, str):
            raise TypeError(f"a setting's name must be a string, got {name!r}")
    return SearchSpace({name: _entry(name, entry) for name, entry in space.items()})


def _entry(name: str, entry: Sequence[Any]) -> _Range | _Choice:
    accepted = "; ".join(_KINDS.values())
    is_list = isinstance(entry, Sequence) and not isinstance(entry, str)
    if not is_list or not entry or entry[0] not in tuple(_KINDS):
        raise ValueError(
            f"the search space of {name} must be one of {accepted}; got {entry!r}"
        )
    kind = entry[0]
    if kind == "choice":
        return _choice(name, entry)
    whole, log = kind in ("int", "log_int"), kind in ("log", "log_int")
    if len(entry) != 3 or not all(_is_number(end, whole) for end in entry[1:]):
        raise ValueError(
            f"the search space of {name} must read {_KINDS[kind]}; got {entry!r}"
        )
    _, low, high = entry
    if not low < high:
        raise ValueError(
            f"the search space of {name} must go from a lower to a higher number, got "
            f"{low!r} and {high!r}"
        )
    if log and low <= 0:
        raise ValueError(
            f"the search space of {name} is logarithmic and must begin above 0, got "
            f"{low!r}"
        )
    return _Range(low, high, log, whole)


def _choice(name: str, entry: Sequence[Any]) -> _Choice:
    choices = entry[1] if len(entry) == 2 else None
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise ValueError(
            f"the search space of {name} must read {_KINDS['choice']}; got {entry!r}"
        )
    try:
        labels = tuple(json.dumps(c, sort_keys=True, allow_nan=False) for c in choices)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the choices of {name} must be JSON data (numbers, names, lists, null), "
            f"got {choices!r}: {error}"
        ) from error
    if len(set(labels)) < len(labels):
        raise ValueError(f"the choices of {name} must differ, got {choices!r}")
    return _Choice(labels)


def _is_number(given: object, whole: bool) -> bool:
    accepted = (int,) if whole else (int, float)
    if not isinstance(given, accepted) or isinstance(given, bool):
        return False
    return math.isfinite(given)
