"""Errors of run folders."""

from __future__ import annotations

from pathlib import Path


class DamagedRunError(ValueError):
    """A file of a run is missing, truncated, damaged or edited.

    Args:
        path: the file.
        what: what is wrong with it, as the end of a sentence that begins with `path`.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} {what}: the run can't be trusted; delete the folder {path.parent} "
            "and run it again"
        )
        self.path, self.what = path, what

    def __reduce__(self) -> tuple[type[DamagedRunError], tuple[Path, str]]:
        """Supports pickling, for errors raised in worker processes."""
        return type(self), (self.path, self.what)


class OtherRunError(ValueError):
    """A folder holds the run of another recipe, or one with other settings."""


class FolderBusyError(RuntimeError):
    """Another process, or another thread, works in the folder."""
