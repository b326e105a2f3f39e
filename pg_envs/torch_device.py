"""What the torch vector environments share: draws and arguments on a device."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.error import InvalidAction
from torch import Tensor

from pg_envs.vector_arguments import checked_actions, checked_mask


def make_generator(device: torch.device) -> torch.Generator:
    """Returns a generator of random numbers on a device, seeded by chance.

    Raises:
        ValueError: if torch cannot use the device here.
    """
    try:
        generator = torch.Generator(device)
    except RuntimeError as error:
        cuda = "'cuda' is too" if torch.cuda.is_available() else "'cuda' is not"
        raise ValueError(
            f"device must be one that torch can use here, got {str(device)!r}: "
            f"'cpu' is one, {cuda}"
        ) from error
    generator.seed()
    return generator


def generator_data(generator: torch.Generator) -> Any:  # noqa: ANN401
    """Returns the state of a generator as an array of uint8."""
    return generator.get_state().numpy().copy()


def generator_like(generator: torch.Generator, given: Any) -> torch.Generator:  # noqa: ANN401
    """Returns another generator, in a state that `generator_data` made plain.

    Raises:
        ValueError: if it is no such state.
    """
    trial = torch.Generator(generator.device)
    try:
        trial.set_state(torch.from_numpy(given.copy()))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            "state['generator']['torch'] must be the state of a generator of torch on "
            f"{generator.device.type}, as get_state() returns, got {given!r}"
        ) from error
    return trial


def mask_on(
    device: torch.device,
    mask: Any,  # noqa: ANN401
    num_envs: int,
    is_reset: bool,
) -> Tensor:
    """Returns a `reset_mask` as a tensor `[N]` bool; raises as `checked_mask` does."""
    given = mask.cpu() if isinstance(mask, Tensor) else mask
    return torch.as_tensor(checked_mask(given, num_envs, is_reset), device=device)


def actions_on(
    device: torch.device,
    actions: Any,  # noqa: ANN401
    num_envs: int,
    n_actions: int,
    check_range: bool,
) -> Tensor:
    """Returns actions as a tensor `[N]` int64.

    Args:
        device: where the tensor is to be.
        actions: `[N]` integers of any kind, as a tensor, array or sequence.
        num_envs: N.
        n_actions: A.
        check_range: whether to look at the numbers too, for which a GPU is waited for.

    Raises:
        InvalidAction: if they are not N integers, or not all from 0 to A - 1.
    """
    given = torch.as_tensor(actions, device=device)
    not_integer = given.is_floating_point() or given.is_complex()
    if given.shape != (num_envs,) or not_integer or given.dtype == torch.bool:
        raise InvalidAction(
            f"actions must be {num_envs} integers, one per environment, got shape "
            f"{list(given.shape)} of {given.dtype}"
        )
    if check_range:
        checked_actions(given.cpu().numpy(), num_envs, n_actions)
    # Torch takes uint8 for a mask and knows no int16 index.
    return given.long()


def search(table: Tensor, u: Tensor) -> Tensor:
    """Returns how many entries of a sorted table `[S]` are not above each draw."""
    return torch.searchsorted(table, u, right=True)


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Returns `table[index]`, `[N, *shape]`, a fresh tensor.

    On the CPU `index_select` takes a third of the time of brackets, and a third of that
    where it is handed single numbers instead of rows of one.
    """
    if table[0].numel() == 1:
        return table.view(-1).index_select(0, index).view(-1, *table.shape[1:])
    return table.index_select(0, index)
