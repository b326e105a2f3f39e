"""N copies of CartPole, stepped together on NumPy or torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.vector import AutoresetMode

from pg_envs.vector.backend import Array, Backend, NumpyBackend, TorchBackend
from pg_envs.vector.base import BatchedEnv

if TYPE_CHECKING:
    import torch

# The constants of Gymnasium's CartPoleEnv.
GRAVITY = 9.8
MASSPOLE = 0.1
TOTAL_MASS = 1.0 + MASSPOLE
LENGTH = 0.5  # Half the length of the pole.
POLEMASS_LENGTH = MASSPOLE * LENGTH
FORCE_MAG = 10.0
TAU = 0.02  # Seconds between steps.
X_THRESHOLD = 2.4
THETA_THRESHOLD_RADIANS = 12 * 2 * math.pi / 360
START_BOUND = 0.05


def cartpole_step(
    backend: Backend, state: Array, actions: Array
) -> tuple[Array, Array]:
    """Moves carts and poles by 0.02 seconds, by Euler's method.

    Reference: Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can
    solve difficult learning control problems"; Florian (2005), "Correct equations for
    the dynamics of the cart-pole system".

    Args:
        backend: NumPy or torch.
        state: `[N, 4]`, float32 or float64: x in metres, x_dot in metres per second,
            theta in radians, theta_dot in radians per second.
        actions: `[N]` integers, 0 pushes to the left and 1 to the right.

    Returns:
        The next state, and whether the cart has left the track or the pole has fallen,
        `[N]` bool.
    """
    xp = backend.xp
    _, x_dot, theta, theta_dot = state.T
    force = xp.where(actions == 1, FORCE_MAG, -FORCE_MAG)
    costheta, sintheta = xp.cos(theta), xp.sin(theta)
    temp = (force + POLEMASS_LENGTH * theta_dot**2 * sintheta) / TOTAL_MASS
    thetaacc = (GRAVITY * sintheta - costheta * temp) / (
        LENGTH * (4.0 / 3.0 - MASSPOLE * costheta**2 / TOTAL_MASS)
    )
    xacc = temp - POLEMASS_LENGTH * thetaacc * costheta / TOTAL_MASS
    state = state + TAU * backend.stack([x_dot, xacc, theta_dot, thetaacc])
    x, _, theta, _ = xp.abs(state).T
    return state, (x > X_THRESHOLD) | (theta > THETA_THRESHOLD_RADIANS)


class CartPoleVectorEnv(BatchedEnv):
    """N copies of Gymnasium's CartPole on NumPy, in float64.

    With the same seed it equals Gymnasium's `CartPoleVectorEnv` bit for bit, and adds
    what `BatchedEnv` has, such as both modes of autoreset and saved states. It is made
    by `pg_envs.make_numpy_vec("CartPole-v1", num_envs)`; `make_torch_vec` makes the
    same on a GPU.

    Action Space:
        `MultiDiscrete` of N times 2 actions: 0 pushes the cart to the left, 1 to the
        right.

    Observation Space:
        `[N, 4]` float32:

        - 0: x, position of the cart, in metres;
        - 1: its velocity, in metres per second;
        - 2: theta, angle of the pole from the vertical, in radians;
        - 3: its angular velocity, in radians per second.

    Rewards:
        `[N]` float64: 1 in every step. With `sutton_barto_reward`, 0 in every step and
        -1 in the one that terminates the episode.

    Starting State:
        Each of the four numbers is uniform on [-0.05, 0.05).

    Episode End:
        Terminated where `|x| > 2.4` or `|theta|` is above 12 degrees; truncated after
        `max_episode_steps`.

    Arguments:
        num_envs: N, at least 1.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None; there are no pictures.
        sutton_barto_reward: which rewards, see above.
        backend: the array library; NumPy by default.
        check_actions: whether `step` refuses actions other than 0 and 1.

    Version History:
        v1: as Gymnasium's `CartPole-v1`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 500,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        sutton_barto_reward: bool = False,
        *,
        backend: Backend | None = None,
        check_actions: bool = True,
    ) -> None:
        single = CartPoleEnv()
        super().__init__(
            backend or NumpyBackend(),
            single.observation_space,
            single.action_space,
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            check_actions,
        )
        self.sutton_barto_reward = sutton_barto_reward
        dtype = np.float32 if self.backend.is_torch else np.float64
        self._state = self.backend.array(np.zeros((num_envs, 4), dtype))

    def _start(self, mask: Array) -> None:
        rows = self.backend.rows(mask)
        if len(rows) > 0:
            self.backend.put(self._state, rows, self._draw_starts(rows))

    def _draw_starts(self, rows: Array) -> Array:
        """Returns states `[n, 4]` for n environments, uniform on [-0.05, 0.05)."""
        draws = self.backend.uniform(4, self.num_envs, rows)
        return (2.0 * START_BOUND * draws - START_BOUND).T

    def _transition(self, actions: Array) -> tuple[Array, Array]:
        self._state, terminated = cartpole_step(self.backend, self._state, actions)
        if self.sutton_barto_reward:
            return -1.0 * terminated, terminated
        return self.backend.xp.ones_like(self._state[:, 0]), terminated

    def _observe(self) -> Array:
        return self.backend.float32(self._state)

    def _identity(self) -> dict[str, Any]:
        scheme = {"sutton_barto_reward": self.sutton_barto_reward}
        return {**super()._identity(), **scheme}

    def _columns(self) -> dict[str, Array]:
        return {"state": self._state}

    def _set_columns(self, columns: dict[str, Array]) -> None:
        self._state = columns["state"]


class TorchCartPoleVectorEnv(CartPoleVectorEnv):
    """N copies of Gymnasium's CartPole as tensors on one device, in float32.

    Gymnasium computes in float64: a position that comes within a rounding of float32 of
    a limit can end an episode one step earlier or later here.

    Action Space:
        `[N]` int64: 0 pushes the cart to the left, 1 to the right.

    Observation Space:
        `[N, 4]` float32: x, x_dot, theta, theta_dot.

    Rewards:
        `[N]` float32, see `CartPoleVectorEnv`.

    Episode End:
        Terminated where `|x| > 2.4` or `|theta| > 12` degrees; truncated after
        `max_episode_steps`.

    Arguments:
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None; there are no pictures.
        sutton_barto_reward: which rewards, see `CartPoleVectorEnv`.
        check_actions: whether `step` refuses actions outside the space, for which it
            synchronises with a GPU in every step.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    backend: TorchBackend

    def __init__(
        self,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        max_episode_steps: int | None = 500,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        sutton_barto_reward: bool = False,
        check_actions: bool = True,
    ) -> None:
        super().__init__(
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            sutton_barto_reward,
            backend=TorchBackend(device),
            check_actions=check_actions,
        )

    def _draw_starts(self, rows: Array) -> Array:
        # In single precision, which a device draws much faster.
        state = self._state.new_empty(len(rows), 4)
        return state.uniform_(
            -START_BOUND, START_BOUND, generator=self.backend.generator
        )
