"""Right answers pass; each typical mistake gets a hint of its own."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.exercises import EXERCISES, Exercise, Result, exercise
from pg_agents.exercises.answer import COMMON_HINTS, Together
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


def module_of(name: str) -> Any:
    return importlib.import_module(f"pg_agents.exercises.{name}")


IN_STAGES = [one.name for one in EXERCISES if hasattr(module_of(one.name), "TOGETHER")]


def pairs_of(together: Together) -> Iterator[tuple[set[str], Callable[..., Any]]]:
    """Every pair of mistakes in two stages, and a function that makes both."""
    right = [stage[0][1] for stage in together.stages]
    for (i, first), (j, second) in itertools.combinations(
        enumerate(together.stages), 2
    ):
        for one, other in itertools.product(first[1:], second[1:]):
            variants = list(right)
            variants[i], variants[j] = one[1], other[1]
            yield {one[0], other[0]}, together.compose(*variants)


def check_pairs(name: str, step: int) -> None:
    """Grades every `step`-th pair: both are told, or what gives the same numbers."""
    together = module_of(name).TOGETHER
    by_keys = {frozenset(keys): made for keys, made in together.mistakes()}
    for keys, answer in itertools.islice(pairs_of(together), 0, None, step):
        result = graded(name, answer)
        if result.right:
            # Two minuses, say.
            continue
        assert result.hint is not None, (keys, result)
        told = {result.hint, *result.others}
        if told != keys:
            assert len(told) <= 2
            mistake = exercise(name).hints[result.hint].mistake
            same = by_keys.get(frozenset(told), mistake)
            assert same is not None
            assert (
                graded(name, same).seen.split("\n2 mistakes")[0]
                == (result.seen.split("\n2 mistakes")[0])
            ), (keys, told)


def test_the_stages_without_a_mistake_are_right() -> None:
    for name in IN_STAGES:
        together = module_of(name).TOGETHER
        right = [stage[0] for stage in together.stages]
        assert {key for key, _ in right} == {""}
        assert graded(name, together.compose(*(variant for _, variant in right)))


def test_two_mistakes_are_both_told() -> None:
    for name in IN_STAGES:
        check_pairs(name, step=23)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_STAGES)
def test_all_pairs_of_mistakes_are_told(name: str) -> None:
    check_pairs(name, step=1)


def zero_loss(logits: Any, actions: Any, returns: Any) -> Any:
    """A column times a row, whose mean is 0: what else is wrong can't be seen."""
    returns = (returns - returns.mean()) / (returns.std(correction=0) + 1e-8)
    log_probs = torch.log_softmax(logits, dim=0).gather(1, actions[:, None])
    return -(log_probs * returns).mean()


def three_slips(logits: Any, actions: Any, returns: Any) -> Any:
    probabilities = torch.softmax(logits, dim=-1)
    rows = torch.nn.functional.cross_entropy(probabilities, actions, reduction="none")
    return -(rows * (returns - returns.mean())).mean()


def masked_with_graph(r: Any, v: Any, n: Any, e: Any, c: Any, gamma: float) -> Any:
    delta = r + gamma * n.detach() * ~(e | c) - v
    return delta, (delta**2).mean()


def masked_without_graph(r: Any, v: Any, n: Any, e: Any, c: Any, gamma: float) -> Any:
    delta = (r + gamma * n * ~(e | c) - v).detach()
    return delta, (delta**2).mean()


def undiscounted_reversed(rewards: Any, gamma: float) -> Any:
    total, result = 0.0, []
    for reward in rewards[::-1]:
        total += reward
        result.append(total)
    return result


@pytest.mark.parametrize(
    ("name", "answer", "keys"),
    [
        ("policy_loss", zero_loss, ["all_pairs", "standardized"]),
        ("policy_loss", three_slips, "mean softmax_twice centred sign_flipped".split()),
        (
            "one_step_critic",
            masked_with_graph,
            ["advantage_not_detached", "truncated_as_terminated"],
        ),
        (
            "one_step_critic",
            masked_without_graph,
            ["loss_detached", "truncated_as_terminated"],
        ),
        ("returns", undiscounted_reversed, ["undiscounted", "reversed"]),
    ],
)
def test_several_slips_of_a_student_are_told(
    name: str, answer: Callable[..., Any], keys: list[str]
) -> None:
    result = graded(name, answer)
    assert [result.hint, *result.others] == keys, result
    titles = {key: hint.title for key, hint in exercise(name).hints.items()}
    assert result.title == titles[keys[0]]
    assert all(titles[key] in " ".join(result.seen.split()) for key in keys[1:])
    assert "expected" in result.seen and result.why and result.think


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
    assert "by hand" in result.think

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


def test_a_policy_that_is_never_sure_is_wrong() -> None:
    """The probabilities of the first logits are within the bounds."""

    def sample_action(logits: Any) -> Any:
        probabilities = torch.softmax(logits, -1).clamp(0.05, 0.95)
        action = torch.multinomial(probabilities.detach(), 1)
        return action, probabilities[action].log()

    result = graded("action_sampling", sample_action)
    assert result.status == "wrong"
    assert "draws" in result.seen and result.think


def test_draws_and_log_probabilities_are_both_judged() -> None:
    def sample_action(logits: Any) -> Any:
        action = torch.randint(len(logits), ())
        return action, torch.softmax(logits, -1)[action]

    result = graded("action_sampling", sample_action)
    assert (result.hint, result.others) == ("uniform", ("probability",))


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
