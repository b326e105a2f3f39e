"""Right answers pass; each typical mistake gets a hint of its own."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.exercises import EXERCISES, Exercise, Result, exercise
from pg_agents.exercises.answer import COMMON_HINTS
from pg_agents.exercises.grading import grade, with_gradient
from tests.pg_agents.exercises import unseen_answers as unseen

RIGHT = [
    (one.name, answer)
    for one in EXERCISES
    for answer in importlib.import_module(
        f"tests.pg_agents.exercises.answers.{one.name}"
    ).RIGHT
]
RIGHT += [
    (file.parent.name, unseen.read_answer(file.parent.name, file))
    for file in sorted((unseen.FOLDER / "right").glob("*/*.py"))
]
WRONG = [
    (one.name, hint, answer)
    for one in EXERCISES
    for hint, answer in importlib.import_module(
        f"tests.pg_agents.exercises.answers.{one.name}"
    ).WRONG.items()
]
UNSEEN = [
    (name, stem, hint)
    for name, files in unseen.HINTS.items()
    for stem, hint in files.items()
]
MISTAKES = [
    (one.name, key)
    for one in EXERCISES
    for key, hint in one.hints.items()
    if hint.mistake is not None
]


def graded(name: str, answer: Callable[..., Any]) -> Result:
    with warnings.catch_warnings():
        # Of the answers: a logarithm of 0, a tensor made of a tensor.
        warnings.simplefilter("ignore")
        return grade(exercise(name), answer)


def from_text(one: Exercise, text: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"__name__": "answer"}
    exec(compile(text, f"{one.name}.py", "exec"), names)
    answer: Callable[..., Any] = names[one.function]
    return answer


@pytest.mark.parametrize("one", EXERCISES, ids=lambda one: one.name)
def test_the_model_solution_is_right_and_the_stub_is_not_written_yet(
    one: Exercise,
) -> None:
    assert grade(one, from_text(one, one.solution)).right
    result = grade(one, from_text(one, one.stub))
    assert result.status == "not checked"
    assert result.title == "not written yet"


@pytest.mark.parametrize(
    ("name", "answer"), RIGHT, ids=lambda x: getattr(x, "__name__", x)
)
def test_right_answers_pass_in_any_style(name: str, answer: Callable[..., Any]) -> None:
    result = graded(name, answer)
    assert result.right, result


@pytest.mark.parametrize(("name", "hint", "answer"), WRONG)
def test_a_typical_mistake_gets_its_hint(
    name: str, hint: str, answer: Callable[..., Any]
) -> None:
    result = graded(name, answer)
    assert (result.status, result.hint) == ("wrong", hint), result
    assert result.seen and result.why and result.think


@pytest.mark.parametrize(("name", "stem", "hint"), UNSEEN)
def test_mistakes_of_an_author_who_did_not_see_the_checker_get_their_hint(
    name: str, stem: str, hint: str
) -> None:
    file = unseen.FOLDER / "wrong" / name / f"{stem}.py"
    result = graded(name, unseen.read_answer(name, file))
    assert (result.status, result.hint) == ("wrong", hint), result


@pytest.mark.parametrize(("name", "key"), MISTAKES)
def test_no_mistake_is_taken_for_another_one(name: str, key: str) -> None:
    mistake = exercise(name).hints[key].mistake
    assert mistake is not None
    result = graded(name, mistake)
    assert result.hint == key, result


@pytest.mark.parametrize("one", EXERCISES, ids=lambda one: one.name)
def test_ten_mistakes_are_known_and_half_are_of_another_author(one: Exercise) -> None:
    files = sorted((unseen.FOLDER / "wrong" / one.name).glob("*.py"))
    assert [file.stem for file in files] == sorted(unseen.HINTS[one.name])
    theirs = set(unseen.HINTS[one.name].values())
    ours = {hint for name, hint, _ in WRONG if name == one.name} - theirs
    # Each its own.
    assert len(theirs) == len(files) >= 5
    assert len(ours) >= 5


@pytest.mark.parametrize("one", EXERCISES, ids=lambda one: one.name)
def test_hints_do_not_give_the_line_away(one: Exercise) -> None:
    written = set(one.solution.splitlines()) - set(one.stub.splitlines())
    lines = {line.strip() for line in written if len(line.strip()) > 12}
    for hint in one.hints.values():
        for line in lines:
            assert line not in f"{hint.why} {hint.think}"


def test_titles_of_an_exercise_differ() -> None:
    for one in EXERCISES:
        titles = [h.title for h in (*one.hints.values(), *COMMON_HINTS.values())]
        assert len(set(titles)) == len(titles)


def test_known_values_of_the_course() -> None:
    def answer(name: str) -> Callable[..., Any]:
        return from_text(exercise(name), exercise(name).solution)

    weighted = answer("weighted_log_prob")([0.8], [100.0])
    assert weighted == pytest.approx([-22.314354], rel=1e-6)
    returns = answer("returns")([1, 2, 3, 4], 0.99)
    assert returns == pytest.approx([9.801496, 8.8904, 6.96, 4.0])
    loss = answer("policy_loss")(
        torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.tensor([10.0])
    )
    assert float(loss) == pytest.approx(3.1326165, rel=1e-6)


def test_an_unknown_mistake_is_wrong_and_its_numbers_are_shown() -> None:
    right = from_text(exercise("returns"), exercise("returns").solution)
    result = graded("returns", lambda rewards, gamma: 1.1 * right(rewards, gamma))
    assert (result.status, result.hint) == ("wrong", None)
    assert "returned  [10.7816, " in result.seen
    assert "expected  [9.8015, " in result.seen
    assert "1.1 times" in result.seen

    def last_only(rewards: Any, gamma: float) -> Any:
        return np.where(np.arange(len(rewards)) == len(rewards) - 1, rewards, 0.5)

    assert "Entries that agree: 3 of 0 to 3" in graded("returns", last_only).seen


@pytest.mark.parametrize(
    ("value", "hint", "title"),
    [
        (None, "nothing", "it returns nothing"),
        ([[1.0], [2.0]], "shape", "another shape than expected"),
        ("text", None, "it returns a str"),
        ({"a": 1}, None, "it returns a dict"),
        ([[1.0], [2.0, 3.0]], None, "it returns a list of parts of different shapes"),
    ],
)
def test_results_of_another_kind(value: object, hint: str | None, title: str) -> None:
    for name in ("returns", "weighted_log_prob", "baseline", "bandit_update"):
        result = graded(name, lambda *_: value)
        assert (result.status, result.hint, result.title) == ("wrong", hint, title)


def test_a_number_that_is_not_finite_is_named() -> None:
    result = graded("returns", lambda rewards, gamma: np.full(len(rewards), np.inf))
    assert result.hint == "not_finite"


def test_what_is_kept_between_calls_is_found() -> None:
    calls: list[int] = []

    def returns(rewards: Any, gamma: float) -> Any:
        calls.append(1)
        right = from_text(exercise("returns"), exercise("returns").solution)
        return right(rewards, gamma) + (len(calls) > 5)

    assert graded("returns", returns).hint == "second_call"


def test_an_exception_is_located() -> None:
    def returns(rewards: Any, gamma: float) -> Any:
        return rewards[len(rewards)]

    result = graded("returns", returns)
    assert result.status == "not checked"
    assert result.title.startswith("IndexError in line ")
    assert "return rewards[len(rewards)]" in result.seen
    assert "for rewards [1, 2, 3, 4], gamma 0.99" in result.seen


def test_an_exception_in_one_case_alone_is_a_mistake() -> None:
    right = from_text(exercise("returns"), exercise("returns").solution)

    def returns(rewards: Any, gamma: float) -> Any:
        return right(rewards, gamma) if 1 / gamma else None

    result = graded("returns", returns)
    assert result.status == "wrong"
    assert "ZeroDivisionError" in result.title
    assert "gamma 0" in result.seen


def test_a_signature_that_does_not_fit_is_named() -> None:
    for one in EXERCISES:
        result = graded(one.name, lambda: None)
        assert result.status == "not checked", one.name
        assert "TypeError" in result.title


def test_a_mistake_that_only_the_gradient_checker_knows_is_named_by_it() -> None:
    one = exercise("policy_loss")

    def reversed_returns(logits: Any, actions: Any, returns: Any) -> Any:
        taken = torch.log_softmax(logits, -1)[torch.arange(len(actions)), actions]
        return -(returns.flip(0) * taken).sum()

    result = grade(one, reversed_returns)
    assert result.status == "wrong"
    result = with_gradient(one, reversed_returns, result)
    assert result.status == "wrong"
    assert "another direction" in result.gradient
    assert result.title == "returns in reversed order"


def test_the_gradient_checker_says_what_a_mistake_does() -> None:
    one = exercise("baseline")
    answer = next(
        a for name, key, a in WRONG if (name, key) == ("baseline", "own_return")
    )
    result = with_gradient(one, answer, grade(one, answer))
    # 1 - 1/N of batches of 8 episodes.
    assert "direction of the exact one, and 0.88 times its length" in result.gradient


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [one.name for one in EXERCISES if one.subject is not None]
)
def test_the_gradient_checker_agrees(name: str) -> None:
    one = exercise(name)
    for right_name, answer in RIGHT:
        if right_name == name:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = with_gradient(one, answer, grade(one, answer))
            assert "has the direction of the exact one." in result.gradient, answer
