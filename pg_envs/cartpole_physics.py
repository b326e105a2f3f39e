"""The cart and the pole: one step of many of them at once, in place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GRAVITY = 9.8
POLE_MASS = 0.1
TOTAL_MASS = 1.0 + POLE_MASS
HALF_LENGTH = 0.5
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
FORCE = 10.0
SECONDS_PER_STEP = 0.02
X_LIMIT = 2.4
ANGLE_LIMIT = 12 * 2 * math.pi / 360


class CartPolePhysics:
    """How N carts with poles move, as those of Gymnasium's `CartPoleEnv` (Euler).

    With `m` the mass of the pole, `M` that of both, `l` half the length of the pole:

        temp   = (force + m l theta'^2 sin(theta)) / M
        theta" = (g sin(theta) - cos(theta) temp) / (l (4/3 - m cos(theta)^2 / M))
        x"     = temp - m l theta" cos(theta) / M

    Everything is computed in tensors that are made once. Positions and velocities stand
    together, so that one operation moves both.

    Reference: Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can
    solve difficult learning control problems"; Florian (2005), "Correct equations for
    the dynamics of the cart-pole system".

    Args:
        num_envs: N.
        device: where the tensors live.

    Attributes:
        rows: `[4, N]` float32: x in metres, theta in radians, x' and theta' per second.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.rows = torch.zeros(4, num_envs, device=device)
        # Of every quantity a row that is written anew in each step.
        self._acceleration = torch.empty(2, num_envs, device=device)
        self._scratch = torch.empty(5, num_envs, device=device)
        self._sizes = torch.empty(2, num_envs, device=device)
        # Not divided by the mass in every step.
        self._pushes = torch.tensor([-FORCE, FORCE], device=device) / TOTAL_MASS
        self._pivot = torch.tensor(HALF_LENGTH * 4.0 / 3.0, device=device)
        self._limits = torch.tensor([[X_LIMIT], [ANGLE_LIMIT]], device=device)

    def advance(self, actions: Tensor) -> Tensor:
        """Moves everything on by 0.02 seconds.

        Args:
            actions: `[N]` int64, 0 pushes to the left and 1 to the right.

        Returns:
            Whether the cart has left the track or the pole has fallen, `[N]` bool.
        """
        theta, speed = self.rows[1], self.rows[3]
        sin, cos, temp, inertia, product = self._scratch
        torch.sin(theta, out=sin)
        torch.cos(theta, out=cos)
        torch.index_select(self._pushes, 0, actions, out=temp)
        torch.mul(speed, speed, out=product)
        temp.addcmul_(product, sin, value=POLE_MASS_LENGTH / TOTAL_MASS)
        ratio = HALF_LENGTH * POLE_MASS / TOTAL_MASS
        torch.addcmul(self._pivot, cos, cos, value=-ratio, out=inertia)
        cart, pole = self._acceleration
        torch.mul(sin, GRAVITY, out=pole)
        pole.addcmul_(cos, temp, value=-1.0).div_(inertia)
        ratio = POLE_MASS_LENGTH / TOTAL_MASS
        torch.addcmul(temp, pole, cos, value=-ratio, out=cart)
        # The positions first: they move by the velocities of before.
        self.rows[:2].add_(self.rows[2:], alpha=SECONDS_PER_STEP)
        self.rows[2:].add_(self._acceleration, alpha=SECONDS_PER_STEP)
        torch.abs(self.rows[:2], out=self._sizes)
        beyond = self._sizes > self._limits
        return beyond[0] | beyond[1]

    def observations(self) -> Tensor:
        """Returns x, x', theta and theta', `[N, 4]` float32, a fresh tensor."""
        return self.rows.view(2, 2, -1).permute(2, 1, 0).reshape(-1, 4)
