"""Diagrams of the agents' data, as SVG.

Boxes stand below each other, so that the text stays readable on a telephone. Where the
SVG is part of a page of the site, its colours are those of the theme; in a file of its
own they follow the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 440
_LEFT, _RIGHT, _LOOP = 12, 396, 424
_TITLE, _LINE, _GAP = 30, 22, 26

_STYLE = """
.diagram { --ink: var(--color-foreground-primary, #1f2430);
  --line: var(--color-foreground-muted, #5b6474);
  --box: var(--color-background-secondary, #f3f5fa);
  font-family: var(--font-stack, system-ui, sans-serif); }
@media (prefers-color-scheme: dark) { .diagram {
  --ink: var(--color-foreground-primary, #e8ebf4);
  --line: var(--color-foreground-muted, #a0a8ba);
  --box: var(--color-background-secondary, #232836); } }
.diagram rect { fill: var(--box); stroke: var(--line); }
.diagram path { fill: none; stroke: var(--line); stroke-width: 1.6; }
.diagram .head { fill: var(--line); stroke: none; }
.diagram text { fill: var(--ink); font-size: 15px; }
.diagram .title { font-weight: 600; }
"""


@dataclass(frozen=True)
class Box:
    """A step of the data's way.

    Attributes:
        title: what is done.
        lines: what it makes of what, with shapes.
    """

    title: str
    lines: tuple[str, ...]


def diagram(text: str, boxes: Sequence[Box], returns_to_first: bool = True) -> str:
    """Returns a diagram: boxes joined by arrows.

    The first two boxes, the policy and the environments, take turns.

    Args:
        text: what the diagram shows, for readers that can't see it.
        boxes: from top to bottom.
        returns_to_first: whether an arrow goes from the last box to the first.
    """
    shapes, middles, y = [], [], 6.0
    for i, box in enumerate(boxes):
        height = _TITLE + _LINE * len(box.lines)
        shapes.append(
            f'<rect x="{_LEFT}" y="{y:g}" width="{_RIGHT - _LEFT}" height="{height}" '
            f'rx="8"/>'
        )
        shapes.append(_text(box.title, y + 21, "title"))
        for j, line in enumerate(box.lines):
            shapes.append(_text(line, y + 21 + _LINE * (j + 1), "line"))
        middles.append(y + height / 2)
        y += height
        if i < len(boxes) - 1:
            centre = (_LEFT + _RIGHT) / 2
            if i == 0:
                shapes += _arrow(centre - 20, y, y + _GAP)
                shapes += _arrow(centre + 20, y + _GAP, y)
            else:
                shapes += _arrow(centre, y, y + _GAP)
            y += _GAP
    if returns_to_first:
        top, bottom = middles[0], middles[-1]
        shapes.append(
            f'<path d="M{_RIGHT} {bottom:g} H{_LOOP} V{top:g} H{_RIGHT + 9}"/>'
        )
        shapes.append(
            f'<path class="head" d="M{_RIGHT} {top:g} l10 -5 v10 z"/>',
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" '
            f'viewBox="0 0 {WIDTH} {y + 6:g}" width="{WIDTH}">',
            f"<title>{escape(text)}</title>",
            f"<style>{_STYLE}</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def _text(text: str, y: float, kind: str) -> str:
    return f'<text class="{kind}" x="{_LEFT + 14}" y="{y:g}">{escape(text)}</text>'


def _arrow(x: float, start: float, end: float) -> list[str]:
    """Returns a vertical arrow that leaves a pixel free at both ends."""
    sign = 1 if end > start else -1
    return [
        f'<path d="M{x:g} {start + sign:g} V{end - 9 * sign:g}"/>',
        f'<path class="head" d="M{x:g} {end - sign:g} l-5 {-10 * sign} h10 z"/>',
    ]


_ENVIRONMENTS = Box(
    "N environments",
    ("actions [N]  →  rewards, terminated,", "truncated [N], next observations [N, …]"),
)
_BUFFER = Box(
    "TrajectoryBuffer  [T, N]",
    ("observations, actions, rewards,", "terminated, truncated, step of the episode"),
)

DIAGRAMS = {
    "reinforce": diagram(
        "REINFORCE: the policy acts in N environments; whole episodes are recorded; "
        "returns minus a baseline weight log-probabilities; Adam changes the policy",
        [
            Box("Policy  π(a | s; θ)", ("observations [N, …]  →  actions [N]",)),
            _ENVIRONMENTS,
            _BUFFER,
            Box(
                "Returns  [T, N]",
                ("Gₜ = rₜ + γ Gₜ₊₁;", "Gₜ₊₁ = 0 at the end of an episode"),
            ),
            Box("Baseline  [T, N]", ("Aₜ = Gₜ − bₜ",)),
            Box("Batch  [B]", ("observations, actions, advantages",)),
            Box("Loss", ("−1/E  Σ  Aₜ log π(aₜ | sₜ; θ),  E episodes",)),
            Box("Adam", ("θ: step along −∇ loss",)),
        ],
    ),
    "actor-critic": diagram(
        "ActorCritic: the policy acts in N environments for T steps; the critic values "
        "them; advantages weight the log-probabilities; RMSprop changes both networks",
        [
            Box(
                "Policy  π(a | s; θ)  and critic  V(s; w)",
                ("observations [N, …]  →  actions [N]",),
            ),
            _ENVIRONMENTS,
            _BUFFER,
            Box(
                "Values  [T, N]",
                ("V(sₜ), V(sₜ₊₁) in one forward pass;", "V(sₜ₊₁) = 0 where terminated"),
            ),
            Box(
                "Advantages  [T, N]",
                ("δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ)", "Aₜ = δₜ + γ λ Aₜ₊₁,  Rₜ = Aₜ + V(sₜ)"),
            ),
            Box("Batch  [B]", ("observations, actions, advantages, R",)),
            Box("Loss", ("mean of  −A log π  −  c₁ entropy  +  c₂ (R − V)²",)),
            Box("RMSprop", ("θ, w: step along −∇ loss, norm ≤ 0.5",)),
        ],
    ),
    "random-agent": diagram(
        "RandomAgent: uniform random actions in N environments; what happened goes to "
        "callbacks and statistics; nothing is learnt",
        [
            Box("Uniform random actions", ("action space  →  actions [N]",)),
            _ENVIRONMENTS,
            Box(
                "Callbacks, logger, episode statistics",
                ("returns and lengths, as for other agents",),
            ),
        ],
        returns_to_first=False,
    ),
}
