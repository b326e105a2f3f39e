"""The benchmark of GPUs: turns, ratios, the page; without a GPU it says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import gpu
from bench.gpu import (
    Durations,
    learning,
    main,
    make_handler,
    measure,
    medians,
    page,
    pays_from,
)
from tests.stand_in import DEVICES, context_of

NAMES = list(gpu.SIDES)


def rates(*rows: tuple[float, float]) -> dict[int, dict[str, float]]:
    return {
        8**k: {NAMES[0]: on_gpu, NAMES[1]: on_cpu, NAMES[2]: 1.0}
        for k, (on_gpu, on_cpu) in enumerate(rows)
    }


@pytest.mark.parametrize(
    ("rows", "smallest"),
    [
        ([(1, 2), (3, 2), (9, 2)], 8),
        ([(3, 2), (1, 2), (9, 2)], 64),
        ([(3, 2), (3, 2)], 1),
        ([(3, 2), (1, 2)], None),
        ([(2, 2)], None),
    ],
)
def test_the_gpu_pays_from_a_size_and_with_all_larger_ones(
    rows: list[tuple[float, float]], smallest: int | None
) -> None:
    assert pays_from(rates(*rows)) == smallest


class FakeWorker:
    """Answers with known rates and records its turns."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def ask(self, **command: Any) -> dict[str, float]:
        assert (command["env_id"], command["n_envs"]) == ("CartPole-v1", 4)
        if command["do"] == "calibrate":
            return {"steps": 100.0, "seconds": 1.0}
        self.turns.append(self.name)
        assert command["steps"] == 201
        return {"steps": 300.0, "seconds": float(command["seed"])}


def test_sides_take_turns() -> None:
    turns: list[str] = []
    workers = {name: FakeWorker(name, turns) for name in NAMES}
    durations = Durations(repeats=3, seconds=2.0, sizes=(4,))
    found = measure(workers, "CartPole-v1", 4, durations)
    assert found == {name: [300.0, 150.0, 100.0] for name in NAMES}
    assert turns == NAMES * 3


def test_a_process_measures_one_size_after_the_other() -> None:
    side = {"algorithm": "ActorCritic", "device": "cpu", "env_device": "cpu"}
    handle, _ = make_handler({**side, "threads": 1})
    run = {"do": "run", "steps": 1, "seed": 0}
    for env_id in gpu.ENV_IDS:
        for n_envs in (1, 3):
            facts = handle({**run, "env_id": env_id, "n_envs": n_envs})
            assert facts["steps"] == 5 * n_envs


def test_the_page_has_medians_ratios_and_the_size_from_which_it_pays() -> None:
    turns = {
        "8": {NAMES[0]: [1.0, 3_000.0, 2e9], NAMES[1]: [6_000.0], NAMES[2]: [1_000.0]},
        "64": {NAMES[0]: [9_000.0], NAMES[1]: [6_000.0], NAMES[2]: [1_200.0]},
    }
    assert medians(turns)[8][NAMES[0]] == 3_000.0
    text = page({"machine": "A machine", "turns": {"CartPole-v1": turns}})
    assert "| 8 | 3,000 | 6,000 | 1,000 | 0.50 | 3.00 |" in text
    assert "| 64 | 9,000 | 6,000 | 1,200 | 1.50 | 7.50 |" in text
    assert "faster than the CPU from 64 environments on" in text
    assert "A machine." in text


@pytest.mark.filterwarnings("ignore:You are trying to run .* on the GPU")
@pytest.mark.parametrize("device", ["cpu", *DEVICES])
@pytest.mark.parametrize("env_id", gpu.ENV_IDS)
@pytest.mark.parametrize("algorithm", ["ActorCritic", "A2C"])
def test_a_side_learns_on_its_device(algorithm: str, env_id: str, device: str) -> None:
    settings = {"algorithm": algorithm, "env_id": env_id, "n_envs": 2}
    settings |= {"device": device, "env_device": device}
    with context_of(device):
        assert learning(settings)(1)(11) == {"steps": 20.0}


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err
