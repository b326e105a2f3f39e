"""Numbers that are not finite (NaN or infinite) stop the training with an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class NonFiniteError(ValueError):
    """A number that must be finite is NaN or infinite."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Returns whether no number of any tensor is NaN or infinite.

    One sum of norms for each device screens them all, so that a GPU is waited for once.
    The norm of finite numbers can overflow: only then is each tensor looked at.

    Args:
        tensors: of any shapes, dtypes and devices; integers and booleans are finite.
    """
    kept = [each.detach() for each in tensors if _can_be_nonfinite(each)]
    by_device: dict[torch.device, list[Tensor]] = {}
    for each in kept:
        by_device.setdefault(each.device, []).append(each)
    return all(_screened(group) for group in by_device.values()) or all(
        bool(each.isfinite().all()) for each in kept
    )


def first_nonfinite(named: Mapping[str, Tensor]) -> str | None:
    """Returns a sentence on the first tensor with a number that is not finite.

    Args:
        named: tensors of any shapes, dtypes and devices, by what to call them.

    Returns:
        Such as "policy weight 'action_net.weight' has 3 of 128 entries NaN"; None if
        all numbers are finite.
    """
    if all_finite(named.values()):
        return None
    name, tensor = next(
        (name, each) for name, each in named.items() if not each.isfinite().all()
    )
    of = f" of {tensor.numel()} entries"
    counts = []
    for what, found in (("NaN", tensor.isnan()), ("infinite", tensor.isinf())):
        if found.any():
            counts.append(f"{int(found.sum())}{of} {what}")
            of = ""
    return f"{name} has {' and '.join(counts)}"


def _can_be_nonfinite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _screened(tensors: list[Tensor]) -> bool:
    norms = torch._foreach_norm(tensors)
    return bool(torch.stack([norm.float() for norm in norms]).sum().isfinite())
