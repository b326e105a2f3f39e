"""The picture of a training, as a scene: window, film and notebook draw the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pg_envs.rendering.scene import Image, Line, Rectangle, Scene, Shape, Text
from pg_envs.rendering.themes import THEMES, Theme
from pg_envs.rendering.transform import placed, recoloured
from pg_envs.rendering.widgets import BACKGROUND, percentages, short, signed

Table = NDArray[np.float64]

MIN_WIDTH, MIN_HEIGHT = 480, 320
# The states of larger environments would be narrower than a pixel.
MAX_STATES = 48
_MAX_POINTS = 240
_KEYS = (
    ("space", "pause"),
    ("right", "step"),
    ("down / up", "slower / faster"),
    ("S", "save picture"),
    ("T", "light / dark"),
    ("Q", "quit"),
)


@dataclass(frozen=True)
class Tables:
    """Policy and gradients of a tabular environment.

    Attributes:
        policy: probability of each action in each state, `[S, A]`.
        exact: change of each probability along the exact gradient, `[S, A]`, scaled to
            a largest one of 1; None before the first update.
        estimate: the same along the gradient of the last update.
        cosine: of exact gradient and estimate, in the space of the parameters; NaN if
            one of them is 0.
        mean_cosine: of the means of both over the last updates shown.
        n_mean: number of updates in these means.
    """

    policy: Table
    exact: Table | None = None
    estimate: Table | None = None
    cosine: float = math.nan
    mean_cosine: float = math.nan
    n_mean: int = 0


@dataclass(frozen=True)
class Playing:
    """The environment, in which an agent with the present policy plays.

    Attributes:
        picture: the environment; None where it has none.
        message: why there is no picture.
        caption: what is shown.
        action_names: of discrete actions.
        probabilities: of the actions in the state that is shown; for actions that are
            numbers the mean of each.
        deviations: of actions that are numbers; None for discrete ones.
        limits: smallest and largest value of each number, where it has them, otherwise
            -1 and 1; None for discrete ones.
        shows_policy: whether the picture has the probabilities itself.
    """

    picture: Scene | Image | None
    message: str = ""
    caption: str = ""
    action_names: tuple[str, ...] = ()
    probabilities: tuple[float, ...] | None = None
    deviations: tuple[float, ...] | None = None
    shows_policy: bool = False
    limits: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Dashboard:
    """Everything that the picture shows.

    Attributes:
        title: algorithm and environment.
        state: what the training is doing, such as "running".
        timesteps: steps so far.
        total_timesteps: steps of the whole training; None if it has no fixed number.
        updates: updates so far.
        steps_per_second: speed of the training; NaN if unknown.
        returns: undiscounted returns of the episodes, `[E]`.
        return_timesteps: number of steps at the end of each, `[E]`.
        running_mean: running mean of the returns, `[E]`.
        best: best possible expected return; None if unknown.
        threshold: return from which the task counts as solved; None if unknown.
        rewards: rewards of the last episode, `[T]`; None before the first end.
        running_rewards: of the present one, before the first end, `[T]`.
        playing: the environment.
        tables: of a tabular environment; None otherwise.
        note: a short message, such as that a picture was saved.
        has_keys: whether there is a window, whose keys are explained.
    """

    title: str
    state: str
    timesteps: int
    total_timesteps: int | None
    updates: int
    steps_per_second: float
    returns: Table
    return_timesteps: NDArray[np.int64]
    running_mean: Table
    best: float | None
    threshold: float | None
    rewards: Table | None
    playing: Playing
    tables: Tables | None
    running_rewards: Table | None = None
    note: str = ""
    has_keys: bool = True


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def rows(self, shares: Sequence[float], gap: float) -> list[_Box]:
        """Divides it from top to bottom, in proportion to the shares."""
        room = self.height - gap * (len(shares) - 1)
        boxes, y = [], self.y
        for share in shares:
            height = room * share / sum(shares)
            boxes.append(_Box(self.x, y, self.width, height))
            y += height + gap
        return boxes


def dashboard_scene(
    dashboard: Dashboard, width: int, height: int, theme: str = "light"
) -> Scene:
    """Returns the picture of a training.

    Args:
        dashboard: what to show.
        width: in pixels, at least 480.
        height: in pixels, at least 320; small windows leave out panels, rather than
            shrink the text.
        theme: "light" or "dark".

    Raises:
        ValueError: if the theme is unknown or the size too small.
    """
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(THEMES)}, got {theme!r}")
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        raise ValueError(
            f"a dashboard has at least {MIN_WIDTH} x {MIN_HEIGHT} pixels, got "
            f"{width} x {height}"
        )
    painter = _Painter(THEMES[theme], min(max(width / 1280, 0.8), height / 400, 3.0))
    return Scene(
        width,
        height,
        painter.theme.background,
        tuple(painter.everything(dashboard, width, height)),
    )


class _Painter:
    """Draws the panels in the colours of a theme, with text of one scale."""

    def __init__(self, theme: Theme, scale: float) -> None:
        self.theme, self.scale = theme, scale

    def everything(self, data: Dashboard, width: int, height: int) -> list[Shape]:
        k = self.scale
        margin, gap = 14 * k, 12 * k
        top, bottom = 58 * k, (34 if data.has_keys or data.note else 14) * k
        room = _Box(margin, top, width - 2 * margin, height - top - bottom)
        left_width = 0.56 * room.width
        left = _Box(room.x, room.y, left_width, room.height)
        right = _Box(
            room.x + left_width + gap,
            room.y,
            room.width - left_width - gap,
            room.height,
        )
        return [
            *self.header(data, width),
            *self.left(data, left, gap),
            *self.right(data, right, gap),
            *self.footer(data, width, height),
        ]

    def text(
        self,
        text: str,
        x: float,
        y: float,
        size: float = 14,
        colour: str = "ink",
        anchor: str = "left",
        room: float | None = None,
    ) -> Text:
        return Text(
            text,
            x,
            y,
            size * self.scale,
            getattr(self.theme, colour),
            anchor,  # type: ignore[arg-type]
            room,
        )

    def header(self, data: Dashboard, width: int) -> list[Shape]:
        k, theme = self.scale, self.theme
        done = f"{data.timesteps:,}"
        # A training that ends with a whole rollout or episode may make a few more.
        if data.total_timesteps is not None and data.timesteps <= data.total_timesteps:
            done += f" of {data.total_timesteps:,}"
        parts = [
            f"step {done}",
            f"update {data.updates:,}",
            f"episode {len(data.returns):,}",
        ]
        if math.isfinite(data.steps_per_second):
            parts.append(f"{data.steps_per_second:,.0f} steps/s")
        pill_width = max(92.0, 8.0 * len(data.state) + 26) * k
        right = width - 16 * k
        is_running = data.state.startswith("running")
        fill = theme.main if is_running else theme.second
        pill = Rectangle(right - pill_width, 14 * k, pill_width, 30 * k, fill, 15 * k)
        x = right - pill_width / 2
        label = Text(data.state, x, 29 * k, 15 * k, theme.card, "centre", pill_width)
        room = (right - pill_width - 32 * k) / 2
        # Narrow windows leave out the last numbers, rather than shrink all of them.
        while len(parts) > 1 and 6.5 * k * len("   ".join(parts)) > room:
            parts.pop()
        numbers = "   ".join(parts)
        title_room = 2 * room - min(room, 7.8 * k * len(numbers)) - 10 * k
        return [
            self.text(data.title, 16 * k, 29 * k, 20, room=title_room),
            self.text(
                numbers,
                right - pill_width - 16 * k,
                29 * k,
                15,
                "muted",
                "right",
                room,
            ),
            pill,
            label,
        ]

    def footer(self, data: Dashboard, width: int, height: int) -> list[Shape]:
        k, y = self.scale, height - 17 * self.scale
        if data.note:
            return [self.text(data.note, 16 * k, y, 15, "good", room=width - 32 * k)]
        if not data.has_keys:
            return []
        text = "     ".join(f"{key}: {what}" for key, what in _KEYS)
        return [self.text(text, 16 * k, y, 14, "muted", room=width - 32 * k)]

    def left(self, data: Dashboard, box: _Box, gap: float) -> list[Shape]:
        playing, k = data.playing, self.scale
        if data.tables is not None:
            n_actions = data.tables.policy.shape[1]
            height = min(0.36 * box.height, (70 + 26 * n_actions) * k)
            bars = max(height, 0.27 * box.height)
        else:
            n_bars = len(playing.probabilities or ())
            bars = min(0.4 * box.height, (46 + 30 * n_bars) * k) if n_bars else 0.0
        # In a low window the picture needs the room, which shows the policy, too.
        is_low = box.height < (440 if playing.shows_policy else 300) * k
        if is_low and data.tables is not None and isinstance(playing.picture, Scene):
            # One as wide as its panel loses little by it.
            least = (62 + 18 * n_actions) * k
            scale = (box.width - 16 * k) / playing.picture.width
            room = box.height - gap - least - 42 * k
            if room >= 0.85 * scale * playing.picture.height:
                is_low, bars = False, least
        if bars == 0 or is_low:
            return self.environment(playing, box)
        upper, lower = box.rows((box.height - gap - bars, bars), gap)
        if data.tables is not None:
            policy = self.policy(data.tables, playing.action_names, lower)
            return [*self.environment(playing, upper), *policy]
        return [*self.environment(playing, upper), *self.bars(playing, lower)]

    def right(self, data: Dashboard, box: _Box, gap: float) -> list[Shape]:
        shares = {"curve": 5.0, "rewards": 2.6}
        if data.tables is not None:
            shares["gradient"] = 3.4
        # A panel of less than its least height shows nothing that can be read.
        while len(shares) > 1 and box.height < 125 * self.scale * len(shares):
            shares.popitem()
        shapes: list[Shape] = []
        for name, part in zip(
            shares, box.rows(tuple(shares.values()), gap), strict=True
        ):
            if name == "curve":
                shapes += self.curve(data, part)
            elif name == "rewards":
                shapes += self.rewards(data, part)
            else:
                assert data.tables is not None, "or there is no such panel"
                shapes += self.gradient(data.tables, data.playing.action_names, part)
        return shapes

    def card(self, box: _Box, title: str, aside: str = "") -> list[Shape]:
        k, theme = self.scale, self.theme
        room = box.width - 28 * k
        shapes: list[Shape] = [
            Rectangle(
                box.x, box.y, box.width, box.height, theme.card, 8 * k, theme.border, k
            )
        ]
        y, title_room = box.y + 18 * k, min(room, 8.6 * k * len(title))
        shapes.append(self.text(title, box.x + 14 * k, y, 15, "ink", room=title_room))
        rest = room - title_room - 12 * k
        # Text of less than two thirds of its size is left out.
        if aside and rest > 5.2 * k * len(aside):
            x = box.right - 14 * k
            shapes.append(self.text(aside, x, y, 13, "muted", "right", rest))
        return shapes

    def environment(self, playing: Playing, box: _Box) -> list[Shape]:
        k = self.scale
        shapes = self.card(box, "The current policy plays", playing.caption)
        inner = _Box(
            box.x + 8 * k, box.y + 34 * k, box.width - 16 * k, box.height - 42 * k
        )
        picture = playing.picture
        if picture is None:
            middle = inner.y + inner.height / 2
            x, room = inner.x + inner.width / 2, inner.width - 20 * k
            return [
                *shapes,
                self.text(playing.message, x, middle, 15, "muted", "centre", room),
            ]
        if isinstance(picture, Image):
            columns, rows = picture.size
            frame = Image(0, 0, columns, rows, picture.pixels, picture.size)
            picture = Scene(columns, rows, self.theme.card, (frame,))
        elif picture.background == BACKGROUND:
            theme = self.theme
            # On the panel itself, without a frame around the picture.
            colours = {**theme.colours, BACKGROUND: theme.card}
            picture = recoloured(picture, colours, theme.text_colours)
        shapes += placed(picture, inner.x, inner.y, inner.width, inner.height)
        return shapes

    def bars(self, playing: Playing, box: _Box) -> list[Shape]:
        """Probabilities of the actions, or means and deviations of numbers."""
        k, theme = self.scale, self.theme
        is_discrete = playing.deviations is None
        title = "Action probabilities" if is_discrete else "Action: mean and deviation"
        aside, limits = "in the state shown", playing.limits or ()
        if len(set(limits)) == 1:
            aside += (
                f", from {short_number(limits[0][0])} to {short_number(limits[0][1])}"
            )
        shapes = self.card(box, title, aside)
        values = playing.probabilities or ()
        top, room = box.y + 34 * k, box.height - 42 * k
        pitch = min(30 * k, room / max(len(values), 1))
        size = min(15.0, 0.62 * pitch / k)
        label_width, number_width = 110 * k, 76 * k
        left = box.x + 14 * k + label_width
        length = box.width - 28 * k - label_width - number_width
        for i, value in enumerate(values):
            y = top + (i + 0.5) * pitch
            name = playing.action_names[i] if i < len(playing.action_names) else str(i)
            shapes.append(
                self.text(name, box.x + 14 * k, y, size, room=label_width - 8 * k)
            )
            thick = 0.56 * pitch
            shapes.append(Rectangle(left, y - thick / 2, length, thick, theme.grid))
            end = box.right - 14 * k
            if playing.deviations is None:
                filled = length * min(max(value, 0.0), 1.0)
                number = percentages(values)[i]
                if filled > 0:
                    bar = Rectangle(left, y - thick / 2, filled, thick, theme.main)
                    shapes.append(bar)
            else:
                deviation = playing.deviations[i]
                smallest, largest = limits[i] if limits else (-1.0, 1.0)
                three = value + deviation * np.array([-1.0, 0.0, 1.0])
                shares = np.clip((three - smallest) / (largest - smallest), 0.0, 1.0)
                low, x, high = (left + length * shares).tolist()
                number = f"{signed(value)} ± {deviation:.2f}"
                width = max(high - low, 2 * k)
                shapes.append(
                    Rectangle(low, y - thick / 2, width, thick, theme.main_soft)
                )
                shapes.append(
                    Rectangle(x - 2 * k, y - thick / 2, 4 * k, thick, theme.main)
                )
            shapes.append(
                self.text(number, end, y, size, "ink", "right", number_width - 8 * k)
            )
        return shapes

    def curve(self, data: Dashboard, box: _Box) -> list[Shape]:
        """Returns of the episodes, their running mean, and lines of reference."""
        k, theme = self.scale, self.theme
        aside = ""
        if len(data.returns):
            aside = (
                f"last {short(round(float(data.returns[-1]), 3))}, "
                f"mean {short(round(float(data.running_mean[-1]), 3))}"
            )
        single = "single episodes"
        shapes = self.card(box, "Episode returns", aside)
        plot = _Box(
            box.x + 62 * k, box.y + 45 * k, box.width - 78 * k, box.height - 73 * k
        )
        if not len(data.returns):
            rewards = data.running_rewards
            if rewards is None or len(rewards) < 2:
                return [*shapes, *self.waiting("no episode has ended yet", box)]
            # An endless episode is followed by its rewards.
            data = replace(
                data,
                timesteps=len(rewards),
                returns=rewards,
                return_timesteps=np.arange(1, len(rewards) + 1),
                running_mean=np.cumsum(rewards) / np.arange(1, len(rewards) + 1),
                best=None,
                threshold=None,
            )
            single = "single rewards"
            shapes = self.card(box, "Reward of each step, in one episode")
        lines: list[tuple[str, float]] = []
        if data.best is not None:
            lines.append(("best possible", data.best))
        elif data.threshold is not None:
            lines.append(("counts as solved", data.threshold))
        low, high = float(data.returns.min()), float(data.returns.max())
        for _, value in lines:
            low, high = min(low, value), max(high, value)
        low, high, ticks = axis(low, high, 4 if plot.height > 110 * k else 2)
        end = max(int(data.return_timesteps[-1]), data.timesteps, 1)

        def x_of(steps: float) -> float:
            return plot.x + plot.width * min(steps / end, 1.0)

        def y_of(value: float) -> float:
            return plot.bottom - plot.height * (value - low) / (high - low)

        for tick in ticks:
            y = y_of(tick)
            shapes.append(Line((plot.x, y), (plot.right, y), theme.grid, k))
            label = self.text(short_number(tick), plot.x - 8 * k, y, 13, "muted")
            shapes.append(
                Text(label.text, label.x, y, label.size, label.colour, "right", 50 * k)
            )
        centres, lows, highs, means = thinned(
            data.return_timesteps, data.returns, data.running_mean, end
        )
        # The fewer they are, the larger.
        n = len(centres)
        mark = (6.0 if n < 40 else 4.0 if n < 120 else 3.0) * k
        for centre, *pair in zip(centres, lows, highs, strict=True):
            x = x_of(centre) - mark / 2
            shapes += [
                Rectangle(x, y_of(value) - mark / 2, mark, mark, theme.main_soft)
                for value in set(pair)
            ]
        for name, value in lines:
            y = y_of(value)
            shapes += self.dashes(plot.x, plot.right, y)
            what = f"{name}: {short_number(value)}"
            # Points behind it would make it hard to read.
            width, height, middle = 7.2 * k * len(what), 14 * k, y - 10 * k
            left = plot.right - width
            shapes += [
                Rectangle(left, middle - height / 2, width, height, theme.card),
                self.text(what, plot.right, middle, 13, "good", "right", width),
            ]
        points = [(x_of(c), y_of(m)) for c, m in zip(centres, means, strict=True)]
        shapes += [Line(a, b, theme.main, 3 * k) for a, b in itertools.pairwise(points)]
        y = plot.bottom + 15 * k
        shapes += [
            self.text("0", plot.x, y, 13, "muted", "centre"),
            self.text(f"{end:,} steps", plot.right, y, 13, "muted", "right"),
        ]
        if plot.width > 400 * k:
            entries = (single, "main_soft"), ("running mean", "main")
            shapes += self.legend(plot.x + 0.2 * plot.width, y, entries)
        return shapes

    def rewards(self, data: Dashboard, box: _Box) -> list[Shape]:
        """Rewards of the last episode, a bar for each step."""
        k, theme = self.scale, self.theme
        rewards, title = data.rewards, "Rewards of the last episode"
        if rewards is None and data.running_rewards is not None:
            if len(data.running_rewards):
                rewards, title = data.running_rewards[-60:], "The last rewards"
        aside = ""
        if rewards is not None:
            steps = "1 step" if len(rewards) == 1 else f"{len(rewards):,} steps"
            total = short(round(float(rewards.sum()), 3))
            aside = f"{steps}, sum {total}"
        shapes = self.card(box, title, aside)
        if rewards is None:
            return [*shapes, *self.waiting("no episode has ended yet", box)]
        plot = _Box(
            box.x + 62 * k, box.y + 40 * k, box.width - 78 * k, box.height - 52 * k
        )
        values = extremes(rewards, _MAX_POINTS)
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        if low == high:
            high = 1.0

        def y_of(value: float) -> float:
            return plot.bottom - plot.height * (value - low) / (high - low)

        for tick in {low, 0.0, high}:
            is_near = tick not in (0.0,) and abs(y_of(tick) - y_of(0)) < 13 * k
            if not is_near:
                label = short_number(tick)
                x, y = plot.x - 8 * k, y_of(tick)
                shapes.append(self.text(label, x, y, 13, "muted", "right", 50 * k))
        zero = y_of(0.0)
        shapes.append(Line((plot.x, zero), (plot.right, zero), theme.muted, k))
        pitch = min(plot.width / len(values), 48 * k)
        # Narrow gaps would be of different widths in pixels.
        width = 0.72 * pitch if pitch >= 6 * k else pitch
        for i, value in enumerate(values):
            if value == 0:
                continue
            y = y_of(float(value))
            colour = theme.main if value > 0 else theme.second
            height = max(abs(zero - y), 2 * k)
            top = zero - height if value > 0 else zero
            x = plot.x + (i + 0.5) * pitch - width / 2
            shapes.append(Rectangle(x, top, width, height, colour))
        return shapes

    def policy(self, tables: Tables, names: Sequence[str], box: _Box) -> list[Shape]:
        """Probability of each action (row) in each state (column)."""
        n_states = len(tables.policy)
        shown = tables.policy[:MAX_STATES]
        aside = "each column is a state"
        if n_states > MAX_STATES:
            aside = f"states 0 to {MAX_STATES - 1} of {n_states}"
        if n_states == 1:
            aside = "one state"
        shapes = self.card(box, "Policy: probability of each action", aside)
        cells = self.matrix(shown.shape, names, box, numbers=True)
        shapes += cells.frame
        for s, a in np.ndindex(shown.shape):
            x, y = cells.at(s, a)
            share, width, height = float(shown[s, a]), cells.width, cells.height
            if cells.has_numbers:
                number = percentages(shown[s].tolist())[a]
                end, middle = x + width + 46 * self.scale, y + height / 2
                shapes.append(
                    self.text(number, end, middle, cells.text_size, anchor="right")
                )
            if share == 0:
                continue
            # A bar from the left of its cell, or from the bottom of a narrow one.
            if cells.has_numbers or width >= 2 * height:
                bar = Rectangle(x, y, width * share, height, self.theme.main)
            else:
                top = y + height * (1 - share)
                bar = Rectangle(x, top, width, height * share, self.theme.main)
            shapes.append(bar)
        return shapes

    def gradient(self, tables: Tables, names: Sequence[str], box: _Box) -> list[Shape]:
        """Exact gradient and the last update's, for each action and state."""
        k = self.scale
        aside = ""
        if math.isfinite(tables.cosine):
            aside = f"cosine {signed(tables.cosine)}"
            if tables.n_mean > 1:
                together = signed(tables.mean_cosine)
                aside += f" ({tables.n_mean} averaged: {together})"
        shapes = self.card(box, "Gradient: exact and estimate", aside)
        if tables.exact is None or tables.estimate is None:
            return [*shapes, *self.waiting("no update has been made yet", box)]
        exact, estimate = tables.exact[:MAX_STATES], tables.estimate[:MAX_STATES]
        cells = self.matrix(exact.shape, names, box, legend=True)
        shapes += cells.frame
        for s, a in np.ndindex(exact.shape):
            x, y = cells.at(s, a)
            pair = float(exact[s, a]), float(estimate[s, a])
            shapes += self.two_bars(pair, x, y, cells.width, cells.height)
        y = box.bottom - 15 * k
        entries = (("exact gradient", "main"), ("last update", "second"))
        shapes += self.legend(box.x + 84 * k, y, entries)
        note = "change of each probability"
        x = box.right - 14 * k
        if box.width > 430 * k:
            shapes.append(self.text(note, x, y, 13, "muted", "right", 190 * k))
        return shapes

    def two_bars(
        self,
        values: tuple[float, float],
        x: float,
        y: float,
        width: float,
        height: float,
    ) -> list[Shape]:
        """Two numbers from -1 to 1 as bars from the middle of a cell.

        Along its longer side: to the right or upwards for positive ones.
        """
        k, theme = self.scale, self.theme
        colours = theme.main, theme.second
        if width >= 2.5 * height:
            middle, thick = x + width / 2, 0.42 * height
            zero = Line((middle, y), (middle, y + height), theme.muted, 0.8 * k)
            shapes: list[Shape] = [zero]
            for i, (value, colour) in enumerate(zip(values, colours, strict=True)):
                length, top = (
                    abs(value) * width / 2,
                    y + 0.06 * height + i * 1.1 * thick,
                )
                left = middle if value > 0 else middle - length
                if length >= 0.4:
                    shapes.append(Rectangle(left, top, length, thick, colour))
            return shapes
        middle, thick = y + height / 2, 0.44 * width
        shapes = [Line((x, middle), (x + width, middle), theme.muted, 0.8 * k)]
        for i, (value, colour) in enumerate(zip(values, colours, strict=True)):
            length, left = abs(value) * height / 2, x + 0.06 * width + i * thick
            top = middle - length if value > 0 else middle
            if length >= 0.4:
                shapes.append(Rectangle(left, top, thick, length, colour))
        return shapes

    def matrix(
        self,
        shape: tuple[int, ...],
        names: Sequence[str],
        box: _Box,
        legend: bool = False,
        numbers: bool = False,
    ) -> _Cells:
        """Lays out a table: actions as rows with names, states as columns.

        Args:
            shape: numbers of states and actions.
            names: of the actions.
            box: the card around it.
            legend: whether to leave room for a legend below.
            numbers: whether to leave room for a number right of each cell, if there is
                enough.
        """
        k, (n_states, n_actions) = self.scale, shape
        label = min(92.0, 14 + 8.5 * max(map(len, names), default=1)) * k
        top = box.y + (52 if n_states > 1 else 36) * k
        bottom = box.bottom - (28 if legend else 10) * k
        left, right = box.x + 14 * k + label, box.right - 14 * k
        pitch = (right - left) / n_states, (bottom - top) / n_actions
        gap = min(8 * k, 0.22 * pitch[0]), min(4 * k, 0.18 * pitch[1])
        width, height = pitch[0] - gap[0], pitch[1] - gap[1]
        # Names of flat rows are left out rather than too small to read.
        named = max(1, math.ceil(14 * k / pitch[1]))
        size = min(14.0, 0.8 * named * pitch[1] / k)
        number_size = min(14.0, 0.8 * pitch[1] / k)
        has_numbers = numbers and width > 110 * k and number_size >= 9
        if has_numbers:
            # A full bar is one that fills its cell: the number stands beside it.
            width -= 50 * k
        frame: list[Shape] = []
        for a in range(n_actions):
            y = top + (a + 0.5) * pitch[1]
            name = names[a] if a < len(names) else str(a)
            if a % named == 0:
                left_end = box.x + 14 * k
                frame.append(self.text(name, left_end, y, size, room=label - 6 * k))
            for s in range(n_states):
                x = left + s * pitch[0]
                frame.append(
                    Rectangle(x, y - height / 2, width, height, self.theme.grid)
                )
        if n_states > 1:
            every = max(1, math.ceil(20 * k / pitch[0]))
            for s in range(0, n_states, every):
                x = left + s * pitch[0] + width / 2
                name = f"state {s}" if pitch[0] > 64 * k else str(s)
                frame.append(self.text(name, x, top - 9 * k, 13, "muted", "centre"))
        return _Cells(frame, left, top, pitch, width, height, has_numbers, number_size)

    def legend(
        self, x: float, y: float, entries: Sequence[tuple[str, str]]
    ) -> list[Shape]:
        k = self.scale
        shapes: list[Shape] = []
        for name, colour in entries:
            square = 10 * k
            fill = getattr(self.theme, colour)
            shapes.append(Rectangle(x, y - square / 2, square, square, fill))
            shapes.append(self.text(name, x + 15 * k, y, 13, "muted"))
            x += (32 + 7.2 * len(name)) * k
        return shapes

    def dashes(self, left: float, right: float, y: float) -> list[Shape]:
        step = 12 * self.scale
        n = int((right - left) / step)
        return [
            Line(
                (left + i * step, y),
                (left + (i + 0.5) * step, y),
                self.theme.good,
                1.6 * self.scale,
            )
            for i in range(n)
        ]

    def waiting(self, text: str, box: _Box) -> list[Shape]:
        x, y = box.x + box.width / 2, box.y + box.height / 2 + 8 * self.scale
        return [self.text(text, x, y, 15, "muted", "centre", box.width - 20)]


