"""Memory that the process keeps when arrays are freed."""

from __future__ import annotations

from functools import cache

import numpy as np

# The largest block that glibc adapts its thresholds to is one of 32 MiB.
_LARGEST = 2**25 - 2**16


@cache
def keep_freed_memory() -> None:
    """Makes glibc keep up to 64 MiB of freed memory for the next allocations.

    Without it, the activations of a rollout with 1,024 environments can be returned to
    the operating system after each update, and be mapped, filled with zeros and
    page-faulted again in the next: that takes a third of the time.

    glibc sets its thresholds itself, by the largest block that is freed: an array that
    is never written to, and takes no memory, raises them. Other allocators ignore it.

    Reference: mallopt(3), M_MMAP_THRESHOLD, "dynamic mmap threshold".
    """
    np.empty(_LARGEST, dtype=np.uint8)
