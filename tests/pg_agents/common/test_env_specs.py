"""Reward thresholds of registered environments."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import pytest

from pg_agents.common.env_specs import registered_threshold


def test_the_package_of_an_id_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registering_late.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Late-v0', 'registering_late:Env', reward_threshold=3.5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(gymnasium.error.NameNotFound):
        registered_threshold("Late-v0")
    try:
        assert registered_threshold("registering_late:Late-v0") == 3.5
    finally:
        gymnasium.registry.pop("Late-v0", None)
        sys.modules.pop("registering_late", None)


def test_unknown_environments_and_packages_are_errors() -> None:
    with pytest.raises(gymnasium.error.Error, match="Nowhere"):
        registered_threshold("Nowhere-v0")
    with pytest.raises(ImportError, match="no_such_package"):
        registered_threshold("no_such_package:CartPole-v1")
