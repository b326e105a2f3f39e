"""REINFORCE learns three states in a row: right, right, centre.

A window shows one agent before, during and after its training. Then ten runs of 500
episodes repeat the recipe sequence-reinforce: a linear softmax policy, AdamW with step
size 0.01, gamma 0.6, one update per episode. Ctrl-C stops the training and continues
with the runs so far.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import (
    RunsBar,
    ShowLearning,
    describe,
    live_view,
    parse_options,
    save,
    say_saved,
    show_agent,
)
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes

from pg_agents import REINFORCE, LiveView
from pg_agents.analysis.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_losses,
    plot_returns,
)
from pg_agents.callbacks import (
    ProgressCallback,
    Recorder,
    StopOnInterrupt,
    StopWhenSolved,
    TrainingRecord,
)
from pg_agents.callbacks.recorder import action_probabilities

ENV_ID = "pg_envs:PGToy-Sequence-v0"
ACTIONS = ("left", "centre", "right")
STATES = ("state 0", "state 1", "state 2")
OBSERVATIONS = np.array([[-1.0], [0.0], [1.0]], dtype=np.float32)
BEST = (2, 2, 1)
BEST_RETURN = 0.9
TITLE = "REINFORCE on PGToy-Sequence-v0"
MAX_STEPS = 50_000
# Numbers of episodes after which the policy is shown.
SHOWN_AT = (0, 30, 100)
# Updates per second in the live view, at which the eye can follow.
SPEED = 20.0


@dataclass(frozen=True)
class Run:
    """Final policy `[3, 3]`, actions of the last episode, and record of a run."""

    probabilities: NDArray[np.float64]
    last_actions: list[int]
    record: TrainingRecord
    interrupted: bool

    @property
    def is_optimal(self) -> bool:
        """Whether the most probable actions are right, right, centre."""
        return tuple(self.probabilities.argmax(axis=1)) == BEST


class LastEpisode(BaseCallback):
    """Records the actions of the last finished episode."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[int] = []
        self._current: list[int] = []

    def _on_step(self) -> bool:
        self._current.append(int(self.locals["actions"][0]))
        if self.locals["dones"][0]:
            self.actions, self._current = self._current, []
        return True


def make_model(seed: int) -> REINFORCE:
    """Returns the untrained agent of the recipe sequence-reinforce."""
    return REINFORCE(
        "MlpPolicy",
        ENV_ID,
        learning_rate=0.01,
        gamma=0.6,
        # No hidden layer: a linear map from the observation to three logits.
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.AdamW},
        seed=seed,
    )


def train_until_solved(
    options: Namespace, view: LiveView | None = None
) -> tuple[REINFORCE, TrainingRecord]:
    """Trains one agent until its running reward reaches the threshold.

    Args:
        options: of `parse_options`.
        view: shows the training; its window stays open until the user closes it. None
            shows an episode now and then.
    """
    model = make_model(options.seed)
    recorder = Recorder(OBSERVATIONS)
    callbacks: list[BaseCallback] = [
        ProgressCallback(),
        StopWhenSolved(),
        StopOnInterrupt(),
        recorder,
    ]
    if view is None:
        show = ShowLearning(ENV_ID, options, SHOWN_AT)
        model.learn(MAX_STEPS, callback=[*callbacks, show])
    else:
        with view:
            model.learn(MAX_STEPS, callback=[*callbacks, view])
            view.wait()
    return model, recorder.record


def train_for(n_episodes: int, seed: int, bar: BaseCallback) -> Run:
    """Trains for a fixed number of episodes."""
    model = make_model(seed)
    recorder, last, interrupt = Recorder(OBSERVATIONS), LastEpisode(), StopOnInterrupt()
    # Stopping by episodes, not steps, so that the last episode is learnt from.
    stop = StopTrainingOnMaxEpisodes(n_episodes)
    model.learn(100 * n_episodes, callback=[bar, recorder, last, interrupt, stop])
    table = action_probabilities(model, OBSERVATIONS)
    return Run(table, last.actions, recorder.record, interrupt.interrupted)


def make_runs(n_runs: int, n_episodes: int, seed: int) -> list[Run]:
    """Trains with consecutive seeds; Ctrl-C ends the series."""
    runs: list[Run] = []
    with RunsBar(n_runs, n_episodes, "episode") as bar:
        while len(runs) < n_runs and not (runs and runs[-1].interrupted):
            number = len(runs)
            runs.append(train_for(n_episodes, seed + number, bar.of_run(number)))
    return runs


def print_policy(table: NDArray[np.float64]) -> None:
    """Prints the probability of each action in each state."""
    print("  " + " " * 9 + "".join(f"{action:>9}" for action in ACTIONS) + "   best")
    for name, row in zip(STATES, table, strict=True):
        cells = "".join(f"{probability:9.3f}" for probability in row)
        print(f"  {name:9}{cells}   {ACTIONS[row.argmax()]}")


def print_runs(runs: list[Run], seed: int) -> None:
    """Prints policy and last actions of each run, and how many are optimal."""
    print("\nThe most probable action in each state, and the last episode's actions:")
    for number, run in enumerate(runs):
        best = run.probabilities.argmax(axis=1)
        shares = run.probabilities.max(axis=1)
        policy = ", ".join(
            f"{ACTIONS[action]} {share:.2f}"
            for action, share in zip(best, shares, strict=True)
        )
        last = describe(run.last_actions, ACTIONS) or "no episode ended"
        print(f"  seed {seed + number:<3} {policy:<40} last: {last}")
    n_optimal = sum(run.is_optimal for run in runs)
    print(
        "The most probable actions are right, right, centre in "
        f"{n_optimal} of {len(runs)} runs."
    )


def save_pictures(first: TrainingRecord, runs: list[Run], out: Path) -> None:
    """Saves curves over the runs, and an animation of the first agent's policy."""
    records = [run.record for run in runs]
    print("\nPictures:")
    save(plot_losses(records, window=10, title=TITLE), out / "losses.png")
    figure = plot_returns(records, 10, TITLE, BEST_RETURN)
    save(figure, out / "returns.png")
    figure = plot_action_probabilities(records, ACTIONS, STATES, title=TITLE)
    save(figure, out / "action_probabilities.png")
    path = out / "action_probabilities.gif"
    animate_action_probabilities(first, ACTIONS, path, STATES)
    say_saved(path)


def main() -> None:
    """Trains, prints, draws and shows."""
    options = parse_options(__doc__, "sequence", runs=10, episodes=500)
    print("One agent, until it is solved (running reward of 0.85; the best is 0.90):")
    model, first = train_until_solved(options, live_view(options, SPEED))
    print("\nWhat it has learnt, the probability of each action in each state:")
    print_policy(action_probabilities(model, OBSERVATIONS))
    # Its episodes are all the same, and a GIF starts again by itself.
    show_agent(model, ENV_ID, options, n_episodes=2 if options.render == "human" else 1)
    print(f"\n{options.runs} runs of {options.episodes} episodes:")
    runs = make_runs(options.runs, options.episodes, options.seed)
    print_runs(runs, options.seed)
    save_pictures(first, runs, options.out)


if __name__ == "__main__":
    main()
