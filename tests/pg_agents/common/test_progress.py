"""Bars in a terminal, and in notebooks with and without ipywidgets."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What tqdm looks for in a notebook: a kernel, and the widgets that it draws with.
KERNEL = """
import sys, types
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: types.SimpleNamespace()
display = types.ModuleType("IPython.display")
display.display = print
sys.modules |= {"IPython": ipython, "IPython.display": display}
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipywidgets"] = None
"""
WIDGETS = """
widgets = types.ModuleType("ipywidgets")
for name in ("FloatProgress", "HBox", "HTML"):
    setattr(widgets, name, type(name, (), {}))
widgets.IntProgress = widgets.FloatProgress
sys.modules["ipywidgets"] = widgets
"""
IMPORT = "from pg_agents.common.progress import IS_WIDGET; print(IS_WIDGET)"


@pytest.mark.parametrize(
    ("before", "is_widget"),
    [("", "False"), (KERNEL, "False"), (KERNEL + WIDGETS, "True")],
    ids=["terminal", "notebook without ipywidgets", "notebook"],
)
def test_a_notebook_that_can_show_widgets_has_one(before: str, is_widget: str) -> None:
    """Without a warning in any of them."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{before}\n{IMPORT}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (is_widget, "")
