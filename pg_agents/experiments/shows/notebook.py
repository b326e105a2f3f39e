"""Row notebook-view: a run that plays inside a notebook, or in a page of its own."""

from __future__ import annotations

import base64
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from pg_agents.common.files import write_whole
from pg_agents.experiments.showing import Shown, ShowRequest
from pg_agents.experiments.shows.parts import trained_run
from pg_agents.experiments.watching import record

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>{image}</body>
</html>
"""


def gif_html(path: Path) -> str:
    """Returns an HTML image that holds the GIF itself: no file has to lie beside it.

    Args:
        path: of the GIF.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is no GIF.
    """
    content = path.read_bytes()
    if not content.startswith(b"GIF8"):
        raise ValueError(f"path must be that of a GIF, got {path}")
    data = base64.b64encode(content).decode()
    return f'<img alt="{path.stem}" src="data:image/gif;base64,{data}">'


def in_notebook() -> bool:
    """Whether this runs in an IPython that can show pictures."""
    if importlib.util.find_spec("IPython") is None:
        return False
    ipython: Any = importlib.import_module("IPython")
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def show(request: ShowRequest) -> Shown:
    """Films an episode of a trained run, and shows it where it can be seen."""
    folder = trained_run(request)
    returns: list[float] = []
    film = request.folder / "episode.gif"
    record(folder, film, 1, returns.append)
    image = gif_html(film)
    page = request.folder / "episode.html"
    title = f"{folder.config.name}, seed {folder.seed}"
    write_whole(page, _PAGE.format(title=title, image=image).encode(), "html")
    if in_notebook():
        display: Any = importlib.import_module("IPython.display")
        display.display(display.HTML(image))
        where = "shown in the notebook"
    else:
        where = f"{page.relative_to(request.out)} is to be opened in a browser"
    return Shown((f"an episode with a return of {returns[0]:.4g}: {where}",))
