import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from pg_agents.checker import CannotCheckError, GradientReport, check_script
from pg_agents.checker.script.check import judge_recording
from pg_agents.checker.script.recording import Recording
from pg_agents.cli.main import main
from tests.pg_agents.checker.planted import CASES
from tests.pg_agents.checker.synthetic import record, tasks

SCRIPTS = Path(__file__).parents[1] / "scripts"
EXAMPLES = Path(__file__).parent / "examples"


def test_arguments_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    with pytest.raises(FileNotFoundError, match=r"no script .*train\.py"):
        check_script(path)
    path.touch()
    with pytest.raises(ValueError, match=r"module:function, got 'train'"):
        check_script(path, entry="train")
    with pytest.raises(ValueError, match="timeout_s must be at least 10, got 3"):
        check_script(path, timeout_s=3)
    with pytest.raises(ValueError, match=r"gamma .* got 1\.5"):
        check_script(path, gamma=1.5)


def test_a_right_script_is_right_for_its_algorithm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", str(SCRIPTS / "reinforce_one_file.py")]) == 0
    text = capsys.readouterr().out
    assert "RIGHT" in text and "gamma^t dropped" in text and "gamma 0.99" in text
    assert "time limits were taken for ends that belong to the task" in text
    lines = text.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80


@pytest.mark.slow
def test_a_report_says_where_in_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths start as the user has named the script; its modules are in the same way."""
    loss = (
        "def loss_of(log_probs, returns):\n"
        "    return -(log_probs[:, None] * returns).sum()\n"
    )
    source = (SCRIPTS / "reinforce_one_file.py").read_text()
    source = source.replace("loss = -(log_probs * returns).sum()", "loss = LOSS")
    source = source.replace("LOSS", "losses.loss_of(log_probs, returns)")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "losses.py").write_text(loss)
    (tmp_path / "code" / "train.py").write_text(f"import losses\n{source}")
    monkeypatch.chdir(tmp_path)
    report = check_script("code/train.py")
    (mistake,) = (f for f in report.findings if f.kind == "mistake")
    assert mistake.key == "all_pairs" and mistake.place is not None
    assert report.backward is not None and report.loss is not None
    assert str(mistake.place) == "code/losses.py:2" == str(report.loss)
    assert mistake.place.text == "return -(log_probs[:, None] * returns).sum()"
    assert report.backward.file == "code/train.py"
    assert report.backward.text == "loss.backward()"
    assert "Mistake: every log-probability times every return, code/" in str(report)


@pytest.mark.parametrize(
    ("bypassing", "verdict"), [(1e-6, "right"), (0.01, "undecided")]
)
def test_a_gradient_that_is_explained_in_part_is_not_acquitted(
    bypassing: float, verdict: str
) -> None:
    records = []
    for task in tasks():
        seen = record(lambda s: -(s.to_go() * s.log_probs).sum(), task)
        updates = tuple(replace(u, residual=bypassing) for u in seen.updates)
        records.append(replace(seen, updates=updates))
    report = judge_recording(Recording(tuple(records)), "train.py")
    assert report.verdict == verdict
    assert any("bypasses" in note for note in report.notes) == (verdict != "right")
    if verdict == "undecided":
        # A larger sample would not help.
        assert "not all that reaches the policy is explained" in str(report)
        assert "sample is too small" not in str(report)


@pytest.mark.slow
def test_a_mistake_is_named(tmp_path: Path) -> None:
    source = (SCRIPTS / "reinforce_one_file.py").read_text()
    path = tmp_path / "train.py"
    path.write_text(source.replace("loss = -(log_probs", "loss = (log_probs"))
    report = check_script(path)
    assert report.verdict == "wrong" and report.exit_status == 1
    assert "sign_flipped" in [finding.key for finding in report.findings]


def checked(name: str, folder: Path) -> GradientReport:
    (case,) = (case for case in CASES if case.name == name)
    return check_script(case.write(folder))


@pytest.mark.slow
@pytest.mark.parametrize("script", ["a2c_vector", "ppo_minibatch"])
def test_shifted_done_masks_of_vector_loops_are_named(
    script: str, tmp_path: Path
) -> None:
    report = checked(f"{script}__done_mask_shifted", tmp_path)
    mistakes = [f.key for f in report.findings if f.kind == "mistake"]
    assert report.verdict == "wrong" and mistakes == ["done_mask_shifted"]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ppo_minibatch__across_episodes",
        "ppo_minibatch__advantages_of_other_rows",
        "gae_actor_critic__last_step_lost",
        "gaussian_actor_critic__value_not_detached",
        "gaussian_actor_critic__bootstrap_from_wrong_state",
        "reinforce_module_level__binary_cross_entropy",
        "reinforce_module_level__logit",
    ],
)
def test_mistakes_that_hide_behind_something_right_are_named(
    name: str, tmp_path: Path
) -> None:
    (case,) = (case for case in CASES if case.name == name)
    report = checked(name, tmp_path)
    mistakes = {f.key for f in report.findings if f.kind == "mistake"}
    assert report.verdict == "wrong" and not report.ties
    assert len(mistakes) == 1 and mistakes <= set(case.keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("sequential_softmax__only_last_episode", "one_episode_only"),
        ("trainer_class__rewards_not_reset", "earlier_rewards"),
    ],
)
def test_what_wastes_data_is_a_warning(name: str, warning: str, tmp_path: Path) -> None:
    report = checked(name, tmp_path)
    assert report.right
    assert [f.key for f in report.findings if f.kind == "warning"] == [warning]


@pytest.mark.slow
@pytest.mark.parametrize(("terminal", "verdict"), [(False, "wrong"), (True, "right")])
def test_a_time_limit_may_belong_to_the_task(
    terminal: bool, verdict: str, tmp_path: Path
) -> None:
    (case,) = (
        case
        for case in CASES
        if case.name == "actor_critic_two_networks__no_bootstrap_at_truncation"
    )
    path = case.write(tmp_path)
    assert check_script(path, time_limit_is_terminal=terminal).verdict == verdict


@pytest.mark.slow
def test_an_unknown_loss_of_a_critic_with_a_shared_trunk_acquits_nothing(
    tmp_path: Path,
) -> None:
    source = (SCRIPTS / "a2c_vector.py").read_text()
    for old, new in (
        ("(returns - values).pow(2)", "(returns - values).pow(4)"),
        ("returns - values.detach()", "returns - values"),
    ):
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    path = tmp_path / "train.py"
    path.write_text(source)
    report = check_script(path)
    assert report.verdict == "undecided"
    assert any("detached" in note for note in report.notes)


@pytest.mark.slow
def test_nan_after_episodes_of_one_step_is_a_warning(tmp_path: Path) -> None:
    report = checked("reinforce_one_file__standardized", tmp_path)
    kinds = {finding.key: finding.kind for finding in report.findings}
    assert report.right and kinds["nan_deviation"] == "warning"


@pytest.mark.slow
def test_a_mean_without_a_formula_acquits_no_small_sample(tmp_path: Path) -> None:
    """Random factors with mean 1 leave the expectation right: no formula has them."""
    source = (SCRIPTS / "reinforce_one_file.py").read_text()
    old = "loss = -(log_probs * returns).sum()"
    assert source.count(old) == 1
    factors = "(0.5 + torch.rand(len(returns)))"
    script = tmp_path / "train.py"
    script.write_text(
        source.replace(old, f"loss = -(log_probs * returns * {factors}).sum()")
    )
    report = check_script(script)
    assert report.formula is None and report.verdict == "undecided"
    assert "more episodes" in str(report) and "--episodes" not in str(report)


def test_what_cannot_be_checked_has_exit_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.py"
    path.write_text("import sys\nassert sys.argv[1:] == ['--n', '2']\n")
    with pytest.raises(CannotCheckError, match="has made no environment"):
        check_script(path, ["--n", "2"])
    assert main(["check", str(path), "--", "--n", "2"]) == 2
    assert "has made no environment" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["numpy", "jax", "keras"])
def test_gradients_of_other_frameworks_can_be_handed_in(framework: str) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    report = check_script(EXAMPLES / f"{framework}_reinforce.py")
    assert report.verdict == "right"
    assert [finding.key for finding in report.findings] == ["gamma_dropped"]
    assert report.tasks[0].gamma == pytest.approx(0.95)


# Two networks whose gradients are zeroed right before each backward pass.
STANDARDISED = """
import gymnasium as gym
import torch

