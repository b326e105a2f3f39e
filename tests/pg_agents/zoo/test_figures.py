"""Figures that would be shown are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from PIL import Image

from pg_agents.zoo.figures import save_figures, take_figure


def test_the_option_is_taken_out_and_the_rest_is_left() -> None:
    rest = ["-a", "reinforce", "-f", "logs"]
    assert take_figure(rest) == (None, rest)
    for given in (["--figure", "x.png"], ["--figure=x.png"]):
        assert take_figure([*rest[:2], *given, *rest[2:]]) == (Path("x.png"), rest)
    # No abbreviation is taken for it: --fig may be another's.
    assert take_figure(["--fig", "8"]) == (None, ["--fig", "8"])


def test_every_figure_of_the_function_is_written_and_closed(tmp_path: Path) -> None:
    mine = plt.figure()
    show = plt.show

    def plot() -> None:
        for width in (2, 3):
            plt.figure(figsize=(width, 1), dpi=100)
        plt.show()

    files = save_figures(plot, tmp_path / "plot.png")
    assert files == [tmp_path / "plot.png", tmp_path / "plot-2.png"]
    sizes = []
    for file in files:
        with Image.open(file) as picture:
            sizes.append(picture.size)
    assert sizes == [(200, 100), (300, 100)]
    # A figure that was there before is nobody else's to write or close.
    assert plt.get_fignums() == [mine.number]
    assert plt.show is show
    plt.close(mine)


def test_the_function_shows_again_after_an_error(tmp_path: Path) -> None:
    show = plt.show

    def fail() -> None:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        save_figures(fail, tmp_path / "plot.png")
    assert plt.show is show and not list(tmp_path.iterdir())
