"""Registers our algorithms, environments, hyperparameters and samplers with rl_zoo3."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule

# Importing it registers the environments with Gymnasium.
import pg_envs  # noqa: F401
from pg_agents.algorithms.actor_critic import ActorCritic
from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.zoo import samplers

# By the name that `--algo` takes, which is also the folder of an algorithm's runs.
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "reinforce": REINFORCE,
    "actor_critic": ActorCritic,
}
HYPERPARAMS = Path(__file__).parent / "hyperparams"
# Arguments of our algorithms that may be schedules.
_SCHEDULES = (
    "learning_rate",
    "critic_learning_rate",
    "clip_range",
    "clip_range_vf",
    "ent_coef",
)


def register() -> None:
    """Registers what is ours with rl_zoo3; a second call changes nothing.

    For our algorithms `rl_zoo3.train` then reads its hyperparameters from
    `pg_agents/zoo/hyperparams/<algo>.yml` unless `--conf-file` is given, and accepts
    `lin_0.01` and None for every argument that may be a schedule. The schedules are
    SB3's, so that a saved model can be loaded without rl_zoo3.

    Unlike `import rl_zoo3`, this leaves Gymnasium's `TimeLimit` unchanged.

    Raises:
        ModuleNotFoundError: if rl_zoo3 is not installed: `pip install "pgtoy[zoo]"`.
    """
    with _time_limit_restored():
        from rl_zoo3 import ALGOS, train
        from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

    # In place: rl_zoo3's modules import these tables by name.
    ALGOS.update(ALGORITHMS)
    HYPERPARAMS_SAMPLER.update(samplers.SAMPLERS)
    HYPERPARAMS_CONVERTER.update(samplers.CONVERTERS)
    if not hasattr(train.ExperimentManager, "registered_algorithms"):
        train.ExperimentManager = _experiment_manager(train.ExperimentManager)


def linear_start(name: str, text: str) -> float:
    """Returns the first value of a linear schedule, written as `lin_0.01`.

    Args:
        name: name of the hyperparameter, for the message.
        text: its value.

    Raises:
        ValueError: if it does not read so.
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


def _experiment_manager(base: Any) -> Any:  # noqa: ANN401
    """Returns rl_zoo3's `ExperimentManager` with our hyperparameters and schedules."""

    class ExperimentManager(base):  # type: ignore[misc]
        registered_algorithms = tuple(ALGORITHMS)

        def __init__(
            self,
            args: Any,  # noqa: ANN401
            algo: str,
            *rest: Any,
            **named: Any,
        ) -> None:
            if algo in ALGORITHMS and not named.get("config"):
                named["config"] = str(HYPERPARAMS / f"{algo}.yml")
            super().__init__(args, algo, *rest, **named)

        def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
            hyperparams, saved = super().read_hyperparameters()
            policy = hyperparams["policy"]
            if self.optimize_hyperparameters and self.algo in ALGORITHMS:
                if policy != "MlpPolicy":
                    raise ValueError(
                        "the samplers draw hyperparameters of policy 'MlpPolicy', got "
                        f"policy {policy!r}: pass --hyperparams policy:\"'MlpPolicy'\""
                    )
            return hyperparams, saved

        def _preprocess_schedules(self, hyperparams: dict[str, Any]) -> dict[str, Any]:
            process = super()._preprocess_schedules
            if self.algo not in ALGORITHMS:
                return dict(process(hyperparams))
            linear = {
                name: LinearSchedule(linear_start(name, hyperparams[name]), 0.0, 1.0)
                for name in _SCHEDULES
                if isinstance(hyperparams.get(name), str)
            }
            # rl_zoo3 refuses None, which turns clipping off in our algorithms.
            none = {name: None for name, v in hyperparams.items() if v is None}
            ours = linear | none
            rest = {name: v for name, v in hyperparams.items() if name not in ours}
            return {**process(rest), **ours}

    return ExperimentManager


@contextmanager
def _time_limit_restored() -> Iterator[None]:
    """Undoes rl_zoo3's replacement of Gymnasium's `TimeLimit`.

    Its own class reports no truncation in a step that also terminates. Nothing in
    rl_zoo3 needs that: SB3's vector environments make the same distinction.
    """
    modules = [
        importlib.import_module(name)
        for name in (
            "gymnasium.wrappers",
            "gymnasium.wrappers.common",
            "gymnasium.envs.registration",
        )
    ]
    before = [vars(module).get("TimeLimit") for module in modules]
    try:
        yield
    finally:
        for module, time_limit in zip(modules, before, strict=True):
            if time_limit is not None:
                vars(module)["TimeLimit"] = time_limit
            else:
                vars(module).pop("TimeLimit", None)
