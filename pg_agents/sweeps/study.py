"""Tuning over several seeds a trial, and testing the winner on seeds of its own."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pg_agents.analysis.statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
)
from pg_agents.common.checks import check_choice, check_count, check_integer
from pg_agents.sweeps.journal import open_journal
from pg_agents.sweeps.space import SearchSpace, parse_space

if TYPE_CHECKING:
    import optuna

Objective = Callable[[dict[str, Any], int], float]
StatisticName = Literal["iqm", "mean"]
# Names under which a trial and the study remember things.
_SCORES, _CONTINUES, _FAILED = "scores", "continues", "failed"
_DEFINITION, _TESTED = "definition", "test scores of trial {}"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has found.

    Attributes:
        settings: of the best trial.
        trial: its number.
        tuning_scores: its score with each tuning seed. The best of many, they are too
            good to be reported.
        test_scores: its score with each test seed.
        test_iqm: their interquartile mean.
        test_interval: 95 % bootstrap interval of it.
        n_completed: trials that ran with all tuning seeds.
        n_pruned: trials that were given up after some seeds.
        n_failed: trials with a score that was no finite number.
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


@dataclass(frozen=True)
class _Plan:
    """What a sweep does, checked."""

    objective: Objective
    space: SearchSpace
    tuning_seeds: tuple[int, ...]
    test_seeds: tuple[int, ...]
    statistic: StatisticName
    seed: int

    def aggregate(self, scores: Sequence[float]) -> float:
        average = interquartile_mean if self.statistic == "iqm" else np.mean
        return float(average(scores))

    def score(self, settings: dict[str, Any], seed: int, trial: int) -> float:
        """Calls the objective; what it raises says where."""
        try:
            # It may change what it is given.
            return float(self.objective(copy.deepcopy(settings), seed))
        except BaseException as error:
            error.add_note(f"in trial {trial} of the sweep, seed {seed}: {settings}")
            raise


def tune(
    objective: Objective,
    space: Mapping[str, Sequence[Any]],
    *,
    name: str,
    journal: str | os.PathLike[str],
    n_trials: int,
    tuning_seeds: Sequence[int],
    test_seeds: Sequence[int],
    statistic: StatisticName = "iqm",
    seed: int = 0,
    pruner: optuna.pruners.BasePruner | None = None,
) -> SweepResult:
    """Looks for the best settings, and tests them on seeds that had no say in it.

    Each trial is run with the tuning seeds, one after the other, and judged by a
    statistic of its scores; Optuna's TPE draws the next one. After every seed but the
    last a trial may be given up. The best of the others is run with the test seeds.

    Called again with the same name and journal it goes on: `n_trials` is the number to
    reach. A trial that was cut off, by a kill or an exception, is taken up again with
    the seeds it still lacks. The draws depend on `seed` and the trials that are through
    alone, so a sweep that was killed ends with the numbers of one that was not, if the
    objective is deterministic.

    Args:
        objective: `(settings, seed) -> score`, more being better. A score that is not
            finite fails the trial; an exception stops the sweep.
        space: what to try; see `parse_space`.
        name: of the study; a journal may hold several.
        journal: the file to write to; its folder has to exist.
        n_trials: to reach: completed, pruned and failed ones.
        tuning_seeds: of every trial, in this order.
        test_seeds: of the best one; none of the tuning seeds.
        statistic: `"iqm"` or `"mean"` of a trial's scores.
        seed: of the draws.
        pruner: None for Optuna's MedianPruner, which compares a trial after each seed
            with the completed ones after as many, five of them at least.

    Returns:
        The best settings and their scores.

    Raises:
        ImportError: if the extra is not installed; says how to install it.
        ValueError: if an argument is wrong, seeds overlap, the sweep was begun with
            other arguments, the journal is damaged or in use, or no trial completed.
    """
    plan = _plan(objective, space, tuning_seeds, test_seeds, statistic, seed)
    check_count("n_trials", n_trials)
    with open_journal(journal) as storage:
        import optuna

        study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner or optuna.pruners.MedianPruner(5),
        )
        _check_definition(study, plan, space)
        _take_up_again(study)
        while _n_through(study) < n_trials:
            _run_trial(study, plan)
        return _test(study, plan)


def _plan(
    objective: Objective,
    space: Mapping[str, Sequence[Any]],
    tuning_seeds: Sequence[int],
    test_seeds: Sequence[int],
    statistic: StatisticName,
    seed: int,
) -> _Plan:
    if not callable(objective):
        raise TypeError(f"objective must be a function, got {objective!r}")
    check_choice("statistic", statistic, ("iqm", "mean"))
    check_integer("seed", seed, 0)
    for name, seeds in (("tuning_seeds", tuning_seeds), ("test_seeds", test_seeds)):
        if len(seeds) == 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"{name} must be at least one seed, each once, got {seeds}"
            )
        for one in seeds:
            check_integer(name, one, 0)
    both = sorted(set(tuning_seeds) & set(test_seeds))
    if both:
        raise ValueError(
            f"test_seeds must be none of the tuning_seeds, or the test would be of the "
            f"choice itself; {both} are in both"
        )
    tuning, test = (
        tuple(int(s) for s in seeds) for seeds in (tuning_seeds, test_seeds)
    )
    return _Plan(objective, parse_space(space), tuning, test, statistic, int(seed))


def _check_definition(
    study: optuna.Study, plan: _Plan, space: Mapping[str, Sequence[Any]]
) -> None:
    """Refuses to go on with something else than was begun."""
    # Through JSON, as it comes back from the journal; the order of names counts.
    given = json.loads(
        json.dumps(
            {
                "space": [[name, list(entry)] for name, entry in space.items()],
                "tuning_seeds": plan.tuning_seeds,
                "statistic": plan.statistic,
                "seed": plan.seed,
            }
        )
    )
    begun = study.user_attrs.get(_DEFINITION)
    if begun is None:
        study.set_user_attr(_DEFINITION, given)
        return
    for key, value in given.items():
        if begun[key] != value:
            raise ValueError(
                f"the sweep {study.study_name} was begun with another {key}: "
                f"{begun[key]}, now {value}; give it another name"
            )


def _take_up_again(study: optuna.Study) -> None:
    """Puts what was cut off in the queue, once, with the scores it has."""
    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(_CONTINUES) for trial in trials}
    for trial in trials:
        if trial.state.name != "RUNNING":
            continue
        scores = trial.user_attrs.get(_SCORES)
        # Without a score it is drawn anew, and comes out the same.
        if scores and trial.number not in queued:
            # First this, then the end of the other: a kill in between loses nothing.
            study.enqueue_trial(
                trial.params, user_attrs={_SCORES: scores, _CONTINUES: trial.number}
            )
        study.tell(trial.number, state=type(trial.state).FAIL)


def _n_through(study: optuna.Study) -> int:
    """How many trials are through; those that were cut off are not."""
    return sum(
        trial.state.name in ("COMPLETE", "PRUNED") or _FAILED in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def _run_trial(study: optuna.Study, plan: _Plan) -> None:
    import optuna

    # A sampler that went on from its own draws would repeat them after a restart.
    draws = np.random.SeedSequence([plan.seed, _n_through(study)]).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(seed=int(draws[0]))
    trial = study.ask()
    settings = plan.space.draw(trial)
    scores = dict(trial.user_attrs.get(_SCORES, {}))
    for step, seed in enumerate(plan.tuning_seeds, start=1):
        if str(seed) not in scores:
            score = plan.score(settings, seed, trial.number)
            if not math.isfinite(score):
                trial.set_user_attr(_FAILED, f"seed {seed} scored {score}")
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                return
            scores[str(seed)] = score
            trial.set_user_attr(_SCORES, scores)
        so_far = [scores[str(one)] for one in plan.tuning_seeds[:step]]
        trial.report(plan.aggregate(so_far), step)
        if step < len(plan.tuning_seeds) and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, plan.aggregate(so_far))


def _test(study: optuna.Study, plan: _Plan) -> SweepResult:
    trials = study.get_trials(deepcopy=False)
    states = [trial.state.name for trial in trials]
    n_failed = sum(_FAILED in trial.user_attrs for trial in trials)
    if "COMPLETE" not in states:
        raise ValueError(
            f"no trial of {study.study_name} was completed: {n_failed} failed, "
            f"{states.count('PRUNED')} were pruned"
        )
    best = study.best_trial
    # A finished trial suggests what it was given.
    settings = plan.space.draw(best)
    key = _TESTED.format(best.number)
    scores = dict(study.user_attrs.get(key, {}))
    for seed in plan.test_seeds:
        if str(seed) not in scores:
            score = plan.score(settings, seed, best.number)
            if not math.isfinite(score):
                raise ValueError(
                    f"the best settings, {settings}, scored {score} with test seed "
                    f"{seed}"
                )
            scores[str(seed)] = score
            study.set_user_attr(key, scores)
    tested = {seed: scores[str(seed)] for seed in plan.test_seeds}
    return SweepResult(
        settings,
        best.number,
        {seed: best.user_attrs[_SCORES][str(seed)] for seed in plan.tuning_seeds},
        tested,
        float(interquartile_mean(list(tested.values()))),
        bootstrap_interval(list(tested.values())),
        states.count("COMPLETE"),
        states.count("PRUNED"),
        n_failed,
    )
