"""Makes vector environments on NumPy or on a torch device from registered ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from pg_envs.pixelcopter import (
    PixelcopterEnv,
    PixelcopterVectorEnv,
    TorchPixelcopterVectorEnv,
)
from pg_envs.tabular import TabularEnv
from pg_envs.toy_text import mdp_from_env
from pg_envs.vector.cartpole import CartPoleVectorEnv, TorchCartPoleVectorEnv
from pg_envs.vector.tabular import TabularVectorEnv, TorchTabularVectorEnv

T = TypeVar("T")
C = TypeVar("C")
P = TypeVar("P")


def make_numpy_vec(
    id: str | EnvSpec,
    num_envs: int,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    check_actions: bool = True,
    **arguments: Any,
) -> TabularVectorEnv | CartPoleVectorEnv | PixelcopterVectorEnv:
    """Makes N copies of a registered environment on NumPy.

    It accepts what `make_torch_vec` accepts, with the same arguments and errors. Of
    CartPole and toy text, `gymnasium.make_vec` makes environments that have neither
    groups with seeds of their own nor saved states.
    """
    kinds = TabularVectorEnv, CartPoleVectorEnv, PixelcopterVectorEnv
    options = (autoreset_mode, render_mode, check_actions)
    return _make(kinds, (num_envs,), id, options, arguments)


def make_torch_vec(
    id: str | EnvSpec,
    num_envs: int,
    device: torch.device | str = "cpu",
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    check_actions: bool = True,
    **arguments: Any,
) -> TorchTabularVectorEnv | TorchCartPoleVectorEnv | TorchPixelcopterVectorEnv:
    """Makes N copies of a registered environment on a torch device.

    It accepts the tabular environments of `pg_envs`, Gymnasium's FrozenLake,
    CliffWalking and Taxi, and CartPole and Pixelcopter.

    Args:
        id: a registered id, such as `"PGToy-Sequence-v0"`, `"FrozenLake-v1"` or
            `"CartPole-v1"`, or its `EnvSpec`.
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None, or `"rgb_array"` for the environments of `pg_envs`.
        check_actions: whether `step` refuses actions outside the space, for which it
            synchronises with a GPU in every step.
        **arguments: `max_episode_steps` (-1 for no limit) and the environment's own,
            such as `is_slippery` and `map_name`.

    Returns:
        The vector environment; every episode has the time limit of the registered id.

    Raises:
        TypeError: if the environment is none of these, or `id` is not an id.
        ValueError: if an argument is out of range; the message names it.
    """
    kinds = TorchTabularVectorEnv, TorchCartPoleVectorEnv, TorchPixelcopterVectorEnv
    options = (autoreset_mode, render_mode, check_actions)
    return _make(kinds, (num_envs, device), id, options, arguments)


def _make(
    kinds: tuple[Callable[..., T], Callable[..., C], Callable[..., P]],
    size: tuple[Any, ...],
    id: str | EnvSpec,
    options: tuple[AutoresetMode | str, str | None, bool],
    arguments: dict[str, Any],
) -> T | C | P:
    """Makes an environment of one of the kinds tabular, CartPole and Pixelcopter."""
    if not isinstance(id, str | EnvSpec):
        raise TypeError(
            "id must be the id of an environment, such as 'PGToy-Sequence-v0', got "
            f"{id!r}"
        )
    autoreset_mode, render_mode, check_actions = options
    env = gymnasium.make(id, render_mode=render_mode, **arguments)
    spec, single = env.spec, env.unwrapped
    limit = spec.max_episode_steps if spec is not None else None
    common = *size, limit, autoreset_mode, render_mode
    tabular, cartpole, pixelcopter = kinds
    made: Any
    if isinstance(single, CartPoleEnv):
        rewards = single._sutton_barto_reward
        made = cartpole(*common, rewards, check_actions=check_actions)
    elif isinstance(single, PixelcopterEnv):
        made = pixelcopter(*common, single.reward_scheme, check_actions=check_actions)
    else:
        made = tabular(
            _as_tabular(env, id, render_mode), *common, check_actions=check_actions
        )
    # As `gymnasium.make_vec` does: callbacks read threshold and name.
    made.spec = spec
    return made  # type: ignore[no-any-return]


def _as_tabular(
    env: gymnasium.Env[Any, Any], id: str | EnvSpec, render_mode: str | None
) -> TabularEnv:
    single = env.unwrapped
    if not isinstance(single, TabularEnv):
        if not hasattr(single, "P"):
            env.close()
            raise TypeError(
                "id must name a tabular environment (a pg_envs.TabularEnv, "
                "FrozenLake, CliffWalking or Taxi), CartPole or Pixelcopter; "
                f"{id!r} is a {type(single).__name__}"
            )
        if render_mode is not None:
            raise ValueError(
                f"render_mode must be None for {id!r}, which has no pictures here, got "
                f"{render_mode!r}"
            )
        single = TabularEnv(mdp_from_env(single))
    return single
