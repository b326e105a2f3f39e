"""What determines a run, as plain data that is checked when it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from pg_agents.common.checks import check_choice
from pg_agents.experiments.setting_checks import (
    check_count,
    check_data,
    check_hook,
    check_type,
    near,
)

# The folder of all runs.
DEFAULT_ROOT = Path("runs")
ALGORITHMS = ("REINFORCE", "ActorCritic", "RandomAgent", "A2C", "PPO")
Vectorization = Literal["dummy", "vector", "torch"]
VECTORIZATIONS = ("dummy", "vector", "torch")
# Of the algorithm; what the settings say elsewhere.
_SAID_ELSEWHERE = ("policy", "env", "policy_kwargs", "seed", "device")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a trained policy is evaluated.

    Attributes:
        n_episodes: number of episodes, at least 1.
        deterministic: whether the most likely action is taken, not a random one.
        n_envs: environments that share the episodes, in equal parts.
        env_kwargs: arguments of the environment beyond those of training, such as
            ``{"max_episode_steps": 1000}``. With ``vectorization_mode``, as of
            Gymnasium's ``make_vec``, they are one vector environment.
    """

    n_episodes: int = 100
    deterministic: bool = True
    n_envs: int = 1
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what can't be."""
        check_count("evaluation.n_episodes", self.n_episodes)
        check_count("evaluation.n_envs", self.n_envs)
        check_type("evaluation.deterministic", self.deterministic, bool)
        check_data("evaluation.env_kwargs", self.env_kwargs)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines a run, except for its seed.

    It is plain data, equal to itself after a trip through JSON. Classes and functions
    are written by their names (``"activation_fn": "ReLU"``), linear schedules as
    ``"lin_3e-4"``: from 3e-4 to 0 over the run.

    Attributes:
        algorithm: ``"REINFORCE"``, ``"ActorCritic"``, ``"RandomAgent"``, or SB3's
            ``"A2C"`` or ``"PPO"``.
        env_id: id of a registered environment, with or without ``module:``.
        env_kwargs: its arguments, ``max_episode_steps`` included.
        vectorization: ``"dummy"``: ``n_envs`` single environments in SB3's DummyVecEnv,
            each in a Monitor. ``"vector"``: Gymnasium's ``make_vec``. ``"torch"``:
            ``pg_envs.make_torch_vec``, on the device.
        n_envs: number of environments, at least 1.
        normalize: arguments of a VecNormalize around them; None for none.
        frame_stack: how many observations the policy sees at once, the newest last, at
            least 2: a VecFrameStack outermost. None for the newest alone.
        policy: name of the policy.
        policy_kwargs: its arguments.
        arguments: further arguments of the algorithm.
        timesteps: how long to train, in steps summed over environments, or
        episodes: in episodes, as the notebooks count. One of the two is given. Training
            ends with the step in which the last episode does.
        evaluation: what follows the training.
        stop_when_solved: arguments of the callback ``StopWhenSolved``, which may end
            the training early; None for no such end.
        checkpoint_every: steps between two checkpoints.
        device: of the model, such as ``"cpu"`` or ``"cuda"``.
        train: ``"module:function"`` that trains, where that is more than one ``learn``.
        play: ``"module:function"`` that shows a run, where that is more than watching
            the policy.
        extra: the pip extra of pgtoy that it needs, such as ``"robotics"``.
    """

    algorithm: str
    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    vectorization: Vectorization = "dummy"
    n_envs: int = 1
    normalize: Mapping[str, Any] | None = None
    policy: str = "MlpPolicy"
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timesteps: int | None = None
    episodes: int | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
    stop_when_solved: Mapping[str, Any] | None = None
    checkpoint_every: int = 10_000
    device: str = "cpu"
    train: str | None = None
    play: str | None = None
    extra: str | None = None
    frame_stack: int | None = None

    def __post_init__(self) -> None:
        """Refuses what can't be."""
        check_choice("algorithm", self.algorithm, ALGORITHMS)
        check_choice("vectorization", self.vectorization, VECTORIZATIONS)
        for name in ("env_id", "policy", "device"):
            check_type(name, getattr(self, name), str)
        for name in ("env_kwargs", "policy_kwargs", "arguments"):
            check_data(name, getattr(self, name))
        for name in ("normalize", "stop_when_solved"):
            if getattr(self, name) is not None:
                check_data(name, getattr(self, name))
        for name in ("n_envs", "checkpoint_every"):
            check_count(name, getattr(self, name))
        check_type("evaluation", self.evaluation, Evaluation)
        self._check_budget()
        self._check_frame_stack()
        for name in _SAID_ELSEWHERE:
            if name in self.arguments:
                raise ValueError(
                    f"arguments must not hold {name!r}: it has a place of its own"
                )
        for name in ("train", "play"):
            check_hook(name, getattr(self, name))

    def _check_frame_stack(self) -> None:
        if self.frame_stack is None:
            return
        check_count("frame_stack", self.frame_stack)
        if self.frame_stack < 2:
            raise ValueError("frame_stack must be at least 2, or None, got 1")
        if self.train is not None or self.play is not None:
            raise ValueError(
                "frame_stack must be None where a run is trained or shown by a "
                f"function of its own, {self.train or self.play}"
            )

    def _check_budget(self) -> None:
        if (self.timesteps is None) == (self.episodes is None):
            raise ValueError(
                "one of timesteps and episodes must be given, got "
                f"timesteps={self.timesteps!r} and episodes={self.episodes!r}"
            )
        name = "episodes" if self.timesteps is None else "timesteps"
        check_count(name, getattr(self, name))
        scheduled = [k for k, v in self.arguments.items() if is_schedule(v)]
        if scheduled and self.timesteps is None:
            raise ValueError(
                f"arguments: {scheduled[0]} is a schedule, which needs to know the "
                "length of the run in steps: give timesteps instead of episodes"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as what a JSON file can hold."""
        plain = self._whole()
        # Runs from before there was such a setting do without it.
        if plain["frame_stack"] is None:
            del plain["frame_stack"]
        return plain

    def _whole(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns settings from what `to_json` returned.

        Raises:
            ValueError: if a setting is missing, unknown or out of range.
            TypeError: if one has a wrong type.
        """
        data = {"frame_stack": None, **data}
        _check_names(data, cls, "")
        evaluation = data["evaluation"]
        check_type("evaluation", evaluation, dict)
        _check_names(evaluation, Evaluation, "evaluation.")
        return cls(**{**data, "evaluation": Evaluation(**evaluation)})

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Returns settings with some of them changed.

        Args:
            changes: new values by name: of a setting (``n_envs``), or of something in
                one (``evaluation.n_episodes``, ``policy_kwargs.net_arch``). Any other
                name is taken for an argument of the algorithm (``learning_rate``).
                ``timesteps`` replaces ``episodes``, and the other way round.

        Raises:
            ValueError: if there is no such setting, or it can't have that value.
        """
        plain = self._whole()
        for name, value in changes.items():
            if name in ("timesteps", "episodes"):
                plain |= {"timesteps": None, "episodes": None}
            outer, _, inner = name.partition(".")
            if not inner:
                place = plain if outer in plain else plain["arguments"]
                place[outer] = value
                continue
            if outer not in plain:
                raise ValueError(f"there is no setting {outer}: {_nearest(outer)}")
            if not isinstance(plain[outer] or {}, dict):
                raise ValueError(f"{name}: the setting {outer} has no parts")
            plain[outer] = {**(plain[outer] or {}), inner: value}
        return self.from_json(plain)


@dataclass(frozen=True)
class RunConfig:
    """What is run: a recipe's settings, or those made of them.

    Attributes:
        recipe: name of the recipe.
        variant: which of its variants; ``"notebook"`` goes without saying.
        settings: its settings.
    """

    recipe: str
    variant: str
    settings: Settings

    @property
    def name(self) -> str:
        """Name of the folder that holds the runs."""
        plain = self.variant == "notebook"
        return self.recipe if plain else f"{self.recipe}-{self.variant}"

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Returns a config with some settings changed, see `Settings.changed`."""
        return replace(self, settings=self.settings.changed(changes))


def is_schedule(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is a linear schedule such as ``"lin_3e-4"``."""
    return isinstance(value, str) and value.startswith("lin_")


def first_difference(
    there: Mapping[str, Any], here: Mapping[str, Any], within: str = ""
) -> str | None:
    """Says where two trees of plain data first differ; None if they do not.

    Returns:
        Such as ``"arguments.gamma is 0.9 there and 0.99 here"``.
    """
    for name in [*there, *(n for n in here if n not in there)]:
        full = f"{within}{name}"
        if name not in there or name not in here:
            where = "not there" if name not in there else "there alone"
            return f"{full} is {where}"
        one, other = there[name], here[name]
        if isinstance(one, dict) and isinstance(other, dict):
            found = first_difference(one, other, f"{full}.")
            if found:
                return found
        elif one != other:
            return f"{full} is {one!r} there and {other!r} here"
    return None


def _check_names(data: Mapping[str, Any], of: type, within: str) -> None:
    known = [each.name for each in fields(of)]
    for name in data:
        if name not in known:
            raise ValueError(f"there is no setting {within}{name}: {near(name, known)}")
    missing = [name for name in known if name not in data]
    if missing:
        raise ValueError(f"the setting {within}{missing[0]} is missing")


def _nearest(name: str) -> str:
    return near(name, [each.name for each in fields(Settings)])