env = gym.make("CartPole-v1")
policy, value = torch.nn.Linear(4, 2), torch.nn.Linear(4, 1)
actor = torch.optim.Adam(policy.parameters())
critic = torch.optim.Adam(value.parameters())
for episode in range(300):
    obs, _ = env.reset()
    observations, log_probs, rewards, done = [], [], [], False
    while not done:
        observations.append(torch.as_tensor(obs))
        dist = torch.distributions.Categorical(logits=policy(observations[-1]))
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        obs, reward, terminated, truncated, _ = env.step(action.item())
        rewards.append(reward)
        done = terminated or truncated
    returns, ret = [], 0.0
    for reward in reversed(rewards):
        ret = reward + 0.99 * ret
        returns.insert(0, ret)
    values = value(torch.stack(observations)).squeeze(-1)
    advantages = torch.tensor(returns) - values.detach()
    if GUARD:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    actor.zero_grad()
    (-torch.stack(log_probs) * advantages).sum().backward()
    actor.step()
    critic.zero_grad()
    torch.nn.functional.mse_loss(values, torch.tensor(returns)).backward()
    critic.step()
"""


@pytest.mark.parametrize(
    ("guard", "warnings", "note"),
    [
        # A gradient that stays NaN until it is zeroed is not one that was added to.
        ("True", ["nan_deviation"], "time limits"),
        pytest.param("len(rewards) > 1", [], "single step", marks=pytest.mark.slow),
    ],
)
def test_standardising_each_episode_is_right(
    guard: str, warnings: list[str], note: str, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(STANDARDISED.replace("GUARD", guard))
    report = check_script(script)
    assert report.verdict == "right"
    assert [f.key for f in report.findings if f.kind == "warning"] == warnings
    # A warning has its fix, also where the gradient is right.
    assert ("right: if len(returns) > 1" in str(report)) == bool(warnings)
    assert not any(f.kind == "mistake" for f in report.findings)
    assert any(note in text for text in report.notes)
