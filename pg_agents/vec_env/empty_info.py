"""The info of an environment that has nothing to say."""

from __future__ import annotations

from typing import Any, NoReturn


class EmptyInfo(dict[str, Any]):
    """An empty dict that stays empty: one for all environments, in every step.

    A dict of its own for each of thousands of environments would cost more than their
    step. Copies are ordinary dicts.
    """

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "the info of an environment whose episode goes on is empty and shared by "
            "all of them: replace it in the list, infos[i] = {...}, to add to it"
        )

    __setitem__ = setdefault = update = __ior__ = _refuse

    def copy(self) -> dict[str, Any]:
        """Returns an ordinary empty dict."""
        return {}

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[()]]:
        """Says how to copy and pickle it: as an ordinary empty dict."""
        return dict, ()


NO_INFO: dict[str, Any] = EmptyInfo()
