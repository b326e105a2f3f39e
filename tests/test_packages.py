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
import pg_agents.experiments
import pg_envs
from pg_agents.algorithms.actor_critic import ActorCritic
from pg_agents.cli.main import main
from pg_agents.experiments.settings import Settings

ROOT = Path(__file__).parent.parent
TOP = ("pg_agents", "pg_envs")
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in TOP
    for path in (ROOT / top).rglob("__init__.py")
)
# Slow to import, or part of an extra.
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
    """Returns the dotted names in pages, and in backticks in the source."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    for top in TOP:
        for path in (ROOT / top).rglob("*.py"):
            text += "\n".join(re.findall(r"`[^`\n]+`", path.read_text()))
    return sorted(set(re.findall(r"\bpg_(?:agents|envs)(?:\.[A-Za-z_]\w*)+", text)))


def python(program: str, *arguments: str) -> str:
    """Runs a program in a fresh interpreter and returns the last line it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# Resolves each name as the first one: our modules are unloaded in between. Libraries
# stay loaded, since importing them takes seconds.
RESOLVE = """
import importlib, json, sys, warnings
import gymnasium, matplotlib.figure, scipy.stats, stable_baselines3, torch
warnings.simplefilter("ignore")  # ids are registered again
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


def test_documented_names_can_be_imported() -> None:
    names = documented_names()
    assert len(names) > 10
    assert json.loads(python(RESOLVE, json.dumps(names))) == {}


# Importing pg_agents.zoo needs an extra.
@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "pg_agents.zoo"])
def test_public_names_are_unique_and_can_be_imported_and_pickled(package: str) -> None:
    names: dict[str, Any] = {}
    exec(f"from {package} import *", names)
    public = getattr(importlib.import_module(package), "__all__", [])
    assert len(public) == len(set(public))
    assert set(public) <= set(names)
    for name in public:
        if callable(names[name]):
            assert pickle.loads(pickle.dumps(names[name])) is names[name]


@pytest.mark.parametrize("top", TOP)
def test_the_version_is_that_of_the_project(top: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.import_module(top).__version__ == project["version"]


def test_type_checkers_know_lazily_loaded_names() -> None:
    """Checked by mypy, not at run time."""
    assert_type(pg_agents.ActorCritic, type[ActorCritic])
    assert_type(pg_agents.experiments.Settings, type[Settings])
    assert_type(pg_envs.__version__, str)


def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit):
        main(["--help"])
    return re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)


# Prints the heavy libraries that a command has loaded.
LOADED = f"""
import sys
from pg_agents.cli.main import main
loaded = {{}}
import pg_agents
dir(pg_agents)
for command in sys.argv[1:]:
    try:
        main(command.split())
    except SystemExit as end:
        assert not end.code
    for name in {HEAVY!r}:
        if name in sys.modules:
            loaded.setdefault(name, command)
print(loaded)
"""


def test_help_and_listing_commands_load_no_heavy_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    helps = [f"{command} --help" for command in commands(capsys)]
    assert "run --help" in helps
    assert python(LOADED, "--help", "--version", "recipes", *helps) == "{}"


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"pgtoy {pg_agents.__version__}\n"
