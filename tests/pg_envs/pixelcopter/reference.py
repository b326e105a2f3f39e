"""Pixelcopter written out plainly, in the order of the original game.

Written from PLE's source, independently of `pg_envs`: rectangles are pygame's, and
everything that moves is an object. The implementations are compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pygame

SIDE = 48
SPEED = 0.0004 * SIDE
STEP = 1000.0 / 30

Draws = Callable[[str, int], list[float]]
"""Kind (`"block"` or `"terrain"`) and number to uniform draws on [0, 1)."""


class Thing:
    """A sprite: a float position, and a rectangle of whole pixels around it."""

    def __init__(self, x: float, y: float, width: float, height: float) -> None:
        self.x, self.y = x, y
        self.rect = pygame.Surface((width, height)).get_rect()
        self.move(0.0)

    def move(self, left: float) -> None:
        self.x -= left
        self.rect.center = (self.x, self.y)


class Reference:
    """The game; `draws` provides the random numbers."""

    def __init__(self, draws: Draws, loss: float = -5.0) -> None:
        self.draws, self.loss = draws, loss
        self.reset()

    def reset(self) -> None:
        self.momentum, self.score, self.lives = 0.0, 0.0, 1
        self.player = Thing(int(SIDE * 0.35), SIDE / 2, SIDE * 0.05, SIDE * 0.05)
        self.blocks: list[Thing] = []
        self.columns: list[Thing] = []
        self.add_columns(0)
        self.add_block()

    def add_block(self) -> None:
        u = self.draws("block", 2)
        x, y = 48 + int(24 * u[0]), 12 + int(24 * u[1])
        self.blocks.append(Thing(x, y, int(SIDE * 0.1), int(SIDE * 0.2)))

    def add_columns(self, start: int) -> None:
        first, *others = self.draws("terrain", 49)
        frequency = 4.5 / SIDE - 0.01 + 0.02 * first
        for i, u in enumerate(others):
            x = start + 2 + 4 * i
            y = int(SIDE / 2 + SIDE * 0.125 * math.sin(frequency * x + 0.5 * u))
            self.columns.append(Thing(x, y, int(SIDE * 0.1), SIDE * 1.5))

    def step(self, action: int) -> tuple[float, bool]:
        before, player = self.score, self.player
        push = SPEED * -0.875 if action == 0 else SPEED * 0.09
        self.momentum += push * STEP
        self.momentum *= 0.99
        player.y += self.momentum
        player.move(0.0)
        for thing in (*self.blocks, *self.columns):
            thing.move(SPEED * STEP)
        self.lives -= sum(player.rect.colliderect(b.rect) for b in self.blocks)
        for column in self.touched():
            self.lives -= player.y - SIDE * 0.05 <= column.y - SIDE * 0.25
            self.lives -= player.y >= column.y + SIDE * 0.25
        self.replace()
        self.lives -= player.y < SIDE * 0.125
        self.lives -= player.y > SIDE * 0.875
        if len(self.columns) <= 13:
            self.add_columns(SIDE)
        if self.lives <= 0:
            self.score += self.loss
        return self.score - before, self.lives <= 0

    def replace(self) -> None:
        for block in list(self.blocks):
            if block.x <= self.player.x and len(self.blocks) == 1:
                self.score += 1.0
                self.add_block()
            if block.x <= -block.rect.width:
                self.blocks.remove(block)
        for column in list(self.columns):
            if column.x <= -column.rect.width:
                self.score += 1.0
                self.columns.remove(column)

    def touched(self) -> list[Thing]:
        return [c for c in self.columns if self.player.rect.colliderect(c.rect)]

    def observation(self) -> list[float]:
        y, column = self.player.y, self.touched()[0]
        ahead = [b for b in self.blocks if b.x > self.player.x]
        block = min(ahead, key=lambda b: b.x)
        return [
            y,
            self.momentum,
            y - (column.y - SIDE * 0.25),
            column.y + SIDE * 0.25 - y,
            block.x - self.player.x,
            block.y,
            block.y + int(SIDE * 0.2),
        ]
