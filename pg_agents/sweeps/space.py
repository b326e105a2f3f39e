"""Search spaces as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

_KINDS = {
    "float": '["float", low, high]: a number',
    "log": '["log", low, high]: a number above 0, its logarithm uniform',
    "int": '["int", low, high]: an integer, both ends included',
    "log_int": '["log_int", low, high]: an integer above 0, on a logarithmic scale',
    "choice": '["choice", [one, another, ...]]: one of these',
}


@dataclass(frozen=True)
class SearchSpace:
    """A search space that has been checked; `parse_space` makes it.

    Attributes:
        entries: kind and bounds by the name of the setting; choices as JSON text,
            because Optuna's storages hold no lists.
    """

    entries: Mapping[str, tuple[Any, ...]]

    def draw(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        """Returns the settings of a trial, a value for each name."""
        settings: dict[str, Any] = {}
        for name, (kind, *bounds) in self.entries.items():
            if kind == "choice":
                settings[name] = json.loads(trial.suggest_categorical(name, bounds))
                continue
            low, high = bounds
            log = kind.startswith("log")
            if kind in ("int", "log_int"):
                settings[name] = trial.suggest_int(name, low, high, log=log)
            else:
                settings[name] = trial.suggest_float(name, low, high, log=log)
        return settings


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
    return SearchSpace({name: _parse(name, entry) for name, entry in space.items()})


def _parse(name: str, entry: Sequence[Any]) -> tuple[Any, ...]:
    is_list = isinstance(entry, Sequence) and not isinstance(entry, str)
    if not is_list or not entry or entry[0] not in tuple(_KINDS):
        raise ValueError(
            f"the search space of {name} must be one of {'; '.join(_KINDS.values())}; "
            f"got {entry!r}"
        )
    kind, *bounds = entry
    if kind == "choice":
        return ("choice", *_parse_choices(name, entry))
    accepted = int if kind in ("int", "log_int") else (int, float)
    if len(bounds) != 2 or not all(
        isinstance(bound, accepted)
        and not isinstance(bound, bool)
        and math.isfinite(bound)
        for bound in bounds
    ):
        raise ValueError(
            f"the search space of {name} must read {_KINDS[kind]}; got {entry!r}"
        )
    low, high = bounds
    if not low < high:
        raise ValueError(
            f"the search space of {name} must go from a lower to a higher number, got "
            f"{low!r} and {high!r}"
        )
    if kind.startswith("log") and low <= 0:
        raise ValueError(
            f"the search space of {name} is logarithmic and must begin above 0, got "
            f"{low!r}"
        )
    return (kind, low, high)


def _parse_choices(name: str, entry: Sequence[Any]) -> list[str]:
    choices = entry[1] if len(entry) == 2 else None
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise ValueError(
            f"the search space of {name} must read {_KINDS['choice']}; got {entry!r}"
        )
    try:
        texts = [json.dumps(c, sort_keys=True, allow_nan=False) for c in choices]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the choices of {name} must be JSON data (numbers, names, lists, null), "
            f"got {choices!r}: {error}"
        ) from error
    if len(set(texts)) < len(texts):
        raise ValueError(f"the choices of {name} must differ, got {choices!r}")
    return texts
