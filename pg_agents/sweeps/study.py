"""Tuning with several seeds per trial, and testing the best settings with others."""

from __future__ import annotations

import copy
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from pg_agents.analysis.statistics import bootstrap_interval, interquartile_mean
from pg_agents.common.checks import check_choice, check_count, check_integer
from pg_agents.common.extras import install_command
from pg_agents.common.files import check_writable
from pg_agents.sweeps.space import SearchSpace, parse_space

if TYPE_CHECKING:
    import optuna

    from pg_agents.analysis import Interval

Objective = Callable[[dict[str, Any], int], float]
StatisticName = Literal["iqm", "mean"]
# Names of attributes of trials, and of the study.
_SCORES, _CONTINUES, _FAILED = "scores", "continues", "failed"
_DEFINITION, _TEST_SCORES = "definition", "test scores of trial {}"


@dataclass(frozen=True)
class SweepResult:
    """Result of a sweep.

    Attributes:
        settings: settings of the best trial.
        trial: number of the best trial.
        tuning_scores: its score with each tuning seed; biased upwards, since it was
            chosen by them.
        test_scores: its score with each test seed.
        test_iqm: interquartile mean of the test scores.
        test_interval: 95 % bootstrap interval of it.
        n_completed: number of trials that ran with all tuning seeds.
        n_pruned: number of trials that were stopped after some seeds.
        n_failed: number of trials with a score that was not finite.
    """

    settings: dict[str, Any]
    trial: int
    tuning_scores: dict[int, float]
    test_scores: dict[int, float]
    test_iqm: float
    test_interval: Interval
    n_completed: int
    n_pruned: int
    n_failed: int


def tune(
    objective: Objective,
    space: Mapping[str, Sequence[Any]],
    *,
    name: str,
    storage: str | os.PathLike[str],
    n_trials: int,
    tuning_seeds: Sequence[int],
    test_seeds: Sequence[int],
    statistic: StatisticName = "iqm",
    seed: int = 0,
    pruner: optuna.pruners.BasePruner | None = None,
) -> SweepResult:
    """Looks for the best settings, and tests them with seeds not used for the choice.

    Each trial is run with the tuning seeds, one after the other, and judged by a
    statistic of its scores; Optuna's TPE draws the next one. After every seed but the
    last the trial may be pruned. The best trial is run with the test seeds.

    A call with the same name and storage continues the sweep: `n_trials` is the number
    to reach. A trial that was interrupted, by a kill or an exception, continues with
    the seeds it lacks. The draws depend on `seed` and the finished trials alone, so a
    sweep that was killed has the result of one that was not, if the objective is
    deterministic.

    Args:
        objective: `(settings, seed) -> score`, to be maximised. A score that is not
            finite fails the trial; an exception stops the sweep.
        space: the search space, see `parse_space`.
        name: name of the study; a storage may hold several.
        storage: file of Optuna's SQLite database; its folder has to exist.
        n_trials: number of completed, pruned and failed trials to reach.
        tuning_seeds: seeds of every trial, in this order.
        test_seeds: seeds of the best trial, different from the tuning seeds.
        statistic: `"iqm"` or `"mean"` of a trial's scores.
        seed: seed of the draws.
        pruner: None for Optuna's MedianPruner, which compares a trial after each seed
            with the completed ones after as many seeds, once there are five.

    Returns:
        The best settings and their scores.

    Raises:
        ImportError: if the extra is not installed; the message has the pip command.
        ValueError: if an argument is wrong, seeds overlap, the sweep was begun with
            other arguments, the storage is damaged or in use, or no trial completed.
    """
    sweep = _Sweep(objective, space, tuning_seeds, test_seeds, statistic, seed)
    check_count("n_trials", n_trials)
    with _open(storage) as database:
        import optuna

        study = optuna.create_study(
            study_name=name,
            storage=database,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner or optuna.pruners.MedianPruner(5),
        )
        sweep.check_definition(study)
        _requeue_interrupted(study)
        while _n_finished(study) < n_trials:
            sweep.run_trial(study)
        return sweep.test_best(study)


