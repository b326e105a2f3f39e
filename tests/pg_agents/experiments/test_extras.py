"""What is missing is named, with the line that installs it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from pg_agents.experiments import extras
from pg_agents.experiments.extras import EXTRAS, require_extra

ROOT = Path(__file__).parents[3]


def test_they_are_extras_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert EXTRAS.keys() <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_a_missing_package_is_named_with_its_pip_line(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, name, None)
    missing = " and ".join(EXTRAS[extra])
    with pytest.raises(ModuleNotFoundError) as caught:
        require_extra(extra, "recipe x")
    expected = f'recipe x needs {missing}: pip install "pgtoy[{extra}]"'
    assert str(caught.value) == expected


def test_what_is_there_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra(None, "recipe x")
    monkeypatch.setitem(extras.EXTRAS, "video", ("json", "csv"))
    require_extra("video", "recipe x")
    with pytest.raises(ValueError, match=r"extra must be one of .*, got 'vidoe'"):
        require_extra("vidoe", "recipe x")
