"""SB3's access to the sub-environments of a Gymnasium vector environment."""

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
    """Attributes, methods, options and frames of sub-environments.

    Gymnasium's SyncVectorEnv and AsyncVectorEnv consist of single environments, which
    are asked first. For what they lack, and where there are none, as in Gymnasium's
    CartPole, the vector environment answers for all sub-environments.

    Attributes:
        env: the vector environment; set before this constructor is called.
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

        Raises:
            AttributeError: if neither they nor the vector environment have it.
        """
        chosen = self._get_indices(indices)
        base = self.env.unwrapped
        if not self._all_have(attr_name):
            return [self._vector_attr(attr_name) for _ in chosen]
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
        """Sets an attribute of each environment to the same value.

        Args:
            attr_name: its name.
            value: the value.
            indices: of the environments; None for all.

        Raises:
            ValueError: if `indices` are not all of them, unless the environment is a
                SyncVectorEnv.
        """
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            for i in self._get_indices(indices):
                base.envs[i].set_wrapper_attr(attr_name, value)
            return
        self._check_all(indices)
        if isinstance(base, AsyncVectorEnv):
            # As a list: if the value is a list, its items would be distributed.
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
        """Calls a method of each environment, or of the vector environment once.

        Returns:
            One result for each index.

        Raises:
            AttributeError: if neither they nor the vector environment have it.
            ValueError: if `indices` are not all of them, unless the environment is a
                SyncVectorEnv.
        """
        chosen = list(self._get_indices(indices))
        base = self.env.unwrapped
        all_have = self._all_have(method_name)
        if all_have and isinstance(base, SyncVectorEnv):
            methods = (base.envs[i].get_wrapper_attr(method_name) for i in chosen)
            return [method(*method_args, **method_kwargs) for method in methods]
        self._check_all(indices)
        if all_have and isinstance(base, AsyncVectorEnv):
            results = base.call(method_name, *method_args, **method_kwargs)
            return [results[i] for i in chosen]
        result = self._vector_attr(method_name)(*method_args, **method_kwargs)
        return [result for _ in chosen]

    def env_is_wrapped(
        self,
        wrapper_class: type[Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Returns whether each environment is wrapped by a class.

        True for SB3's Monitor, as infos contain the results it adds. False without
        single environments.

        Raises:
            NotImplementedError: if they run in other processes.
        """
        chosen = list(self._get_indices(indices))
        base = self.env.unwrapped
        if wrapper_class is Monitor:
            return [True] * len(chosen)
        if isinstance(base, AsyncVectorEnv):
            raise NotImplementedError(
                "AsyncVectorEnv does not tell which wrappers its environments have"
            )
        if not isinstance(base, SyncVectorEnv):
            return [False] * len(chosen)
        singles: list[Env[Any, Any]] = base.envs
        return [is_wrapped(singles[i], wrapper_class) for i in chosen]

    def _all_have(self, name: str) -> bool:
        """Whether there are single environments and all have an attribute."""
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            return all(single.has_wrapper_attr(name) for single in base.envs)
        # Asking a worker for a missing attribute would end its process.
        return isinstance(base, AsyncVectorEnv) and all(
            base.call("has_wrapper_attr", name)
        )

    def _vector_attr(self, name: str) -> Any:  # noqa: ANN401
        if hasattr(self.env, name):
            return getattr(self.env, name)
        return getattr(self.env.unwrapped, name)

    def _check_all(self, indices: VecEnvIndices) -> None:
        chosen = list(self._get_indices(indices))
        if sorted(chosen) != list(range(self.num_envs)):
            raise ValueError(
                f"indices must be None, for all {self.num_envs} environments, got "
                f"{chosen}: {self.env} can only be accessed as a whole"
            )
