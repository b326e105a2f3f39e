"""Settings of a run: plain data, checked when it is made, stored as JSON."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from pg_agents.common.checks import check_choice, check_count
from pg_agents.common.extras import install_command

# Folder of all runs.
DEFAULT_ROOT = Path("runs")
ALGORITHMS = ("REINFORCE", "ActorCritic", "RandomAgent", "A2C", "PPO")
VECTORIZATIONS = ("dummy", "vector", "torch", "learners")
# Arguments of the algorithm that have settings of their own.
_RESERVED = ("policy", "env", "policy_kwargs", "seed", "device")
# Modules that each extra of pyproject.toml provides.
EXTRAS = {
    "box2d": ("Box2D",),
    "distributed": ("distributed",),
    "mujoco": ("mujoco",),
    "robotics": ("gymnasium_robotics", "mujoco"),
    "slurm": ("submitit",),
    "sweeps": ("optuna",),
    "video": ("moviepy",),
    "zoo": ("rl_zoo3",),
}


def require_extra(extra: str | None, what: str) -> None:
    """Raises unless the packages of an extra are installed.

    Args:
        extra: its name in pyproject.toml; None requires nothing.
        what: what needs it, for the message.

    Raises:
        ModuleNotFoundError: if a package is missing; the message has the pip command.
        ValueError: if there is no such extra.
    """
    if extra is None:
        return
    check_choice("extra", extra, tuple(EXTRAS))
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{what} needs {' and '.join(missing)}: {install_command(extra)}",
            name=missing[0],
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a trained policy is evaluated.

    Attributes:
        n_episodes: number of episodes, at least 1.
        deterministic: whether to take the most likely action instead of a random one.
        n_envs: number of environments; each runs an equal share of the episodes.
        env_kwargs: arguments of the environment that are added to those of training,
            such as ``{"max_episode_steps": 1000}``. With ``vectorization_mode``, an
            argument of `gymnasium.make_vec`, it is one vector environment.
    """

    n_episodes: int = 100
    deterministic: bool = True
    n_envs: int = 1
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the values."""
        check_count("evaluation.n_episodes", self.n_episodes)
        check_count("evaluation.n_envs", self.n_envs)
        _check_types(self, "evaluation.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines a run, except for its seed.

    Classes and functions are written by name (``"activation_fn": "ReLU"``), linear
    schedules as ``"lin_3e-4"``: from 3e-4 to 0 over the run.

    Attributes:
        algorithm: ``"REINFORCE"``, ``"ActorCritic"``, ``"RandomAgent"``, or SB3's
            ``"A2C"`` or ``"PPO"``.
        env_id: id of a registered environment, with or without ``module:``.
        env_kwargs: arguments of the environment, ``max_episode_steps`` included.
        vectorization: ``"dummy"``: `n_envs` single environments in SB3's DummyVecEnv,
            each in a Monitor. ``"vector"``: Gymnasium's ``make_vec``. ``"torch"``:
            ``pg_envs.make_torch_vec``, on the device. ``"learners"``: all seeds are
            trained together, as a `pg_agents.LearnerBatch`.
        n_envs: number of environments, at least 1.
        normalize: arguments of a VecNormalize around them; None for none.
        frame_stack: number of observations in a VecFrameStack, the outermost wrapper,
            at least 2; None for none.
        policy: name of the policy.
        policy_kwargs: arguments of the policy.
        arguments: further arguments of the algorithm.
        timesteps: length of training in steps, summed over environments, or
        episodes: in episodes; one of the two is given. Training ends with the step
            that ends the last episode.
        evaluation: evaluation after training.
        stop_when_solved: arguments of the callback ``StopWhenSolved``; None for none.
        checkpoint_every: steps between two checkpoints.
        device: of the model, such as ``"cpu"`` or ``"cuda"``.
        train: ``"module:function"`` that is called with a `Training` in place of
            ``learn`` and returns the model.
        play: ``"module:function"`` that shows a run in place of the policy's episodes.
        extra: the pip extra of pgtoy that it needs, such as ``"robotics"``.
    """

    algorithm: str
    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    vectorization: str = "dummy"
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
        """Checks the values."""
        check_choice("algorithm", self.algorithm, ALGORITHMS)
        check_choice("vectorization", self.vectorization, VECTORIZATIONS)
        if (self.timesteps is None) == (self.episodes is None):
            raise ValueError(
                "one of timesteps and episodes must be given, got "
                f"timesteps={self.timesteps!r} and episodes={self.episodes!r}"
            )
        length = "episodes" if self.timesteps is None else "timesteps"
        for name in ("n_envs", "checkpoint_every", length):
            check_count(name, getattr(self, name))
        _check_types(self)
        for name, value in self.arguments.items():
            if name in _RESERVED:
                raise ValueError(
                    f"arguments must not hold {name!r}, which is determined by another "
                    "setting or the seed"
                )
            if is_schedule(value) and self.timesteps is None:
                raise ValueError(
                    f"arguments: {name} is a schedule, which needs the length of the "
                    "run in steps: give timesteps instead of episodes"
                )
        if self.vectorization == "learners":
            self._check_learners()
        if self.frame_stack is None:
            return
        if self.frame_stack < 2:
            raise ValueError(
                f"frame_stack must be at least 2, or None, got {self.frame_stack}"
            )
        if self.train is not None or self.play is not None:
            raise ValueError(
                "frame_stack must be None for a run with a train or play function, "
                f"which is {self.train or self.play}"
            )

    def _check_learners(self) -> None:
        """Raises a ValueError for settings that a batch of learners does not have."""
        for name in ("normalize", "frame_stack", "stop_when_solved", "train"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} must be None with vectorization='learners', got "
                    f"{getattr(self, name)!r}"
                )
        if self.algorithm not in ("REINFORCE", "ActorCritic") or self.device != "cpu":
            raise ValueError(
                "vectorization='learners' is for REINFORCE and ActorCritic on the "
                f"device 'cpu', got {self.algorithm} and {self.device!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as data for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns settings from the data that `to_json` returned.

        Raises:
            ValueError: if a setting is missing, unknown or out of range.
            TypeError: if a setting has a wrong type.
        """
        for part, type_, prefix in (
            (data, cls, ""),
            (data.get("evaluation"), Evaluation, "evaluation."),
        ):
            if not isinstance(part, Mapping):
                raise TypeError(f"evaluation must be a dict, got {part!r}")
            known = [each.name for each in fields(type_)]
            for name in part:
                if name not in known:
                    raise ValueError(
                        f"there is no setting {prefix}{name}: {suggestion(name, known)}"
                    )
            missing = [name for name in known if name not in part]
            if missing:
                raise ValueError(f"the setting {prefix}{missing[0]} is missing")
        return cls(**{**data, "evaluation": Evaluation(**data["evaluation"])})

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Returns settings with some of them changed.

        Args:
            changes: new values by name: of a setting (``n_envs``), or of an entry of
                one (``evaluation.n_episodes``, ``policy_kwargs.net_arch``). Any other
                name is an argument of the algorithm (``learning_rate``).
                ``timesteps`` replaces ``episodes``, and the other way round.

        Raises:
            ValueError: if there is no such setting, or it can't have that value.
        """
        plain = self.to_json()
        for name, value in changes.items():
            if name in ("timesteps", "episodes"):
                plain |= {"timesteps": None, "episodes": None}
            outer, _, inner = name.partition(".")
            if not inner:
                target = plain if outer in plain else plain["arguments"]
                target[outer] = value
                continue
            if outer not in plain:
                raise ValueError(
                    f"there is no setting {outer}: {suggestion(outer, plain)}"
                )
            if not isinstance(plain[outer] or {}, dict):
                raise ValueError(f"{name}: the setting {outer} has no entries")
            plain[outer] = {**(plain[outer] or {}), inner: value}
        return self.from_json(plain)


@dataclass(frozen=True)
class RunConfig:
    """A recipe's settings, or changed ones, with the name under which they run.

    Attributes:
        recipe: name of the recipe.
        variant: name of its variant.
        settings: settings of the run.
    """

    recipe: str
    variant: str
    settings: Settings

    @property
    def name(self) -> str:
        """Name of the folder of the runs."""
        return group_name(self.recipe, self.variant)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Returns a config with some settings changed, see `Settings.changed`."""
        return replace(self, settings=self.settings.changed(changes))


def group_name(recipe: str, variant: str) -> str:
    """Returns the name of a variant's runs; the variant ``"notebook"`` adds nothing."""
    return recipe if variant == "notebook" else f"{recipe}-{variant}"


def is_schedule(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is a linear schedule such as ``"lin_3e-4"``."""
    return isinstance(value, str) and value.startswith("lin_")


def suggestion(name: str, known: Iterable[str], listing: str = "") -> str:
    """Returns the rest of a message about an unknown name.

    Args:
        name: the unknown one.
        known: those that there are.
        listing: what lists them, where they are too many for a message.
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]}?"
    if listing:
        return f"{listing} lists them"
    return f"there {'is only' if len(names) == 1 else 'are'} {', '.join(names)}"


