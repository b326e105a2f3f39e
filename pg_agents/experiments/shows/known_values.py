"""Row known-values: three numbers that a notebook checks its exercises by."""

from __future__ import annotations

import numpy as np
import torch

from pg_agents.experiments.showing import Shown, ShowRequest
from pg_agents.learning.losses import policy_gradient_loss
from pg_agents.learning.returns import reward_to_go

# As the notebook prints them, in single precision.
REPORTED: dict[str, tuple[float, ...]] = {
    "weighted log-probability": (-22.314354,),
    "returns": (9.801496, 8.8904, 6.96, 4.0),
    "policy-gradient loss": (3.1326165,),
}
# Single precision has 24 bits, and each is the sum of a few numbers.
_TOLERANCE = 1e-6


def known_values() -> dict[str, tuple[float, ...]]:
    """Returns ours, by the library's own functions, in the order of `REPORTED`."""
    log_prob, reward = torch.tensor([0.8]).log(), torch.tensor([100.0])
    weighted = -policy_gradient_loss(log_prob, reward, 1)
    returns = reward_to_go(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.99)
    chosen = torch.log_softmax(torch.tensor([1.0, 2.0]), 0)[1:]
    loss = policy_gradient_loss(chosen, torch.tensor([10.0]), 1)
    found = ((weighted.item(),), tuple(returns.tolist()), (loss.item(),))
    return dict(zip(REPORTED, found, strict=True))


def show(request: ShowRequest) -> Shown:
    """Prints each beside the notebook's; passes if none differs."""
    lines, passed = [], True
    for name, ours in known_values().items():
        theirs = REPORTED[name]
        same = np.allclose(ours, theirs, rtol=_TOLERANCE, atol=0.0)
        passed = passed and same
        verdict = "equal" if same else "**different**"
        lines.append(f"{name}: {_text(ours)}; notebook {_text(theirs)}: {verdict}")
    return Shown(tuple(lines), passed)


def _text(values: tuple[float, ...]) -> str:
    said = [f"{value:.8g}" for value in values]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]"
