"""Whose checkpoint is it?"""

from __future__ import annotations

import json
import zipfile
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from stable_baselines3.common.save_util import open_path


def refuse_foreign_checkpoint(
    path: str | Path | BufferedIOBase, algorithm: type
) -> dict[str, Any]:
    """Raises unless a file was saved by `algorithm` or by a class that it extends.

    Nothing of the file is executed: the name of the class is plain text in it.

    Args:
        path: as given to SB3's `load`; a file-like object is put back to its start.
        algorithm: the class that is to load it.

    Returns:
        The model's attributes as they stand in the file, in JSON.

    Raises:
        ValueError: if it was saved by another class, or is no checkpoint at all.
        FileNotFoundError: if there is no such file.
    """
    file = open_path(path, "r", verbose=0, suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            data: dict[str, Any] = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path} is no checkpoint: expected a zip file with an entry 'data', as "
            f"written by {algorithm.__name__}.save"
        ) from error
    finally:
        if file is path:
            file.seek(0)
        else:
            file.close()
    saved_by = data.get("algorithm")
    accepted = [base.__name__ for base in algorithm.__mro__]
    if saved_by not in accepted:
        raise ValueError(
            f"{path} was saved by "
            f"{saved_by or 'a class that is not one of pg_agents'}, and "
            f"{algorithm.__name__}.load accepts what {algorithm.__name__}.save wrote"
        )
    return data