class _Sweep:
    """What a sweep runs, checked."""

    def __init__(
        self,
        objective: Objective,
        space: Mapping[str, Sequence[Any]],
        tuning_seeds: Sequence[int],
        test_seeds: Sequence[int],
        statistic: StatisticName,
        seed: int,
    ) -> None:
        if not callable(objective):
            raise TypeError(f"objective must be a function, got {objective!r}")
        check_choice("statistic", statistic, ("iqm", "mean"))
        check_integer("seed", seed, 0)
        for name, seeds in (("tuning_seeds", tuning_seeds), ("test_seeds", test_seeds)):
            if len(seeds) == 0 or len(set(seeds)) < len(seeds):
                raise ValueError(
                    f"{name} must be at least one seed, each once, got {seeds}"
                )
            for value in seeds:
                check_integer(name, value, 0)
        shared = sorted(set(tuning_seeds) & set(test_seeds))
        if shared:
            raise ValueError(
                "test_seeds must differ from the tuning_seeds, which the settings are "
                f"chosen by; {shared} are in both"
            )
        self.objective = objective
        self.space: SearchSpace = parse_space(space)
        self.tuning_seeds = [int(value) for value in tuning_seeds]
        self.test_seeds = [int(value) for value in test_seeds]
        self.statistic, self.seed = statistic, int(seed)
        # Through JSON, like the stored one; the order of the names counts.
        self.definition = json.loads(
            json.dumps(
                {
                    "space": [[name, list(entry)] for name, entry in space.items()],
                    "tuning_seeds": self.tuning_seeds,
                    "statistic": statistic,
                    "seed": self.seed,
                }
            )
        )

    def check_definition(self, study: optuna.Study) -> None:
        """Refuses to continue a sweep with other arguments."""
        stored = study.user_attrs.get(_DEFINITION)
        if stored is None:
            study.set_user_attr(_DEFINITION, self.definition)
            return
        for key, value in self.definition.items():
            if stored[key] != value:
                raise ValueError(
                    f"the sweep {study.study_name} was begun with another {key}: "
                    f"{stored[key]}, now {value}; give it another name"
                )

    def run_trial(self, study: optuna.Study) -> None:
        import optuna

        # A new sampler per trial: a restarted one would repeat its draws.
        state = np.random.SeedSequence([self.seed, _n_finished(study)])
        sampler_seed = int(state.generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=sampler_seed)
        trial = study.ask()
        settings = self.space.draw(trial)
        scores = dict(trial.user_attrs.get(_SCORES, {}))
        for step, seed in enumerate(self.tuning_seeds, start=1):
            if str(seed) not in scores:
                score = self._score(settings, seed, trial.number)
                if not math.isfinite(score):
                    trial.set_user_attr(_FAILED, f"seed {seed} scored {score}")
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    return
                scores[str(seed)] = score
                trial.set_user_attr(_SCORES, scores)
            so_far = [scores[str(each)] for each in self.tuning_seeds[:step]]
            average = interquartile_mean if self.statistic == "iqm" else np.mean
            value = float(average(so_far))
            trial.report(value, step)
            if step < len(self.tuning_seeds) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return
        study.tell(trial, value)

    def test_best(self, study: optuna.Study) -> SweepResult:
        trials = study.get_trials(deepcopy=False)
        states = [trial.state.name for trial in trials]
        n_failed = sum(_FAILED in trial.user_attrs for trial in trials)
        if "COMPLETE" not in states:
            raise ValueError(
                f"no trial of {study.study_name} was completed: {n_failed} failed, "
                f"{states.count('PRUNED')} were pruned"
            )
        best = study.best_trial
        # A finished trial suggests the values that it had.
        settings = self.space.draw(best)
        key = _TEST_SCORES.format(best.number)
        scores = dict(study.user_attrs.get(key, {}))
        for seed in self.test_seeds:
            if str(seed) not in scores:
                score = self._score(settings, seed, best.number)
                if not math.isfinite(score):
                    raise ValueError(
                        f"the best settings, {settings}, scored {score} with test seed "
                        f"{seed}"
                    )
                scores[str(seed)] = score
                study.set_user_attr(key, scores)
        test_scores = {seed: scores[str(seed)] for seed in self.test_seeds}
        return SweepResult(
            settings,
            best.number,
            {seed: best.user_attrs[_SCORES][str(seed)] for seed in self.tuning_seeds},
            test_scores,
            float(interquartile_mean(list(test_scores.values()))),
            bootstrap_interval(list(test_scores.values())),
            states.count("COMPLETE"),
            states.count("PRUNED"),
            n_failed,
        )

    def _score(self, settings: dict[str, Any], seed: int, trial: int) -> float:
        try:
            # A copy, which the objective may change.
            return float(self.objective(copy.deepcopy(settings), seed))
        except BaseException as error:
            error.add_note(f"in trial {trial} of the sweep, seed {seed}: {settings}")
            raise


def _requeue_interrupted(study: optuna.Study) -> None:
    """Queues each interrupted trial once, with the scores that it has."""
    trials = study.get_trials(deepcopy=False)
    requeued = {trial.user_attrs.get(_CONTINUES) for trial in trials}
    for trial in trials:
        if trial.state.name != "RUNNING":
            continue
        scores = trial.user_attrs.get(_SCORES)
        # A trial without a score is drawn again, with the same values.
        if scores and trial.number not in requeued:
            # In this order a kill between the two calls loses nothing.
            study.enqueue_trial(
                trial.params, user_attrs={_SCORES: scores, _CONTINUES: trial.number}
            )
        study.tell(trial.number, state=type(trial.state).FAIL)


def _n_finished(study: optuna.Study) -> int:
    """Returns the number of completed, pruned and failed, not interrupted, trials."""
    return sum(
        trial.state.name in ("COMPLETE", "PRUNED") or _FAILED in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[optuna.storages.RDBStorage]:
    """Opens Optuna's storage in an SQLite file, for this process alone."""
    try:
        from optuna.storages import RDBStorage
    except ImportError as error:
        raise ImportError(
            f"sweeps need Optuna, an extra: {install_command('sweeps')} ({error})"
        ) from error
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} for the storage {path}")
    check_writable(path)
    # A second process would take the running trial of the first for an interrupted one.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another process works on {path}: a sweep runs in one process at a time"
        ) from None
    try:
        with closing(sqlite3.connect(path)) as connection:
            try:
                (state,) = connection.execute("PRAGMA quick_check").fetchone()
            except sqlite3.DatabaseError as error:
                state = str(error)
        if state != "ok":
            raise ValueError(
                f"{path} is no SQLite database, or damaged ({state}): name another "
                "file, or delete it to start over"
            )
        # A creator, since a URL can't hold every path.
        storage = RDBStorage(
            "sqlite://", {"creator": lambda: sqlite3.connect(path, timeout=60)}
        )
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        lock.release()
