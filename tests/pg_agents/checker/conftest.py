"""Names of formulas do not depend on how busy the machine is that runs the tests."""

from __future__ import annotations

import pytest

from pg_agents.checker import identify


@pytest.fixture(autouse=True)
def patient_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the search for a formula ten times its usual limit of CPU time."""
    monkeypatch.setattr(identify, "MAX_SECONDS", 60.0)
