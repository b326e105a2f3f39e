"""Restores `os.environ` after each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    """`record`, Dask, submitit and gymnasium_robotics set environment variables."""
    with mock.patch.dict(os.environ):
        yield
