import importlib.util
from pathlib import Path

import pytest

from pg_agents.checker import CannotCheckError, GradientReport, check_script
from pg_agents.cli.main import main
from tests.pg_agents.checker.planted import CASES

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


def test_nan_after_episodes_of_one_step_is_a_warning(tmp_path: Path) -> None:
    report = checked("reinforce_one_file__standardized", tmp_path)
    kinds = {finding.key: finding.kind for finding in report.findings}
    assert report.right and kinds["nan_deviation"] == "warning"


@pytest.mark.slow
def test_a_mean_without_a_formula_acquits_no_small_sample(tmp_path: Path) -> None:
    """A discount that runs on from step to step: no formula has it."""
    report = checked("reinforce_agent_class__discount_not_reset", tmp_path)
    assert report.formula is None and not report.right
    if report.verdict == "undecided":
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
