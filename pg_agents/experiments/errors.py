"""What is wrong with the folder of a run, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class DamagedRunError(ValueError):
    """A file of a run is missing, cut off, damaged or edited.

    Args:
        path: the file.
        what: what is wrong with it, in words that follow its name.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} {what}: the run can't be trusted; delete the folder {path.parent} "
            "and run it again"
        )
        self.path, self.what = path, what

    def __reduce__(self) -> tuple[type[DamagedRunError], tuple[Path, str]]:
        """So that it comes whole out of another process."""
        return type(self), (self.path, self.what)


class OtherRunError(ValueError):
    """A folder holds another recipe's run, or one of other settings."""
