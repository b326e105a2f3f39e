"""What the two packages offer by name, and what importing them loads."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, assert_type

import pytest

import pg_agents
import pg_agents.analysis.plots
import pg_agents.experiments
import pg_envs
from pg_agents.algorithms.actor_critic import ActorCritic
from pg_agents.analysis.plots.style import save_figure
from pg_agents.checker.check import check_policy_gradient
from pg_agents.cli.main import main
from pg_agents.experiments.settings import Settings
from pg_envs.make import make_torch_vec

ROOT = Path(__file__).parent.parent
TOP = ("pg_agents", "pg_envs")
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in TOP
    for path in (ROOT / top).rglob("__init__.py")
)
# What takes a second or more to load, or is not asked for by everybody.
HEAVY = (
    "gymnasium",
    "matplotlib",
    "optuna",
    "pandas",
    "PIL",
    "pygame",
    "rl_zoo3",
    "scipy",
    "stable_baselines3",
    "torch",
)


def documented_names() -> list[str]:
    """Returns every dotted name that the documentation spells."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    # Its tables name functions of the profiler, which leaves out their classes.
    pages.remove(ROOT / "docs" / "speed.md")
    text = "\n".join(page.read_text() for page in pages)
    for top in TOP:
        for path in (ROOT / top).rglob("*.py"):
            # In a docstring or a comment, between backticks.
            text += "\n".join(re.findall(r"`[^`\n]+`", path.read_text()))
    return sorted(set(re.findall(r"\bpg_(?:agents|envs)(?:\.[A-Za-z_]\w*)+", text)))


def modules_of(package: str) -> set[str]:
    """Returns the public modules that lie in a package's folder."""
    folder = ROOT.joinpath(*package.split("."))
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name for name in files | folders if not name.startswith("_")}


def python(program: str, *arguments: str) -> str:
    """Runs a program in a fresh interpreter and returns what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# Each name as if it were the first that is asked for: what is loaded of ours is
# forgotten in between. Libraries stay, which would take seconds each time.
RESOLVE = """
import importlib, json, sys, warnings
import gymnasium, matplotlib.figure, scipy.stats, stable_baselines3, torch
warnings.simplefilter("ignore")  # that ids are registered again
errors = {}
for name in json.loads(sys.argv[1]):
    for module in list(sys.modules):
        if module.split(".")[0] in ("pg_agents", "pg_envs"):
            del sys.modules[module]
    top, *parts = name.split(".")
    found = importlib.import_module(top)
    try:
        for part in parts:
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
    except Exception as error:
        errors[name] = repr(error)
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def unresolved() -> dict[str, str]:
    names = documented_names()
    found: dict[str, str] = json.loads(python(RESOLVE, json.dumps(names)))
    return found


@pytest.mark.parametrize("name", documented_names())
def test_documented_names_are_attributes(name: str, unresolved: dict[str, str]) -> None:
    assert name not in unresolved, unresolved[name]


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "pg_agents.zoo"])
def test_a_star_imports_the_public_names(package: str) -> None:
    names: dict[str, Any] = {}
    exec(f"from {package} import *", names)
    del names["__builtins__"]
    found = importlib.import_module(package)
    if hasattr(found, "__all__"):
        assert set(names) == set(found.__all__)
        assert len(found.__all__) == len(set(found.__all__))


@pytest.mark.parametrize("package", PACKAGES)
def test_names_loaded_late_can_be_pickled(package: str) -> None:
    found = importlib.import_module(package)
    for name in getattr(found, "__all__", ()):
        each = getattr(found, name)
        if callable(each):
            assert pickle.loads(pickle.dumps(each)) is each


@pytest.mark.parametrize("top", TOP)
def test_the_version_is_that_of_the_project(top: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.import_module(top).__version__ == project["version"]


def test_type_checkers_see_what_is_loaded_late() -> None:
    """That mypy agrees is what is tested."""
    assert_type(pg_agents.ActorCritic, type[ActorCritic])
    assert_type(pg_agents.experiments.Settings, type[Settings])
    assert_type(pg_agents.__version__, str)
    assert pg_agents.check_policy_gradient is check_policy_gradient
    assert pg_agents.analysis.plots.save_figure is save_figure
    assert pg_envs.make_torch_vec is make_torch_vec


LOADED = f"""
import sys
if sys.argv[1] == "import":
    import pg_agents
    dir(pg_agents)
else:
    from pg_agents.cli.main import main
    try:
        main(sys.argv[2:])
    except SystemExit as end:
        assert not end.code
print(*[name for name in {HEAVY!r} if name in sys.modules], "", sep=" ")
"""
COMMANDS = ("check", "compare", "plot", "recipes", "record", "run", "sweep", "watch")


@pytest.mark.parametrize(
    "arguments",
    [
        ["import"],
        ["run", "--help"],
        ["run", "--version"],
        ["run", "recipes"],
        *(["run", command, "--help"] for command in COMMANDS),
    ],
    ids=" ".join,
)
def test_what_needs_no_library_loads_none(arguments: list[str]) -> None:
    assert python(LOADED, *arguments).strip() == ""


def test_every_command_is_among_these(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.search(r"\{(.*?)\}", capsys.readouterr().out)
    assert listed is not None and sorted(listed[1].split(",")) == sorted(COMMANDS)


def test_the_command_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"pgtoy {pg_agents.__version__}\n"
