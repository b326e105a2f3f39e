"""Restores os.environ after each test of a command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Takes back what is put in `os.environ`: the code under test does, and others.

    `record` chooses what MuJoCo draws with, Dask and submitit say there what their
    workers are to know, and so does what gymnasium_robotics imports.
    """
    with mock.patch.dict(os.environ):
        yield
