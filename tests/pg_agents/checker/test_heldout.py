"""Losses that no candidate was written for: no wrong verdict, hardly a wrong name."""

from __future__ import annotations

from collections import Counter

import pytest

from pg_agents import check_policy_gradient
from pg_agents.checker import CATALOGUE, CannotCheckError
from tests.pg_agents.checker.heldout import HELD_OUT, HeldOut

RIGHT = [loss for loss in HELD_OUT if loss.exact == "right"]


def test_the_set_is_consistent() -> None:
    keys = {mistake.key for mistake in CATALOGUE}
    names = [loss.name for loss in HELD_OUT]
    assert len(set(names)) == len(names) >= 45
    for loss in HELD_OUT:
        assert frozenset().union(*loss.names, loss.also) <= keys
    # About a third of them is right, for the target or at all.
    accepted = [loss for loss in HELD_OUT if loss.algorithm == "right"]
    assert 0.25 < len(accepted) / len(HELD_OUT) < 0.5


def test_verdicts_and_names_are_judged() -> None:
    loss = next(loss for loss in HELD_OUT if loss.name == "pytorch_example")
    assert loss.judge_verdict("right") == "acquitted"
    assert loss.judge_verdict("right", "algorithm") == "agrees"
    assert loss.judge_verdict("wrong", "algorithm") == "accused"
    assert loss.judge_verdict("undecided") == "undecided"
    assert loss.judge_name(frozenset()) == "unnamed"
    assert loss.judge_name(frozenset({"standardized", "gamma_dropped"})) == "right"
    assert loss.judge_name(frozenset({"gamma_dropped"})) == "wrong"
    assert loss.judge_name(frozenset({"standardized", "rounded"})) == "wrong"
    assert loss.judge_verdict("could not be checked") == "refused"
    zero = next(loss for loss in HELD_OUT if loss.exact == "zero")
    assert zero.judge_verdict("right", "algorithm") == "acquitted"


def keys_of(loss: HeldOut) -> tuple[str, frozenset[str]]:
    """Returns verdict and asserted keys; ties assert nothing."""
    try:
        report = check_policy_gradient(loss.make(), progress_bar=False)
    except CannotCheckError:
        return "could not be checked", frozenset()
    ignored = ("factor", "warning")
    found = {f.key for f in report.findings if f.kind not in ignored}
    return report.verdict, frozenset() if report.ties else frozenset(found)


@pytest.mark.slow
def test_no_verdict_is_wrong_and_at_most_one_name_in_twenty() -> None:
    """All losses at the default sample: half an hour on a busy core."""
    verdicts, names = Counter[str](), Counter[str]()
    for loss in HELD_OUT:
        verdict, keys = keys_of(loss)
        judged = loss.judge_verdict(verdict)
        verdicts[judged] += 1
        names[loss.judge_name(keys)] += 1
        assert judged not in ("accused", "acquitted"), (loss.name, verdict)
    assert verdicts["undecided"] + verdicts["refused"] <= 0.05 * len(HELD_OUT)
    assert verdicts["missed"] <= sum(loss.small for loss in HELD_OUT)
    assert names["wrong"] <= 0.05 * (names["right"] + names["wrong"])
