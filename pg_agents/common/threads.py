"""One thread for products of small matrices, which more threads slow down."""

from __future__ import annotations

from collections.abc import MutableMapping

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def default_to_one_thread(environment: MutableMapping[str, str]) -> None:
    """Makes BLAS and OpenMP use one thread in processes with an environment.

    Numbers of threads that the user has set stay. In the own process it has an effect
    before NumPy is imported.
    """
    for name in _VARIABLES:
        environment.setdefault(name, "1")
