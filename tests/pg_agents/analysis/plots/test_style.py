"""Saved figures: the format of the suffix."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pg_agents.analysis.plots import save_figure


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG\r"), (".svg", b"<?xml"), (".pdf", b"%PDF-")],
)
def test_the_suffix_chooses_the_format(
    suffix: str, start: bytes, tmp_path: Path
) -> None:
    figure = Figure()
    figure.subplots().plot([0, 1], [1, 0])
    path = tmp_path / f"figure{suffix}"
    save_figure(figure, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes().startswith(start)
