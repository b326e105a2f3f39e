"""What the tests of rendering share: no window outlives its test."""

from collections.abc import Iterator

import pygame
import pytest


@pytest.fixture(autouse=True)
def no_display_left() -> Iterator[None]:
    pygame.display.quit()
    yield
    pygame.display.quit()
