"""The base class of all vector environments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pg_envs.mdp import check_choice
from pg_envs.rendering.scene import Scene
from pg_envs.state import check_columns, check_state
from pg_envs.vector.backend import Array, Backend, TorchBackend

if TYPE_CHECKING:
    from pg_envs.rendering.canvas import Canvas

StepResult = tuple[Array, Array, Array, Array, dict[str, Any]]


class BatchedEnv(VectorEnv[Array, Array, Array]):
    """N copies of an environment, stepped together as arrays of one backend.

    This class does everything that the environments have in common: arguments and their
    checks, seeding, reset masks, time limits, autoreset, rendering, and saving and
    restoring the state. An environment implements

    - `_start(mask)`, which starts episodes;
    - `_transition(actions)`, which moves all copies by one step;
    - `_end_step(ended)`, if restarting within a step is more than `_start`;
    - `_observe()`, which returns the observations;
    - `_columns()` and `_set_columns(columns)`, its own part of the state;
    - `_scene(i)`, the picture of one copy, if it has pictures.

    Args:
        backend: NumPy or torch.
        observation_space: of one copy.
        action_space: of one copy.
        num_envs: N, at least 1.
        max_episode_steps: time limit, after which an episode is truncated; None or -1
            for none.
        autoreset_mode: `SAME_STEP`: an episode that ends restarts within the same step,
            and `infos["final_obs"]` holds its last observation. `NEXT_STEP`: it
            restarts in the next step, which ignores the action and has reward 0.
        render_mode: None, or one of `metadata["render_modes"]`.
        check_actions: whether `step` refuses actions outside the space. On a GPU the
            check synchronises with the device in every step; without it, the result of
            such an action is undefined.

    Attributes:
        backend: NumPy or torch.
        device: of a torch backend, where the tensors live.
        max_episode_steps: the time limit, None for none.
        autoreset_mode: the mode as a member of the enumeration.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        backend: Backend,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        num_envs: int,
        max_episode_steps: int | None,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
        check_actions: bool = True,
    ) -> None:
        _check_count("num_envs", num_envs)
        if max_episode_steps not in (None, -1):
            _check_count("max_episode_steps", max_episode_steps)
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        self.backend = backend
        self.num_envs = num_envs
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = _checked_autoreset_mode(autoreset_mode)
        self.render_mode = render_mode
        self.check_actions = check_actions
        # With `reset_mask`, reset(options={"reset_mask": mask}) restarts some of the
        # environments, which lets an adapter turn NEXT_STEP into SAME_STEP.
        self.metadata = {
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
            "reset_mask": True,
        }
        if isinstance(backend, TorchBackend):
            self.metadata["torch"] = True
            self.device = backend.device
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._n_actions = int(action_space.n)  # type: ignore[attr-defined]
        self._was_reset = False
        # Steps of the episode; and with NEXT_STEP, whether it ended in the last step.
        self._elapsed: Array = self._zeros(np.int64)
        self._done: Array = self._zeros(np.bool_)
        # For the pictures, so only with a render mode: the last step and the sum of the
        # rewards of the episode.
        self._last_actions: Array = self._zeros(np.int64)
        self._last_rewards: Array = self._zeros(np.float64)
        self._last_terminated: Array = self._zeros(np.bool_)
        self._returns: Array = self._zeros(np.float64)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every environment, or in those of a mask.

        Args:
            seed: seeds the one generator of all environments; None leaves it as it is.
                On NumPy also a sequence of R seeds, R a divisor of N: then each of R
                groups of N / R environments in a row has a generator of its own, and
                does exactly what N / R environments with its seed do alone.
            options: `{"reset_mask": mask}`, `[N]` bool, restarts these environments.

        Returns:
            Observations `[N, ...]` and an empty info.

        Raises:
            ValueError: if the mask is not `[N]` bool, or `seed` a wrong sequence.
            ResetNeeded: if there is a mask before the first full reset.
        """
        mask = (options or {}).get("reset_mask")
        mask = np.ones(self.num_envs, np.bool_) if mask is None else self._checked(mask)
        if isinstance(seed, Sequence | np.ndarray):
            self.backend.seed(self._checked_seeds(seed))
        elif seed is not None:
            # Checks the seed, with Gymnasium's own message.
            super().reset(seed=seed)
            self.backend.seed([seed])
        mask = self.backend.array(mask)
        self._was_reset = True
        self._done = self._done & ~mask
        self._clear_episodes(mask)
        self._start(mask)
        return self._observe(), {}

    def step(self, actions: Any) -> StepResult:  # noqa: ANN401
        """Takes one action in every environment.

        Args:
            actions: `[N]` integers within the action space.

        Returns:
            Observations `[N, ...]`, rewards `[N]`, terminated `[N]` bool, truncated
            `[N]` bool and infos. With SAME_STEP, infos has `"final_obs"` `[N, ...]`,
            the observations before any restart, and `"_final_obs"` `[N]`, the mask of
            the episodes that ended: on torch in every step, which saves asking the
            device, on NumPy in steps in which an episode ends.

        Raises:
            ResetNeeded: before the first `reset`.
            InvalidAction: if the actions are not N integers within the action space.
        """
        self._check_was_reset("step() was called before reset(): call reset() first")
        array, is_integer = self.backend.actions(actions)
        if array.shape != (self.num_envs,) or not is_integer:
            raise InvalidAction(
                f"actions must be {self.num_envs} integers, one per environment, got "
                f"shape {list(array.shape)} of {array.dtype}"
            )
        if self.check_actions and self._is_outside(array).any():
            raise InvalidAction(
                f"actions must be integers from 0 to {self._n_actions - 1}, got "
                f"{int(array.min())} to {int(array.max())}"
            )
        return self.step_unchecked(array)

    def step_unchecked(self, actions: Array) -> StepResult:
        """Takes a step without checking the actions, for learners that draw them.

        Args:
            actions: `[N]` int64 within the action space, on the device. The result of
                other actions is undefined.

        Returns:
            What `step` returns.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_was_reset("step() was called before reset(): call reset() first")
        rewards, terminated = self._transition(actions)
        self._elapsed = self._elapsed + 1
        truncated = self._elapsed >= (self.max_episode_steps or np.inf)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        if not same_step:
            # For the environments that ended in the last step, this is a dummy step.
            live = ~self._done
            rewards, terminated = rewards * live, terminated & live
            truncated = truncated & live
        if self.render_mode is not None:
            # Copies: the caller owns the actions and the results.
            self._last_actions = actions * 1
            self._last_rewards = rewards * 1.0
            self._last_terminated = terminated & True
            self._returns = self._returns + rewards
        done, infos = terminated | truncated, {}
        if same_step:
            obs = self._observe()
            self._restart(done)
            if self.backend.is_torch or done.any():
                infos = {"final_obs": obs, "_final_obs": done}
                obs = self._observe()
        else:
            self._restart(self._done)
            self._done = done
            obs = self._observe()
        return obs, self.backend.rewards(rewards), terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Returns N frames, `[H, W, 3]` uint8 each; None without a render mode."""
        if self.render_mode is None:
            return None
        self._check_was_reset("render() was called before reset(): nothing to draw yet")
        scenes = (self._scene(i) for i in range(self.num_envs))
        return tuple(self.canvas.rgb_array(scene) for scene in scenes)

    @cached_property
    def canvas(self) -> Canvas:
        """Draws the frames, off screen."""
        # Imported here, so that training does not load pygame.
        from pg_envs.rendering.canvas import Canvas

        return Canvas(caption=type(self).__name__, fps=1)

    def get_state(self) -> dict[str, Any]:
        """Returns everything that the next steps depend on, as plain data.

        Returns:
            A dict: the kind of environment and the arguments that `set_state` compares
            (`environment`, `num_envs`, `max_episode_steps`, `autoreset_mode`, `device`
            and more); `columns`, arrays by name, None before `reset`; and `generator`,
            the state of the random number generator, or a list of those of R. What only
            pictures show is 0 without a render mode.
        """
        columns = {
            name: self.backend.to_numpy(array)
            for name, array in {**self._shared_columns(), **self._columns()}.items()
        }
        return {
            **self._identity(),
            "columns": columns if self._was_reset else None,
            "generator": self.backend.generator_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; the steps that follow are the same.

        Args:
            state: from environments of the same kind, number and arguments.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        check_state(state, self._identity(), {"columns", "generator"})
        columns = state["columns"]
        if columns is not None:
            present = {**self._shared_columns(), **self._columns()}
            templates = {k: self.backend.to_numpy(v) for k, v in present.items()}
            columns = check_columns(columns, templates, self._column_bounds())
        # The last call that may raise.
        self.backend.set_generator_state(state["generator"], self.num_envs)
        self._was_reset = columns is not None
        if columns is not None:
            arrays = {name: self.backend.array(c) for name, c in columns.items()}
            for name in self._shared_columns():
                setattr(self, f"_{name}", arrays.pop(name))
            self._set_columns(arrays)

    def _identity(self) -> dict[str, Any]:
        """Returns the parts of the state that have to be equal."""
        return {
            "environment": type(self).__name__.removeprefix("Torch"),
            "num_envs": self.num_envs,
            "max_episode_steps": self.max_episode_steps,
            "autoreset_mode": self.autoreset_mode.value,
            "device": self.backend.device_type,
        }

    def _shared_columns(self) -> dict[str, Array]:
        return {
            "elapsed": self._elapsed,
            "done": self._done,
            "last_actions": self._last_actions,
            "last_rewards": self._last_rewards,
            "last_terminated": self._last_terminated,
            "returns": self._returns,
        }

    def _restart(self, ended: Array) -> None:
        self._clear_episodes(ended)
        self._end_step(ended)

    def _clear_episodes(self, mask: Array) -> None:
        self._elapsed = self._elapsed * ~mask
        if self.render_mode is not None:
            self._returns = self._returns * ~mask

    def _zeros(self, dtype: type[np.generic]) -> Array:
        return self.backend.array(np.zeros(self.num_envs, dtype))

    def _is_outside(self, actions: Array) -> Array:
        return (actions < 0) | (actions >= self._n_actions)

    def _check_was_reset(self, message: str) -> None:
        if not self._was_reset:
            raise ResetNeeded(message)

    def _checked(self, reset_mask: Any) -> Array:  # noqa: ANN401
        self._check_was_reset("reset_mask was given before the first full reset()")
        mask = self.backend.to_numpy(reset_mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"reset_mask must be [{self.num_envs}] bool, got {list(mask.shape)} "
                f"{mask.dtype}"
            )
        return mask

    def _checked_seeds(self, seeds: Sequence[int] | NDArray[Any]) -> list[int]:
        found = seeds.tolist() if isinstance(seeds, np.ndarray) else list(seeds)
        are_seeds = all(type(seed) is int and seed >= 0 for seed in found)
        if not found or self.num_envs % len(found) or not are_seeds:
            raise ValueError(
                "seed must be an integer >= 0 or a sequence of R of them, R a divisor "
                f"of num_envs={self.num_envs}, got {len(found)}: {seeds!r}"
            )
        return found

    # What an environment implements.

    def _start(self, mask: Array) -> None:
        """Starts an episode in the environments of a mask `[N]` bool."""
        raise NotImplementedError

    def _transition(self, actions: Array) -> tuple[Array, Array]:
        """Moves all environments by one step; returns rewards and terminated, `[N]`.

        Where `self._done` is true, in a dummy step, the result is discarded.
        """
        raise NotImplementedError

    def _end_step(self, ended: Array) -> None:
        """Restarts the environments of a mask, which may be empty, in every step."""
        self._start(ended)

    def _observe(self) -> Array:
        """Returns the observations, `[N, ...]`, as a fresh array."""
        raise NotImplementedError

    def _columns(self) -> dict[str, Array]:
        """Returns the environment's own arrays, by name, `[N, ...]` each."""
        raise NotImplementedError

    def _set_columns(self, columns: dict[str, Array]) -> None:
        """Takes arrays as `_columns` returns, checked and copied."""
        raise NotImplementedError

    def _column_bounds(self) -> dict[str, tuple[int, int]]:
        """Returns for columns of whole numbers the lowest and the highest one."""
        return {"last_actions": (0, self._n_actions - 1)}

    def _scene(self, i: int) -> Scene:
        """Returns the picture of environment i."""
        raise NotImplementedError


def _check_count(name: str, value: object) -> None:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < 1:  # type: ignore[operator]
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def _checked_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    accepted = {m.value: m for m in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)}
    found = accepted.get(mode.value if isinstance(mode, AutoresetMode) else mode)
    if found is None:
        raise ValueError(
            f"autoreset_mode must be one of {', '.join(accepted)}, got {mode!r}"
        )
    return found
