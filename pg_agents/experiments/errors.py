"""Errors of run folders."""

from __future__ import annotations

from pg_agents.analysis.run_data import DamagedRunError

__all__ = ["DamagedRunError", "FolderBusyError", "OtherRunError"]


class OtherRunError(ValueError):
    """A folder holds the run of another recipe, or one with other settings."""


class FolderBusyError(RuntimeError):
    """Another process, or another thread, works in the folder."""
