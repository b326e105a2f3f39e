"""Colours of pictures on a light and on a dark background.

Okabe and Ito's palette, which colour-blind readers can tell apart, with lighter shades
on a dark background. Nothing is told by colour alone.

Reference: Okabe and Ito (2008), "Color Universal Design".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pg_envs.rendering import widgets
from pg_envs.rendering.scene import Colour


@dataclass(frozen=True)
class Theme:
    """Colours of a dashboard.

    Attributes:
        background: Of the window.
        card: Of a panel.
        border: Of a panel.
        grid: Lines behind a plot, and tracks of bars.
        ink: Text and axes.
        muted: Less important text.
        main: Bars, lines and the first of two series.
        main_soft: Single values behind the line of their mean.
        second: The second of two series.
        good: What counts as reached.
        colours: New colours of the surfaces of environments' scenes, by the light ones.
        text_colours: The same for their text.
    """

    background: Colour
    card: Colour
    border: Colour
    grid: Colour
    ink: Colour
    muted: Colour
    main: Colour
    main_soft: Colour
    second: Colour
    good: Colour
    colours: Mapping[Colour, Colour]
    text_colours: Mapping[Colour, Colour]


LIGHT = Theme(
    background=widgets.BACKGROUND,
    card=widgets.CARD,
    border=widgets.BORDER,
    grid=(229, 232, 240),
    ink=(28, 33, 48),
    muted=(92, 100, 120),
    main=(0, 114, 178),
    main_soft=(96, 154, 198),
    second=(213, 94, 0),
    good=(0, 122, 90),
    colours={},
    text_colours={},
)
DARK = Theme(
    background=(18, 20, 28),
    card=(28, 31, 42),
    border=(52, 57, 74),
    grid=(50, 55, 72),
    ink=(236, 239, 248),
    muted=(164, 172, 194),
    main=(86, 180, 233),
    main_soft=(70, 124, 168),
    second=(240, 150, 60),
    good=(70, 200, 150),
    colours={
        widgets.BACKGROUND: (22, 25, 34),
        widgets.CARD: (30, 34, 46),
        widgets.BORDER: (62, 68, 88),
        widgets.SHADOW: (16, 18, 25),
        widgets.TRACK: (52, 58, 76),
        widgets.TILE: (44, 49, 66),
        widgets.INK: (98, 106, 134),
        widgets.FAINT: (104, 112, 136),
        widgets.ACCENT_SOFT: (50, 56, 98),
        widgets.BAR: (110, 160, 250),
        widgets.GAIN: (21, 145, 98),
        widgets.GAIN_SOFT: (24, 66, 52),
        widgets.LOSS_SOFT: (84, 38, 46),
    },
    # White text stays white: it stands on coloured surfaces.
    text_colours={
        widgets.INK: (236, 239, 248),
        widgets.MUTED: (170, 178, 200),
        widgets.FAINT: (134, 142, 166),
        widgets.ACCENT: (158, 170, 255),
        widgets.GAIN: (82, 214, 162),
        widgets.LOSS: (255, 138, 144),
    },
)
THEMES: Mapping[str, Theme] = {"light": LIGHT, "dark": DARK}
