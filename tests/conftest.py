"""What every test needs before anything is imported: no screen, one torch thread."""

import atexit
import os
import shutil
import tempfile

import torch

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# SB3's logger makes a folder for every learn(): here, and it goes with the tests.
os.environ["SB3_LOGDIR"] = tempfile.mkdtemp(prefix="pgtoy-tests-")
atexit.register(shutil.rmtree, os.environ["SB3_LOGDIR"], ignore_errors=True)

# Networks of a few dozen weights lose time on a second thread.
torch.set_num_threads(1)
