"""The file of results, written after every measurement: a run can be gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Found = dict[str, Any]


class Results:
    """What has been measured, by section and name, in a JSON file.

    Args:
        path: the file; made with the first entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: Found = json.loads(path.read_text()) if path.exists() else {}

    def section(self, name: str) -> Found:
        """Returns a section's entries; empty if there are none."""
        entries: Found = self.found.get(name, {})
        return entries

    def add(self, section: str, name: str, entry: Any) -> None:  # noqa: ANN401
        """Adds an entry, over an older one, and writes the file."""
        self.found.setdefault(section, {})[name] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: a run may be cut off at any moment.
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.found, indent=1) + "\n")
        partial.replace(self._path)