@dataclass(frozen=True)
class _Cells:
    """The cells of a table, their frame, and whether numbers of a size fit in them."""

    frame: list[Shape]
    left: float
    top: float
    pitch: tuple[float, float]
    width: float
    height: float
    has_numbers: bool
    text_size: float

    def at(self, state: int, action: int) -> tuple[float, float]:
        """Returns the top left corner of a cell."""
        y = self.top + (action + 0.5) * self.pitch[1] - self.height / 2
        return self.left + state * self.pitch[0], y


def axis(low: float, high: float, n_ticks: int) -> tuple[float, float, list[float]]:
    """Returns limits that enclose two numbers, and round ticks within them.

    Args:
        low: smallest number.
        high: largest number.
        n_ticks: about how many ticks.
    """
    if high - low < 1e-9 * max(abs(low), abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / n_ticks
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999)
    pad = 0.06 * (high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return low - pad, high + pad, ticks


def thinned(
    steps: NDArray[np.int64], values: Table, means: Table, end: int
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Returns at most 240 groups of consecutive episodes, by number of steps.

    Args:
        steps: number of steps at the end of each episode, `[E]`, increasing.
        values: returns, `[E]`.
        means: their running mean, `[E]`.
        end: number of steps at the right end of the plot.

    Returns:
        Steps of each group, its lowest and highest return, and the running mean after
        its last episode.
    """
    if len(values) <= _MAX_POINTS:
        x = steps.astype(float).tolist()
        return x, values.tolist(), values.tolist(), means.tolist()
    groups = np.minimum(steps * _MAX_POINTS // end, _MAX_POINTS - 1)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ends = np.append(starts[1:], len(values)) - 1
    return (
        steps[ends].astype(float).tolist(),
        np.minimum.reduceat(values, starts).tolist(),
        np.maximum.reduceat(values, starts).tolist(),
        means[ends].tolist(),
    )


def extremes(values: Table, n: int) -> Table:
    """Returns at most n values: of each group the one that is farthest from 0."""
    if len(values) <= n:
        return values
    groups = np.array_split(values, n)
    return np.array([group[np.abs(group).argmax()] for group in groups])


def short_number(value: float) -> str:
    """Formats the number of an axis: "-1", "0.25", "12k"."""
    if abs(value) >= 10_000:
        text = f"{value / 1000:.4g}k"
    else:
        text = f"{round(value, 6):.4g}"
    return text.replace("-", "−")  # noqa: RUF001
