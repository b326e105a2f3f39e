"""rl_zoo3's experiments, with our files of hyperparameters and our schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from pg_agents.zoo.rl_zoo import ExperimentManager as BaseExperimentManager
from pg_agents.zoo.samplers import SAMPLERS

HYPERPARAMS = Path(__file__).parent / "hyperparams"
Hyperparams = dict[str, Any]
# What may be a schedule. A model is saved with it: of SB3's kind, it is loaded without
# importing rl_zoo3.
_SCHEDULES = (
    "learning_rate",
    "critic_learning_rate",
    "clip_range",
    "clip_range_vf",
    "ent_coef",
)


class ExperimentManager(BaseExperimentManager):  # type: ignore[misc]
    """rl_zoo3's `ExperimentManager`, which knows what our algorithms come with.

    - Their hyperparameters are read from `pg_agents/zoo/hyperparams/<algo>.yml` unless
      `--conf-file` is given.
    - `lin_0.01` in such a file is a linear schedule for `ent_coef` and
      `critic_learning_rate` too, not for the step size alone. Schedules are SB3's.
    - A study's best trial is reloaded by naming its storage and the study; any trial,
      0 as well, by its `--trial-id`.
    """

    custom_hyperparams: Hyperparams | None

    def __init__(self, args: Any, algo: str, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        if algo in SAMPLERS:
            named["config"] = named.get("config") or str(HYPERPARAMS / f"{algo}.yml")
        super().__init__(args, algo, *rest, **named)

    def read_hyperparameters(self) -> tuple[Hyperparams, Hyperparams]:
        """Returns hyperparameters to be processed, and a copy to be saved.

        Raises:
            ValueError: if another policy than `"MlpPolicy"` of ours is to be tuned.
        """
        reloads = self.storage and self.study_name and not self.optimize_hyperparameters
        # rl_zoo3 reloads the others itself, and takes trial 0 for none.
        if reloads and not self.trial_id:
            trial = self.load_trial(self.storage, self.study_name, self.trial_id)
            self.custom_hyperparams = {**trial, **(self.custom_hyperparams or {})}
        hyperparams, saved = super().read_hyperparameters()
        if self.optimize_hyperparameters and self.algo in SAMPLERS:
            self._check_tunable(hyperparams["policy"])
        return hyperparams, saved

    @staticmethod
    def _check_tunable(policy: str) -> None:
        if policy != "MlpPolicy":
            raise ValueError(
                "the hyperparameters that are tuned include those of policy "
                f"'MlpPolicy', got policy {policy!r}: pass --hyperparams "
                "policy:\"'MlpPolicy'\""
            )

    def _preprocess_schedules(self, hyperparams: Hyperparams) -> Hyperparams:
        process = super()._preprocess_schedules
        if self.algo not in SAMPLERS:
            return dict(process(hyperparams))
        linear = {
            name: LinearSchedule(linear_start(name, hyperparams[name]), 0.0, 1.0)
            for name in _SCHEDULES
            if isinstance(hyperparams.get(name), str)
        }
        # rl_zoo3 refuses None, which means "no clipping" to our constructors.
        absent = {name: None for name, value in hyperparams.items() if value is None}
        done = linear | absent
        given = {name: v for name, v in hyperparams.items() if name not in done}
        return {**process(given), **done}


def linear_start(name: str, text: str) -> float:
    """Returns the first value of a linear schedule, written as `lin_0.01`.

    Args:
        name: of the hyperparameter, for the message.
        text: what was given.

    Raises:
        ValueError: if it is written in another way.
    """
    kind, _, value = text.partition("_")
    try:
        if kind == "lin":
            return float(value)
    except ValueError:
        pass
    raise ValueError(
        f"{name} must be a number or read like 'lin_0.01', got {text!r}"
    ) from None
