"""Many copies of CartPole as tensors, on the CPU or a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from pg_envs.cartpole_physics import CartPolePhysics
from pg_envs.state import check_state, column
from pg_envs.torch_device import (
    actions_on,
    generator_data,
    generator_like,
    make_generator,
    mask_on,
)
from pg_envs.vector_arguments import check_count, checked_autoreset_mode

START_BOUND = 0.05
_ROWS = ("x", "x_speed", "theta", "theta_speed")

Results = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]


class TorchCartPoleVectorEnv(VectorEnv[Tensor, Tensor, Tensor]):
    """N copies of Gymnasium's CartPole, stepped at once in float32.

    Observations are float32 `[N, 4]`, rewards float32 `[N]`, `terminated` and
    `truncated` bool `[N]`, all on the device. With SAME_STEP, `infos["final_obs"]` and
    its mask `"_final_obs"` are there in every step, so that no step has to ask the
    device whether an episode has ended.

    Gymnasium computes in float64. Positions that come within a rounding of float32 of a
    limit can therefore end one step earlier or later here than there.

    Args:
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: steps after which an episode is truncated; -1 for never.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `TabularVectorEnv`.
        render_mode: None; there are no pictures.
        sutton_barto_reward: whether a step pays 0, and -1 where the episode terminates,
            instead of 1 in every step.
        check_actions: whether to refuse actions other than 0 and 1. On a GPU this waits
            for the device in every step; without it such an action is undefined.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {"render_modes": [], "torch": True}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        max_episode_steps: int = 500,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        sutton_barto_reward: bool = False,
        check_actions: bool = True,
    ) -> None:
        check_count("num_envs", num_envs)
        if max_episode_steps != -1:
            check_count("max_episode_steps", max_episode_steps)
        if render_mode is not None:
            raise ValueError(
                f"render_mode must be None, CartPole in torch has no pictures, got "
                f"{render_mode!r}"
            )
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = checked_autoreset_mode(autoreset_mode)
        self.render_mode = None
        self.sutton_barto_reward = sutton_barto_reward
        self.check_actions = check_actions
        self.metadata = {
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
            "reset_mask": True,
        }
        single = CartPoleEnv()
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generator = make_generator(self.device)
        self._physics = CartPolePhysics(num_envs, self.device)
        self._elapsed = torch.zeros(num_envs, dtype=torch.int32, device=self.device)
        self._over = torch.zeros_like(self._elapsed)
        self._done = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._was_reset = False
        # A GPU is not waited for; on the CPU it costs nothing to ask who has ended.
        self._may_wait = self.device.type == "cpu"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts an episode in every environment, or in those of a mask.

        Args:
            seed: seeds the one generator of all environments; None goes on with it.
            options: `{"reset_mask": mask}`, `[N]` bool, restarts these environments.

        Returns:
            Observations `[N, 4]` and an empty info.

        Raises:
            ValueError: if the mask is not `[N]` bool.
            ResetNeeded: if there is a mask before the first whole reset.
        """
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = mask_on(self.device, mask, self.num_envs, self._was_reset)
        if seed is not None:
            super().reset(seed=seed)
            self._generator.manual_seed(seed)
        if mask is None:
            mask = torch.ones_like(self._done)
        self._was_reset = True
        self._done &= ~mask
        return self._restarted(mask, self._physics.observations()), {}

    def step(self, actions: Any) -> Results:  # noqa: ANN401
        """Takes one action in every environment.

        Args:
            actions: `[N]` integers, 0 pushes to the left and 1 to the right.

        Returns:
            Observations `[N, 4]`, rewards `[N]`, terminated `[N]` bool, truncated `[N]`
            bool and infos. With SAME_STEP infos has `"final_obs"` `[N, 4]`, what each
            environment saw before any restart, and the mask of those that ended,
            `"_final_obs"` `[N]`.

        Raises:
            ResetNeeded: before the first `reset`.
            InvalidAction: if the actions are not N integers within the action space.
        """
        self._check_was_reset()
        return self.step_unchecked(
            actions_on(self.device, actions, self.num_envs, 2, self.check_actions)
        )

    def step_unchecked(self, actions: Tensor) -> Results:
        """Takes a step as `step` does, with actions that are known to be right.

        For a learner that draws them itself: on a GPU, looking at them would wait for
        the device. What other actions do is undefined.

        Args:
            actions: `[N]` int64, 0 or 1, on the device.

        Returns:
            What `step` returns.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_was_reset()
        terminated = self._physics.advance(actions)
        truncated, rewards = self._truncated(), self._rewards(terminated)
        seen, infos = self._physics.observations(), {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            done = terminated | truncated
            infos = {"final_obs": seen, "_final_obs": done}
            seen = self._restarted(done, seen)
        else:
            # The environments that ended in the last step do nothing but restart.
            seen = self._restarted(self._done, seen)
            live = ~self._done
            terminated, truncated = terminated & live, truncated & live
            rewards *= live
            self._done = terminated | truncated
        return seen, rewards, terminated, truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Returns all that the next steps depend on, as plain data for `set_state`.

        Returns:
            A dict: which environment it is of (`environment`, `num_envs`,
            `max_episode_steps`, `autoreset_mode`, `sutton_barto_reward`, `device`);
            `columns`, by name an array `[N]`, None before `reset`; and `generator`, the
            state of the random number generators.
        """
        columns = dict(zip(_ROWS, self._physics.rows, strict=True))
        columns |= {"elapsed": self._elapsed, "done": self._done}
        plain = {name: values.cpu().numpy().copy() for name, values in columns.items()}
        return {
            **self._identity(),
            "columns": plain if self._was_reset else None,
            "generator": generator_data(self._generator),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on as the environments did of which `get_state` returned `state`.

        Args:
            state: what `get_state` returned, of as many environments of the same kind.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        check_state(state, self._identity(), {"columns", "generator"})
        columns = self._restored(state["columns"])
        trial = generator_like(self._generator, state["generator"])
        # The same object, which a CUDA graph may know.
        self._generator.set_state(trial.get_state())
        self._was_reset = columns is not None
        if columns is not None:
            for name, row in zip(_ROWS, self._physics.rows, strict=True):
                row.copy_(columns[name])
            self._elapsed.copy_(columns["elapsed"])
            self._done.copy_(columns["done"])

    def _identity(self) -> dict[str, Any]:
        return {
            "environment": "CartPole",
            "num_envs": self.num_envs,
            "max_episode_steps": self.max_episode_steps,
            "autoreset_mode": self.autoreset_mode.value,
            "sutton_barto_reward": self.sutton_barto_reward,
            "device": self.device.type,
        }

    def _restored(self, given: Any) -> dict[str, Tensor] | None:  # noqa: ANN401
        if given is None:
            return None
        dtypes: dict[str, type[np.generic]] = dict.fromkeys(_ROWS, np.float32)
        dtypes |= {"elapsed": np.int32, "done": np.bool_}
        check_state(given, {}, set(dtypes))
        columns = {}
        for name, dtype in dtypes.items():
            values = column(name, given[name], self.num_envs, dtype)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"state['columns'][{name!r}] must be finite, got {values.tolist()}"
                )
            columns[name] = torch.as_tensor(values, device=self.device)
        return columns

    def _check_was_reset(self) -> None:
        if not self._was_reset:
            raise ResetNeeded("step() was called before reset(): call reset() first")

    def _rewards(self, terminated: Tensor) -> Tensor:
        if self.sutton_barto_reward:
            return -terminated.float()
        return torch.ones(self.num_envs, device=self.device)

    def _truncated(self) -> Tensor:
        """Counts the step; returns whether the time is over, `[N]` bool."""
        self._elapsed += 1
        if self.max_episode_steps is None:
            return torch.zeros_like(self._done)
        # Several times as fast as a comparison that writes bools.
        torch.ge(self._elapsed, self.max_episode_steps, out=self._over)
        return self._over.bool()

    def _restarted(self, mask: Tensor, seen: Tensor) -> Tensor:
        """Starts an episode in the environments of a mask `[N]` bool.

        Args:
            mask: `[N]` bool, which environments restart.
            seen: `[N, 4]`, what is seen before.

        Returns:
            What is seen after, `[N, 4]`, a fresh tensor.
        """
        rows = self._physics.rows
        ended = mask.nonzero().view(-1) if self._may_wait else None
        n_drawn = self.num_envs if ended is None else len(ended)
        start = torch.empty(n_drawn, 4, device=self.device)
        start.uniform_(-START_BOUND, START_BOUND, generator=self._generator)
        if ended is None:
            rows.copy_(torch.where(mask, start.t(), rows))
            self._elapsed.masked_fill_(mask, 0)
            return torch.where(mask.unsqueeze(1), start, seen)
        rows.index_copy_(1, ended, start.t())
        self._elapsed.index_fill_(0, ended, 0)
        return seen.clone().index_copy_(0, ended, start)
