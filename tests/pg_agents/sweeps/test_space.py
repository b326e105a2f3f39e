"""Search spaces as plain data: draws and invalid entries."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest

from pg_agents.sweeps import parse_space

SPACE: dict[str, list[Any]] = {
    "learning_rate": ["log", 1e-5, 1e-2],
    "gae_lambda": ["float", 0, 1],
    "n_steps": ["int", 5, 64],
    "batch": ["log_int", 1, 256],
    "net": ["choice", [[], [64, 64], None, "tiny", 0.5, {"pi": [8]}]],
}


def draw(space: Any, seed: int, n: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [parse_space(space).draw(study.ask()) for _ in range(n)]


def test_draws_lie_in_the_space_and_cover_it() -> None:
    drawn = draw(SPACE, 0, 200)
    assert all(1e-5 <= d["learning_rate"] <= 1e-2 for d in drawn)
    assert {type(d["n_steps"]) for d in drawn} == {int}
    assert (
        min(d["n_steps"] for d in drawn) < 10 and max(d["n_steps"] for d in drawn) > 59
    )
    # Half of the draws on a logarithmic scale lie below the geometric mean, give or
    # take 5 standard errors of sqrt(1/4 / 200).
    share = sum(d["learning_rate"] < 10**-3.5 for d in drawn) / len(drawn)
    assert abs(share - 0.5) < 5 * 0.0354
    share = sum(d["batch"] < 16 for d in drawn) / len(drawn)
    assert abs(share - 0.5) < 5 * 0.0354
    choices = {json.dumps(d["net"]) for d in drawn}
    assert choices == {json.dumps(choice) for choice in SPACE["net"][1]}


def test_a_drawn_list_is_new() -> None:
    space = parse_space({"net": ["choice", [[8]]]})
    study = optuna.create_study()
    space.draw(study.ask())["net"].append(9)
    assert space.draw(study.ask()) == {"net": [8]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "search space of x must be one of"),
        ("log", "search space of x must be one of"),
        (["uniform", 0, 1], r'must be one of \["float", low, high\]'),
        ([["log"], 0, 1], "must be one of"),
        (["float", 1], r'must read \["float", low, high\]'),
        (["float", 0, float("inf")], "must read"),
        (["float", 0, "1"], "must read"),
        (["float", False, True], "must read"),
        (["int", 0, 1.5], "must read"),
        (["float", 1, 1], "from a lower to a higher number, got 1 and 1"),
        (["int", 3, 2], "from a lower to a higher number, got 3 and 2"),
        (["log", 0, 1], "must begin above 0, got 0"),
        (["log_int", -1, 1], "must begin above 0, got -1"),
        (["choice", "abc"], r'must read \["choice"'),
        (["choice", []], "must read"),
        (["choice", 1, 2], "must read"),
        (["choice", [1, 1]], r"choices of x must differ, got \[1, 1\]"),
        (["choice", [object]], "must be JSON data"),
        (["choice", [float("nan")]], "must be JSON data"),
    ],
)
def test_an_invalid_entry_raises(entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_space({"x": entry})


def test_an_invalid_space_raises() -> None:
    with pytest.raises(ValueError, match="at least one setting"):
        parse_space({})
    with pytest.raises(TypeError, match="must be a mapping"):
        parse_space([("x", ["int", 1, 2])])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name must be a string, got 3"):
        parse_space({3: ["int", 1, 2]})  # type: ignore[dict-item]
