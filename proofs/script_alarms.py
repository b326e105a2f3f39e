"""Counts how often the checker calls a right training script wrong.

Every right script of the tests runs with several seeds: of the tasks, the policies and
the actions. Each recording is judged as it is, and again from random halves of its
updates. The counts go to docs/script_alarms.json, which `make checker` reads.
`make script-alarms` takes about an hour and continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pg_agents.checker.script import sandbox
from pg_agents.checker.script.check import judge_recording
from pg_agents.checker.script.recording import Recording
from tests.pg_agents.checker.planted import CASES

OUT = Path(__file__).parent.parent / "docs" / "script_alarms.json"


def half_of(recording: Recording, rng: np.random.Generator) -> Recording:
    """Returns a recording with a random half of the updates of each record."""
    records = []
    for record in recording.records:
        n = len(record.updates)
        kept = np.sort(rng.choice(n, size=max(1, n // 2), replace=False))
        records.append(replace(record, updates=tuple(record.updates[i] for i in kept)))
    return replace(recording, records=tuple(records))


def verdicts(path: Path, seed: int, n_halves: int) -> dict[str, dict[str, int]]:
    """Runs a script and judges its recording.

    Args:
        path: the script.
        seed: of the tasks and of the random generators.
        n_halves: number of times that half of the updates is judged.

    Returns:
        Counts of verdicts of the run and of the halves.
    """
    recording = sandbox.run(path, seed=seed)
    if recording.error is not None:
        return {"runs": {"cannot check": 1}, "halves": {}}
    rng = np.random.default_rng(seed)
    halves: Counter[str] = Counter(
        judge_recording(half_of(recording, rng), path.name).verdict
        for _ in range(n_halves)
    )
    verdict = judge_recording(recording, path.name).verdict
    return {"runs": {verdict: 1}, "halves": dict(halves)}


def main() -> None:
    """Counts the verdicts that are not there yet, and stores them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="runs of each script")
    parser.add_argument("--halves", type=int, default=5, help="halves of each run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = json.loads(OUT.read_text()) if OUT.exists() else {}
    right = [case for case in CASES if case.verdict == "right"]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, options.seeds + 1):
            for case in tqdm(right, desc=f"seed {seed}"):
                key = f"{case.name} {seed}"
                if key not in done:
                    path = case.write(Path(folder))
                    done[key] = verdicts(path, seed, options.halves)
                    OUT.write_text(json.dumps(done, indent=1) + "\n")


if __name__ == "__main__":
    main()
