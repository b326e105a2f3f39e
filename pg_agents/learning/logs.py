"""What is logged of an update, asked of the device as late and as seldom as can be."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_terms(logs: list[dict[str, Tensor]], last_pass: int) -> dict[str, Tensor]:
    """Returns what is to be logged of the terms of each loss of an update.

    As in PPO: the last loss, the distance of the last pass, the mean of all the rest.

    Args:
        logs: the terms, scalars, of each loss; an update may have had none.
        last_pass: where the last pass over the data begins.
    """
    if not logs:
        return {}
    starts = {"loss": len(logs) - 1, "approx_kl": last_pass}
    seen = {
        name: [log[name] for log in logs[starts.get(name, 0) :]] for name in logs[-1]
    }
    return {
        name: each[0] if len(each) == 1 else torch.stack(each).mean()
        for name, each in seen.items()
    }


def explained_variance(values: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of the targets' variance that the critic foretells, a scalar.

    `1 - Var(G - V) / Var(G)`; NaN where all targets are equal, as in SB3.

    Args:
        values: `[B]`, V(s_b).
        targets: `[B]`, G_b.
    """
    variance = targets.var(correction=0)
    share = 1.0 - (targets - values).var(correction=0) / variance
    return torch.where(variance == 0.0, torch.nan, share)


def numbers_of(scalars: dict[str, Tensor]) -> dict[str, float]:
    """Returns scalars as numbers, with one wait for the device."""
    if not scalars:
        return {}
    numbers = torch.stack(list(scalars.values())).tolist()
    return dict(zip(scalars, numbers, strict=True))
