"""The environment that PureJaxRL's side runs in: gymnax pins an older gymnasium."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.process import ROOT

REQUIREMENTS = Path(__file__).parent / "purejax-requirements.txt"


def pure_jax_python() -> Path:
    """Returns the interpreter, after making its environment if there is none.

    It lies in out/, under a name that changes with the requirements.
    """
    pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / "out" / f"purejax-{pins}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"making {folder.relative_to(ROOT)} for jax and gymnax", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = f"-m pip install --quiet --requirement {REQUIREMENTS.name}"
        subprocess.run([python, *install.split()], check=True, cwd=REQUIREMENTS.parent)
        done.touch()
    return python
