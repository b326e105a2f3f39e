"""Stand-ins for packages that a script imports and that do not touch its gradient."""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing.process
import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

# Plotting, logging, video and progress bars.
_IGNORABLE = frozenset(
    "wandb tensorboardX tensorboard comet_ml mlflow neptune visdom aim clearml "
    "matplotlib seaborn plotly bokeh pyglet imageio cv2 moviepy PIL skvideo pygame "
    "IPython ipywidgets tqdm rich termcolor colorama colorlog loguru livelossplot "
    "pyvirtualdisplay google torchsummary torchinfo torchviz graphviz pandas "
    "tabulate prettytable icecream huggingface_hub huggingface_sb3".split()
)
# Replaced even if they are installed: they write a file per event, or upload models.
_REPLACED = ("torch.utils.tensorboard", "huggingface_hub", "huggingface_sb3")


class Anything(types.ModuleType):
    """A module, a class, a function and a value on which every operation works."""

    def __init__(self, name: str = "stub") -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Returns another one."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        child = Anything(f"{self.__name__}.{name}")
        setattr(self, name, child)
        return child

    def __call__(self, *args: Any, **_: Any) -> Any:
        """Returns what a progress bar iterates over, and otherwise itself."""
        name = self.__name__.rpartition(".")[2]
        if name == "trange":
            return range(*args)
        return args[0] if args and name in ("tqdm", "track") else self

    def __iter__(self) -> Any:
        """Iterates over two of them, as `fig, ax = plt.subplots()` expects."""
        return iter((self, self))

    def __getitem__(self, key: Any) -> Any:
        """Returns itself."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Does nothing."""

    def __enter__(self) -> Any:
        """Returns itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Does nothing."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ignorable packages that are not installed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns a specification for ignorable packages."""
        if fullname.split(".")[0] in _IGNORABLE:
            return importlib.util.spec_from_loader(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Returns the stand-in."""
        return Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Does nothing."""


def install(finish: Callable[[str], None], text: str | None) -> None:
    """Puts the stand-ins in place.

    Args:
        finish: is called with one sentence where the script cannot be checked.
        text: the script's standard input; None if it must not ask for any.
    """
    # The last finder: packages that are installed are used.
    sys.meta_path.append(_Finder())
    sys.modules.update({name: Anything(name) for name in _REPLACED})
    sys.meta_path.insert(0, _PyplotFinder())
    _make_folders()
    # Scripts wait while they show something.
    time.sleep = lambda _: None

    def refuse_process(*_: Any, **__: Any) -> None:
        finish(
            "the script starts other processes: environments and training must be in "
            "the process of the script itself"
        )

    multiprocessing.process.BaseProcess.start = refuse_process  # type: ignore[method-assign]
    if text is None:

        def refuse_input(prompt: object = "", /) -> str:
            finish(
                f"the script asks for input ({str(prompt)!r}): say with --input what "
                "it should read"
            )
            return ""

        builtins.input = refuse_input


def _make_folders() -> None:
    """Makes the folders of the files that the script writes."""
    original_open, original_save = builtins.open, torch.save

    def make_folder(path: Any) -> None:
        if isinstance(path, str | os.PathLike):
            Path(path).parent.mkdir(parents=True, exist_ok=True)

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax"):
            make_folder(file)
        return original_open(file, mode, *args, **kwargs)

    def save(what: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        make_folder(f)
        original_save(what, f, *args, **kwargs)

    builtins.open = open_file
    torch.save = save  # type: ignore[assignment]


class _PyplotFinder(importlib.abc.MetaPathFinder):
    """Changes `matplotlib.pyplot` when a script imports it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the specification of the package, which never shows anything."""
        if fullname != "matplotlib.pyplot":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: types.ModuleType) -> None:
                execute(module)
                _never_show(module)

            spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def _never_show(pyplot: types.ModuleType) -> None:
    """Makes matplotlib's windows and pauses do nothing."""

    def nothing(*_: Any, **__: Any) -> None:
        """Does nothing."""

    for name in ("show", "pause", "draw", "ion"):
        setattr(pyplot, name, nothing)