def first_difference(
    there: Mapping[str, Any], here: Mapping[str, Any], within: str = ""
) -> str | None:
    """Describes the first difference of two trees of plain data; None if equal.

    Returns:
        Such as ``"arguments.gamma is 0.9 there and 0.99 here"``.
    """
    for name in dict.fromkeys([*there, *here]):
        path = f"{within}{name}"
        if name not in there or name not in here:
            return f"{path} is {'not there' if name not in there else 'there alone'}"
        left, right = there[name], here[name]
        if isinstance(left, dict) and isinstance(right, dict):
            difference = first_difference(left, right, f"{path}.")
            if difference:
                return difference
        elif left != right:
            return f"{path} is {left!r} there and {right!r} here"
    return None


def _check_types(settings: Settings | Evaluation, prefix: str = "") -> None:
    """Raises unless values have the types of their fields and are plain data."""
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        alternatives = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        types = tuple(get_origin(each) or each for each in alternatives)
        if not isinstance(value, types):
            accepted = " or ".join(each.__name__ for each in types)
            accepted = accepted.replace("NoneType", "None").replace("Mapping", "dict")
            raise TypeError(f"{prefix}{name} must be {accepted}, got {value!r}")
        if isinstance(value, Evaluation):
            continue
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError(
                f"{prefix}{name} must be plain data that JSON can hold (numbers, "
                f"strings, lists, dicts with strings as keys), got {value!r}"
            )
