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
from types import ModuleType
from typing import Any, assert_type

import pytest

import pg_agents
import pg_agents.experiments
import pg_agents.plots
import pg_envs
from pg_agents.actor_critic import ActorCritic
from pg_agents.checker.check import check_policy_gradient
from pg_agents.cli import main
from pg_agents.experiments.settings import Settings
from pg_agents.plots.files import save_figure
from pg_envs.make_torch import make_torch_vec

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


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_lists_the_public_names_and_no_others(package: str) -> None:
    found = importlib.import_module(package)
    listed = [name for name in dir(found) if not name.startswith("_")]
    public = {*getattr(found, "__all__", ()), *modules_of(package)}
    assert listed == sorted(public)
    rest = set(dir(found)) - public
    assert {"__doc__", "__name__", "__path__"} <= rest
    assert all(name.startswith("__") for name in rest)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_dir_lists_is_there(package: str) -> None:
    found = importlib.import_module(package)
    # These import rl_zoo3, which is an extra.
    extra = {"manager", "rl_zoo"} if package == "pg_agents.zoo" else set()
    for name in set(dir(found)) - extra:
        assert hasattr(found, name), name
    # Importing a module makes it an attribute, which must not hide a public name.
    for name in modules_of(package) - extra:
        importlib.import_module(f"{package}.{name}")
    for name in getattr(found, "__all__", ()):
        assert not isinstance(getattr(found, name), ModuleType), name


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_not_there_is_no_attribute(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.import_module(package)
    # A test may have imported a command.
    monkeypatch.delattr(found, "__main__", raising=False)
    for name in ("nothing", "_private", "__wrapped__", "__main__", "no.module"):
        with pytest.raises(AttributeError, match=f"'{package}' has no attribute"):
            getattr(found, name)


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


def test_both_packages_load_late_in_the_same_way() -> None:
    texts = {(ROOT / top / "lazy.py").read_text() for top in TOP}
    assert len(texts) == 1


def test_a_library_that_is_missing_is_no_missing_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `hasattr` would hide what to install."""
    folder = tmp_path / "late_example"
    folder.mkdir()
    package = "from pg_agents.lazy import load_lazily\nload_lazily(__name__)\n"
    (folder / "__init__.py").write_text(package)
    (folder / "needy.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    example = importlib.import_module("late_example")
    try:
        assert "needy" in dir(example)
        with pytest.raises(ModuleNotFoundError, match="no_such_library"):
            hasattr(example, "needy")
    finally:
        del sys.modules["late_example"]


def test_type_checkers_see_what_is_loaded_late() -> None:
    """That mypy agrees is what is tested."""
    assert_type(pg_agents.ActorCritic, type[ActorCritic])
    assert_type(pg_agents.experiments.Settings, type[Settings])
    assert_type(pg_agents.__version__, str)
    assert pg_agents.check_policy_gradient is check_policy_gradient
    assert pg_agents.plots.save_figure is save_figure
    assert pg_envs.make_torch_vec is make_torch_vec


LOADED = f"""
import sys
if sys.argv[1] == "import":
    import pg_agents
    dir(pg_agents)
else:
    from pg_agents.cli import main
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
