"""`pgtoy plot` and `pgtoy compare`: their output, and bad arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from pg_agents.cli.main import main
from tests.pg_agents.analysis.run_folders import write_learners, write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_learners(tmp_path / "runs" / "cartpole-1x16", 4, 1.3)
    write_learners(tmp_path / "runs" / "cartpole-1x64", 4, 2.6)
    return tmp_path / "runs"


def is_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(2**24)
        return picture.size[0] > 600 and colours is not None and len(colours) > 9


@pytest.mark.parametrize("kind", ["curves", "seeds", "profile"])
def test_plots_are_written(
    runs: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = runs / "plot.png"
    options = ["--kind", kind, "--x", "episodes", "--to", str(file)]
    assert main(["plot", str(runs), *options]) == 0
    assert is_picture(file)
    assert capsys.readouterr().out == f"plot: {file}\n"


def test_the_title_names_environment_and_runs(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(
        "pg_agents.analysis.plots.save_figure", lambda figure, _: figures.append(figure)
    )
    assert main(["plot", str(runs), "--to", str(runs / "a.png")]) == 0
    assert figures[0].get_suptitle() == "CartPole-v1: 4 runs of each"
    (runs / "cartpole-1x16" / "seed-0002" / "result.json").unlink()
    assert main(["plot", str(runs), "--to", str(runs / "a.png")]) == 0
    assert figures[1].get_suptitle() == "CartPole-v1: 3 to 4 runs of each"
    files = ["--to", str(runs / "a.png"), "--grid", str(runs / "b.png")]
    assert main(["compare", str(runs), "--window", "20", *files]) == 0
    compared, grid = figures[2:]
    assert compared.legends[0].get_title().get_text() == figures[1].get_suptitle()
    assert grid.get_suptitle() == figures[1].get_suptitle()


def test_scores_of_different_environments_are_said_not_to_compare(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "scores of different environments do not compare: CartPole-v1, Other-v1"
    assert main(["compare", str(runs), "--window", "20"]) == 0
    assert note not in capsys.readouterr().err
    for path in (runs / "cartpole-1x64").glob("seed-*/*.json"):
        path.write_text(path.read_text().replace("CartPole-v1", "Other-v1"))
    assert main(["compare", str(runs), "--window", "20"]) == 0
    assert note in capsys.readouterr().err


def test_a_comparison_is_printed_and_drawn(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [runs / "compare.png", runs / "grid.png"]
    draw = ["--to", str(pictures[0]), "--grid", str(pictures[1])]
    assert main(["compare", str(runs), "--window", "20", *draw]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:3]] == [
        "cartpole-1x16",
        "cartpole-1x64",
    ]
    text = " ".join(" ".join(printed).split())
    assert "the mean of 20 training episodes is at least 475" in text
    assert all(is_picture(path) for path in pictures)


def test_the_threshold_is_given_or_the_environments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "lunar", 0, [1.0] * 9, env_id="LunarLander-v3")
    compare = ["compare", str(tmp_path / "lunar"), "--window", "3"]
    main(compare)
    assert "evaluation return is at least 200" in capsys.readouterr().out
    main([*compare, "--threshold", "1"])
    assert "evaluation return is at least 1\n" in capsys.readouterr().out
    write_run(tmp_path / "odd", 0, [1.0] * 9, env_id="Nowhere-v0")
    main(["compare", str(tmp_path / "odd")])
    printed = capsys.readouterr().out
    assert (
        "no threshold: neither speed nor stability" in printed
        and "reached" not in printed
    )


def test_the_threshold_of_an_environment_of_pg_envs_is_known(tmp_path: Path) -> None:
    """In a process that has not registered it, as `pgtoy compare` is."""
    write_run(tmp_path / "row", 0, [1.0] * 100, env_id="PGToy-Sequence-v0")
    command = "from pg_agents.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "compare", str(tmp_path / "row")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "evaluation return is at least 0.85" in done.stdout


def test_skipped_runs_are_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "cartpole-1x16" / "seed-0002"
    (path / "result.json").unlink()
    assert main(["compare", str(runs / "cartpole-1x16")]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"pgtoy: skipped: {path} is unfinished")
    assert printed.out.splitlines()[1].split()[1] == "3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "nowhere"], "there is no folder nowhere"),
        (["plot", "RUNS", "--window", "0"], "--window must be an integer >= 1"),
        (
            ["plot", "RUNS", "--window", "500"],
            "has 400 training episodes, fewer than 500, whose mean is asked for: "
            "use --window 100",
        ),
        (["compare", "ODD", "--threshold", "1", "--window", "2"], "use --window 1"),
        (["plot", "RUNS", "--to", "a.jpeg"], "must end in .png, .pdf, .svg"),
        (["plot", "RUNS", "--to", "nowhere/a.png"], "there is no folder nowhere"),
        (["compare", "RUNS", "--to", "a.txt"], "must end in .png"),
        (["compare", "ODD", "--grid", "a.png"], "--grid needs a threshold"),
        (
            ["compare", "ODD", "--grid", "a.png", "--threshold", "1", "--window", "1"],
            "LAYERSxUNITS",
        ),
    ],
)
def test_bad_arguments_are_rejected(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(runs.parent / "odd", 0, [1.0])
    monkeypatch.chdir(runs.parent)
    places = {"RUNS": str(runs), "ODD": "odd"}
    assert main([places.get(word, word) for word in arguments]) == 2
    assert message in capsys.readouterr().err
    # Nothing half-written stays behind.
    assert sorted(path.name for path in Path().iterdir()) == ["odd", "runs"]
