"""The colours of every picture."""

from pg_envs.rendering.scene import Colour

BACKGROUND: Colour = (243, 244, 248)
CARD: Colour = (255, 255, 255)
BORDER: Colour = (222, 226, 235)
SHADOW: Colour = (231, 234, 241)
TRACK: Colour = (234, 237, 244)
TILE: Colour = (240, 243, 250)
INK: Colour = (36, 42, 61)
MUTED: Colour = (118, 127, 149)
FAINT: Colour = (190, 197, 212)
ACCENT: Colour = (79, 94, 232)
ACCENT_SOFT: Colour = (227, 230, 253)
BAR: Colour = (98, 136, 232)
GAIN: Colour = (21, 145, 98)
GAIN_SOFT: Colour = (222, 244, 233)
LOSS: Colour = (208, 64, 76)
LOSS_SOFT: Colour = (252, 231, 232)


def reward_colours(reward: float | None) -> tuple[Colour, Colour]:
    """Colours that tell a gain from a loss.

    Args:
        reward: The reward; None when there is none yet.

    Returns:
        The colour of the text, and a pale one to lay behind it.
    """
    if not reward:
        return (FAINT if reward is None else INK), CARD
    return (GAIN, GAIN_SOFT) if reward > 0 else (LOSS, LOSS_SOFT)
