"""Numbers that are not finite (NaN or infinite) stop the training with an error."""

from __future__ import annotations


class NonFiniteError(ValueError):
    """A number that must be finite is NaN or infinite."""
