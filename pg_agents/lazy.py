"""Packages that load their names and modules when they are first asked for (PEP 562).

`pg_agents` and `pg_envs` have the same file, since neither imports the other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def load_lazily(package: str, homes: Mapping[str, Sequence[str]] | None = None) -> None:
    """Gives a package the `__getattr__` and the `__dir__` of PEP 562.

    Every public module of the package becomes an attribute of it, and so does every
    name in `homes`. `dir()` lists these, `__all__` and the dunder names, and nothing
    that the package has merely imported.

    Args:
        package: the package's `__name__`; called while it is being imported.
        homes: for each module of the package, by its name below the package, the names
            that are loaded from it when they are first asked for.
    """
    found = sys.modules[package]
    home_of = {name: home for home, names in (homes or {}).items() for name in names}

    def load(name: str) -> Any:  # noqa: ANN401
        """Returns a name or a module of the package."""
        if name in home_of:
            return getattr(import_module(f"{package}.{home_of[name]}"), name)
        module = f"{package}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(module)
            except ModuleNotFoundError as error:
                # A module that is there may miss another, which is an error of its own.
                if not module.startswith(error.name or module):
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        """Returns the public names, the modules of the package and the dunder names."""
        # Imported here: to import a package does without it.
        from pkgutil import iter_modules

        dunder = {name for name in vars(found) if name.startswith("__")}
        modules = {module.name for module in iter_modules(found.__path__)}
        public = {name for name in modules if not name.startswith("_")}
        return sorted({*dunder, *public, *getattr(found, "__all__", ())})

    vars(found).update(__getattr__=load, __dir__=names)
