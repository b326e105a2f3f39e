"""How to install an extra of this package."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(*extras: str) -> str:
    """Returns the pip command that adds extras to this installation.

    A clone is installed again from its folder, in place if it was installed so; a
    release by its name.

    Args:
        *extras: names in pyproject.toml.
    """
    names = ",".join(extras)
    try:
        text = distribution("pgtoy").read_text("direct_url.json")
    except PackageNotFoundError:
        text = None
    origin = json.loads(text) if text else {}
    url = urlsplit(origin.get("url", ""))
    if url.scheme != "file" or "dir_info" not in origin:
        return f'pip install "pgtoy[{names}]"'
    editable = "-e " if origin["dir_info"].get("editable") else ""
    return f'pip install {editable}"{url2pathname(url.path)}[{names}]"'
