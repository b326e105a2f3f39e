"""What lies inside a Gymnasium vector environment: SB3's ways of reaching for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices


class SubEnvironmentAccess(VecEnv):
    """Attributes, methods, options and frames of the environments in a vector one.

    Gymnasium's SyncVectorEnv and AsyncVectorEnv consist of single environments, and it
    is these that are asked. What they don't have, or where there are none, as in
    Gymnasium's CartPole, the vector environment is asked, which stands for all of its
    copies.

    Attributes:
        env: the vector environment; there before this constructor is called.
    """

    env: VectorEnv[Any, Any, Any]

    def set_options(
        self, options: list[dict[str, Any]] | dict[str, Any] | None = None
    ) -> None:
        """Sets the options of the next `reset`, the same for all environments.

        Args:
            options: a dict, or a list of N equal ones.

        Raises:
            ValueError: if they differ: a Gymnasium vector environment takes one dict.
        """
        if isinstance(options, list) and not all(
            data_equivalence(one, options[0]) for one in options
        ):
            raise ValueError(
                "options must be one dict or a list of equal ones, as a Gymnasium "
                f"vector environment takes one for all, got {options}"
            )
        super().set_options(options)

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Returns a frame per environment, `[H, W, 3]` each."""
        if self.render_mode != "rgb_array":
            warnings.warn(
                "get_images() needs environments with render_mode='rgb_array', got "
                f"{self.render_mode!r}",
                stacklevel=2,
            )
            return [None] * self.num_envs
        frames: Any = self.env.render()
        return list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of each environment.

        Args:
            attr_name: its name. AsyncVectorEnv calls it if it is a method.
            indices: of the environments; None for all.

        Returns:
            One value for each index.

        Raises:
            AttributeError: if neither they nor the vector environment have it.
        """
        chosen = self._get_indices(indices)
        base = self.env.unwrapped
        if not self._singles_have(attr_name):
            return [self._find(attr_name) for _ in chosen]
        if isinstance(base, SyncVectorEnv):
            return [base.envs[i].get_wrapper_attr(attr_name) for i in chosen]
        values: Any = base.get_attr(attr_name)  # type: ignore[attr-defined]
        return [values[i] for i in chosen]

    def set_attr(
        self,
        attr_name: str,
        value: Any,  # noqa: ANN401
        indices: VecEnvIndices = None,
    ) -> None:
        """Sets an attribute of each environment.

        Args:
            attr_name: its name.
            value: the same for all.
            indices: of the environments; None for all.

        Raises:
            ValueError: if they are some, where only all can be reached.
        """
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            for i in self._get_indices(indices):
                base.envs[i].set_wrapper_attr(attr_name, value)
            return
        self._check_all(indices)
        if isinstance(base, AsyncVectorEnv):
            # A list: it would take a list of the caller's apart.
            base.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(base, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method of each environment, or that of the vector one, once for all.

        Args:
            method_name: its name.
            *method_args: for the method.
            indices: of the environments; None for all.
            **method_kwargs: for the method.

        Returns:
            One result for each index.

        Raises:
            AttributeError: if neither they nor the vector environment have it.
            ValueError: if `indices` are some, where only all can be reached.
        """
        chosen = list(self._get_indices(indices))
        base = self.env.unwrapped
        there = self._singles_have(method_name)
        if there and isinstance(base, SyncVectorEnv):
            methods = (base.envs[i].get_wrapper_attr(method_name) for i in chosen)
            return [method(*method_args, **method_kwargs) for method in methods]
        self._check_all(indices)
        if there and isinstance(base, AsyncVectorEnv):
            results = base.call(method_name, *method_args, **method_kwargs)
            return [results[i] for i in chosen]
        result = self._find(method_name)(*method_args, **method_kwargs)
        return [result for _ in chosen]

    def env_is_wrapped(
        self,
        wrapper_class: type[Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Says whether each environment is in a wrapper.

        Args:
            wrapper_class: a wrapper of single environments. The answer for Monitor is
                yes, whose results the infos carry.
            indices: of the environments; None for all.

        Returns:
            An answer for each index; no, where there are no single environments.

        Raises:
            NotImplementedError: if they are in other processes.
        """
        chosen = list(self._get_indices(indices))
        base = self.env.unwrapped
        if wrapper_class is Monitor:
            return [True] * len(chosen)
        if isinstance(base, AsyncVectorEnv):
            raise NotImplementedError(
                "AsyncVectorEnv does not say which wrappers its environments are in"
            )
        if not isinstance(base, SyncVectorEnv):
            return [False] * len(chosen)
        singles: list[Env[Any, Any]] = base.envs
        return [is_wrapped(singles[i], wrapper_class) for i in chosen]

    def _singles_have(self, name: str) -> bool:
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            return all(single.has_wrapper_attr(name) for single in base.envs)
        # A worker that is asked for what is not there would end.
        return isinstance(base, AsyncVectorEnv) and all(
            base.call("has_wrapper_attr", name)
        )

    def _find(self, name: str) -> Any:  # noqa: ANN401
        if hasattr(self.env, name):
            return getattr(self.env, name)
        return getattr(self.env.unwrapped, name)

    def _check_all(self, indices: VecEnvIndices) -> None:
        chosen = list(self._get_indices(indices))
        if sorted(chosen) != list(range(self.num_envs)):
            raise ValueError(
                f"indices must be None, for all {self.num_envs} environments, got "
                f"{chosen}: {self.env} has no way to reach some of them only"
            )
