"""The cart and the pole: one step of many of them at once, in place."""

from __future__ import annotations

import math
from typing import Any

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

    Everything is computed in tensors that are made once, and so are the views of them:
    with a thousand environments, calling torch takes as long as computing.

    Reference: Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can
    solve difficult learning control problems"; Florian (2005), "Correct equations for
    the dynamics of the cart-pole system".

    Args:
        num_envs: N.
        device: where the tensors live.

    Attributes:
        rows: `[4, N]` float32: x in metres, x' in metres per second, theta in radians,
            theta' in radians per second; to be changed in place only.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.rows = torch.zeros(4, num_envs, device=device)
        # Not divided by the mass in every step.
        self._pushes = torch.tensor([-FORCE, FORCE], device=device) / TOTAL_MASS
        self._pivot = torch.tensor(HALF_LENGTH * 4.0 / 3.0, device=device)
        self._limits = torch.tensor([[X_LIMIT], [ANGLE_LIMIT]], device=device)
        self._scratch = torch.empty(8, num_envs, device=device)
        self._make_views()

    def _make_views(self) -> None:
        _, _, self._theta, self._theta_speed = self.rows.unbind()
        self._positions, self._velocities = self.rows.view(2, 2, -1).unbind(1)
        # Every quantity has a row, which is written anew in each step.
        self._sin, self._cos, self._temp, self._inertia = self._scratch[:4].unbind()
        self._accelerations = self._scratch[4:6]
        self._cart, self._pole = self._accelerations.unbind()
        self._sizes = self._scratch[6:]
        self._size_x, self._size_theta = self._sizes.unbind()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the views, which a copy would take for tensors of their own."""
        names = ("rows", "_pushes", "_pivot", "_limits", "_scratch")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes the views of the copy."""
        self.__dict__.update(state)
        self._make_views()

    def advance(self, actions: Tensor) -> Tensor:
        """Moves everything on by 0.02 seconds.

        Args:
            actions: `[N]` int64, 0 pushes to the left and 1 to the right.

        Returns:
            Whether the cart has left the track or the pole has fallen, `[N]` bool.
        """
        sin, cos, temp = self._sin, self._cos, self._temp
        torch.sin(self._theta, out=sin)
        torch.cos(self._theta, out=cos)
        torch.index_select(self._pushes, 0, actions, out=temp)
        torch.mul(self._theta_speed, self._theta_speed, out=self._pole)
        temp.addcmul_(self._pole, sin, value=POLE_MASS_LENGTH / TOTAL_MASS)
        ratio = HALF_LENGTH * POLE_MASS / TOTAL_MASS
        torch.addcmul(self._pivot, cos, cos, value=-ratio, out=self._inertia)
        torch.mul(sin, GRAVITY, out=self._pole)
        self._pole.addcmul_(cos, temp, value=-1.0).div_(self._inertia)
        ratio = POLE_MASS_LENGTH / TOTAL_MASS
        torch.addcmul(temp, self._pole, cos, value=-ratio, out=self._cart)
        # The positions first: they move by the velocities of before.
        self._positions.add_(self._velocities, alpha=SECONDS_PER_STEP)
        self._velocities.add_(self._accelerations, alpha=SECONDS_PER_STEP)
        # 1.0 for what is beyond its limit: a comparison is several times as fast when
        # it writes floats, and so is what makes one flag of two.
        torch.abs(self._positions, out=self._sizes)
        torch.gt(self._sizes, self._limits, out=self._sizes)
        return torch.maximum(self._size_x, self._size_theta, out=self._temp).bool()

    def observations(self) -> Tensor:
        """Returns x, x', theta and theta', `[N, 4]` float32, a fresh tensor."""
        seen = self.rows.new_empty(self.rows.shape[1], 4)
        # Written along the rows, in half the time of torch.stack.
        seen.t().copy_(self.rows)
        return seen
