"""Checkpoints after which training continues bit for bit.

A checkpoint is SB3's zip file. It contains:

- parameters of the policy, of its target network if there is one, and the optimiser's
  state, as in SB3;
- the model's attributes, as in SB3: spaces, counters, every setting of the config, and
  the position in the environment;
- `training_state`, an attribute: the state of every random generator, of the
  environment if it can be saved (`pg_agents.checkpoint.env_state`), and of normalising
  wrappers;
- `replay_memory`, an attribute, if there is one;
- a manifest with versions and checksums (`pg_agents.checkpoint.archive`).

`load` restores neither random generators nor environment: it seeds and draws nothing.
The next `learn` does, so that it continues as it would have without the interruption.

This holds for checkpoints saved between rollouts: after `learn`, or in a callback's
`_on_rollout_start` or `_on_training_end`. Within a rollout, its steps are lost and the
environment is reset, as `learn(..., reset_num_timesteps=False)` then warns. It is also
reset if another environment is given, or one whose state can't be saved. A model with a
seed then seeds the environment, by the seed and the number of steps so far, unless the
environment was already seeded.
"""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.save_util import recursive_getattr, save_to_zip_file
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.checkpoint.archive import (
    read_attributes,
    read_checkpoint,
    warn_unreadable,
    with_manifest,
)
from pg_agents.checkpoint.env_state import (
    UnsupportedEnvError,
    get_env_state,
    get_normalization,
    set_env_state,
    set_normalization,
)
from pg_agents.checkpoint.finite_check import check_model
from pg_agents.common.files import write_whole
from pg_agents.common.tree import is_on_accelerator, to_cpu, to_device

# Position in the environment, which the collector owns; SB3's load() drops the first if
# it gets an environment.
POSITION = ("_last_obs", "_last_episode_starts", "_episode_steps")
_OBSERVATIONS = ("_last_obs", "_last_original_obs", "_last_episode_starts")
_LOST = {
    "training_state": (
        "The states of random generators and of the environment are lost: training "
        "does not continue bit for bit."
    ),
    "replay_memory": "The replay memory is empty.",
}
_IS_LOADING: ContextVar[bool] = ContextVar("is_loading", default=False)


Model = TypeVar("Model")


@dataclass
class TrainingState:
    """State of training beyond attributes and weights, as plain data.

    Attributes:
        random: states of the process's generators.
        action_space: state of the generator of the action space.
        generators: states of the model's own torch generators by attribute.
        env: state of the environment; None if it is to be reset.
        reset_reason: why there is no such state; None if that needs no explanation.
        normalization: statistics of normalising wrappers, for any environment.
        observations: `_last_obs` and the like.
        seed_env: whether to seed an environment that is reset.
    """

    random: dict[str, Any]
    action_space: dict[str, Any] | None
    generators: dict[str, Any]
    env: list[dict[str, Any]] | None
    reset_reason: str | None
    normalization: list[dict[str, Any]]
    observations: dict[str, Any]
    seed_env: bool = True

    @classmethod
    def of(cls, model: Any) -> TrainingState:  # noqa: ANN401
        """Returns the present state of a model."""
        env, reset_reason = None, None
        if model.collector.in_rollout:
            reset_reason = (
                "it was saved in the middle of a rollout, whose steps are lost"
            )
        elif model.env is not None:
            try:
                env = get_env_state(model.env)
            except UnsupportedEnvError as error:
                reset_reason = str(error)
        return cls(
            random=random_states(),
            action_space=space_state(model.action_space),
            generators={
                name: value.get_state().numpy().copy()
                for name, value in vars(model).items()
                if isinstance(value, torch.Generator)
            },
            env=env,
            reset_reason=reset_reason,
            normalization=[] if model.env is None else get_normalization(model.env),
            observations=to_cpu({name: getattr(model, name) for name in _OBSERVATIONS}),
        )

    def to_bytes(self) -> bytes:
        """Returns the state as bytes."""
        pickled: bytes = cloudpickle.dumps(vars(self))
        return pickled

    @classmethod
    def from_bytes(cls, content: bytes) -> TrainingState:
        """Returns the state that `to_bytes` was called on."""
        return cls(**cloudpickle.loads(content))

    def forget_env(self, reason: str) -> None:
        """Makes `restore` reset the environment."""
        self.env, self.reset_reason = None, reason

    def replace_env(self) -> None:
        """Makes `restore` leave another environment as it is."""
        self.env, self.reset_reason = None, None
        self.normalization, self.seed_env = [], False

    def restore(self, model: Any, reset_num_timesteps: bool) -> None:  # noqa: ANN401
        """Restores the state; `learn` calls it before anything else.

        Args:
            model: the model, with an environment.
            reset_num_timesteps: whether `learn` resets the environment in any case, so
                that no warning is needed.
        """
        self._restore_env(model, reset_num_timesteps)
        for name, state in self.generators.items():
            generator = getattr(model, name, None)
            if isinstance(generator, torch.Generator):
                generator.set_state(torch.from_numpy(state))
        set_space_state(model.action_space, self.action_space)
        set_space_state(model.env.action_space, self.action_space)
        set_random_states(self.random)

    def _restore_env(self, model: Any, reset_num_timesteps: bool) -> None:  # noqa: ANN401
        env, reset_reason = model.env, self.reset_reason
        seeds = pending_seeds(env)
        seeded = any(seed is not None for seed in seeds)
        if self.env is not None and seeded and seeds != model.seeds_at_load:
            # The environment was seeded again after load().
            model._last_obs = None
        elif self.env is not None:
            try:
                set_env_state(env, self.env)
            except UnsupportedEnvError as error:
                reset_reason = str(error)
            else:
                for name, value in self.observations.items():
                    setattr(model, name, to_device(value, model.device))
                return
        set_normalization(env, self.normalization)
        if model._last_obs is not None:
            # force_reset=False: the environment is where it was.
            return
        had_begun = self.observations["_last_obs"] is not None
        if reset_reason is not None and had_begun and not reset_num_timesteps:
            warnings.warn(
                f"the environment is reset ({reset_reason}), so that training does not "
                "continue bit for bit",
                stacklevel=5,
            )
        if self.seed_env and model.seed is not None and not seeded:
            env.seed(next_seed(model.seed, model.num_timesteps))


def save_checkpoint(
    model: Any,  # noqa: ANN401
    path: str | Path | io.BufferedIOBase,
    exclude: Iterable[str] | None = None,
    include: Iterable[str] | None = None,
) -> None:
    """Saves a model as SB3 does, with its training state, atomically.

    Args:
        model: the model.
        path: name of the file, `.zip` being added to a name without suffix, or an open
            binary file.
        exclude: attributes to leave out; `["training_state"]` leaves out random
            generators and environment.
        include: attributes to save that are left out by default.

    Raises:
        NonFiniteError: (a ValueError) if a parameter, the state of an optimiser, the
            replay memory or the statistics of a `VecNormalize` is NaN or infinite; an
            older file of that name is unchanged.
        OSError: if it can't be written; likewise.
    """
    check_model(model)
    excluded = {*(exclude or ()), *model._excluded_save_params()} - {*(include or ())}
    modules, variables = model._get_torch_save_params()
    excluded |= {name.split(".")[0] for name in (*modules, *variables)}
    attributes = {**vars(model), **model.delegated_attributes()}
    unpicklable = torch.Generator | torch.cuda.CUDAGraph
    data = {
        name: to_cpu(value) if is_on_accelerator(value) else value
        for name, value in attributes.items()
        if name not in excluded and not isinstance(value, unpicklable)
    }
    data["_on_device"] = [
        name for name in data if is_on_accelerator(attributes.get(name))
    ]
    if "training_state" not in excluded:
        state = model.training_state or TrainingState.of(model)
        data["training_state"] = state.to_bytes()
    replay = getattr(model, "replay_memory", None)
    if replay is not None and "replay_memory" not in excluded:
        data["replay_memory"] = cloudpickle.dumps(to_cpu(replay))
    file = io.BytesIO()
    save_to_zip_file(
        file,
        data=data,
        params=model.get_parameters(),
        pytorch_variables={name: recursive_getattr(model, name) for name in variables},
    )
    write_whole(path, with_manifest(file.getvalue(), type(model)), "zip")


def load_checkpoint(
    cls: type[Model],
    sb3_load: Callable[..., Model],
    path: str | Path | io.BufferedIOBase,
    env: Any,  # noqa: ANN401
    device: torch.device | str,
    custom_objects: dict[str, Any] | None,
    print_system_info: bool,
    force_reset: bool,
    **kwargs: Any,
) -> Model:
    """Loads a model that `save_checkpoint` saved; seeds and draws nothing.

    Args:
        cls: class of the model.
        sb3_load: SB3's `load` of the class.
        path: name of the file, with or without `.zip`, or an open binary file.
        env: environment to train in; None to predict.
        device: as SB3.
        custom_objects: values that replace attributes of the file; where the model had
            None, it stays None.
        print_system_info: as SB3.
        force_reset: whether the environment is reset if its state was not saved. False:
            it is in the state in which the model was saved.
        **kwargs: attributes to change. A `seed` seeds at once, as in SB3.

    Raises:
        DamagedCheckpointError: (a ValueError) if the file is cut off, damaged or no zip
            file, or if its weights were edited.
        ValueError: if it was saved by another class, the spaces do not match, or a
            required attribute can't be read.
        RuntimeError: if the parameters do not fit the policy, as in SB3.
    """
    if not isinstance(custom_objects, dict | None):
        raise ValueError(
            f"custom_objects must be a dict or None, got {custom_objects!r}"
        )
    checkpoint = read_checkpoint(path, cls)
    objects = dict(custom_objects or {})
    # Another name of a setting, such as REINFORCE's `returns`.
    aliases = {
        name: objects.pop(name)
        for name in list(objects)
        if name not in checkpoint.data and hasattr(getattr(cls, name, None), "__set__")
    }
    kwargs = {**aliases, **kwargs}
    token = _IS_LOADING.set(True)
    try:
        with preserved_random_states():
            read = read_attributes(
                checkpoint,
                {
                    name: value
                    for name, value in objects.items()
                    if checkpoint.data.get(name, value) is not None
                },
                kwargs,
                ["n_envs"] if env is None else ["verbose"],
                _LOST,
            )
            packed = {name: read.objects.get(name) for name in _LOST}
            read.objects.update(dict.fromkeys(packed))
            model: Any = sb3_load(
                io.BytesIO(read.content),
                env,
                device,
                read.objects,
                print_system_info,
                force_reset,
                **kwargs,
            )
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RuntimeError(
            f"{checkpoint.name}: the parameters do not fit the model, whose settings "
            f"or policy differ: {error}"
        ) from error
    finally:
        _IS_LOADING.reset(token)
    for name in vars(model).pop("_on_device", ()):
        setattr(model, name, to_device(getattr(model, name), model.device))
    _unpack(model, "training_state", packed, TrainingState.from_bytes)
    _unpack(model, "replay_memory", packed, cloudpickle.loads)
    if model.env is not None:
        model.seeds_at_load = pending_seeds(model.env)
    unreadable = sorted(read.unreadable & {*POSITION, *_OBSERVATIONS})
    if unreadable:
        model._last_obs = None
        if model.training_state is not None:
            reason = f"{', '.join(unreadable)} of the file can't be read here"
            model.training_state.forget_env(reason)
    if kwargs.get("seed") is not None:
        model.set_random_seed(kwargs["seed"])
    loaded: Model = model
    return loaded


def restore_training_state(model: Any, reset_num_timesteps: bool) -> None:  # noqa: ANN401
    """Restores what a checkpoint has saved; `learn` calls it before anything else."""
    state, model.training_state = model.training_state, None
    if state is not None:
        state.restore(model, reset_num_timesteps)


def drop_training_state(model: Any) -> None:  # noqa: ANN401
    """Drops what a checkpoint has saved, because the model is seeded."""
    if model.training_state is not None:
        model.training_state = None
        # Seeds take effect in a reset.
        model._last_obs = None


def is_loading() -> bool:
    """Returns whether `load_checkpoint` is building a model."""
    return _IS_LOADING.get()


def _unpack(
    model: Any,  # noqa: ANN401
    name: str,
    packed: dict[str, Any],
    read: Callable[[bytes], Any],
) -> None:
    """Sets an attribute from its bytes, if there are any; warns if it can't be read."""
    if not packed[name]:
        return
    try:
        value = read(packed[name])
    # Anything that another version does not know.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warn_unreadable(name, reason, _LOST[name], stacklevel=5)
        return
    setattr(model, name, value)


def random_states() -> dict[str, Any]:
    """Returns the states of all generators that are shared in a process.

    Returns:
        Plain data: Python's `random`, NumPy's global generator, torch's on the CPU and,
        where CUDA is in use, on every GPU, and whether cuDNN is deterministic, which
        SB3 sets with a seed.
    """
    cuda = None
    # Initialising CUDA costs memory; unused, it has no state to save.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda = [state.numpy().copy() for state in torch.cuda.get_rng_state_all()]
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state().numpy().copy(),
        "cuda": cuda,
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Restores what `random_states` returned; GPUs that were not there are skipped."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
    deterministic, benchmark = states["cudnn"]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark
    if states["cuda"] is not None and torch.cuda.is_available():
        n_devices = torch.cuda.device_count()
        for device, state in enumerate(states["cuda"][:n_devices]):
            torch.cuda.set_rng_state(torch.from_numpy(state.copy()), device)


@contextmanager
def preserved_random_states() -> Iterator[None]:
    """Restores the generators at the end, whatever was drawn inside."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def space_state(space: spaces.Space[Any]) -> dict[str, Any] | None:
    """Returns the state of a space's own generator; None if it never drew."""
    # Reading `np_random` would create and seed a generator.
    generator = vars(space)["_np_random"]
    return None if generator is None else dict(generator.bit_generator.state)


def set_space_state(space: spaces.Space[Any], state: dict[str, Any] | None) -> None:
    """Restores what `space_state` returned."""
    if state is not None:
        space.np_random.bit_generator.state = state


def pending_seeds(env: VecEnv) -> tuple[int | None, ...]:
    """Returns the seeds that the next reset uses."""
    return tuple(getattr(env.unwrapped, "_seeds", ()))


def next_seed(seed: int, num_timesteps: int) -> int:
    """Returns a seed for an environment that is reset in the middle of training.

    The model's own seed would repeat the first episodes.
    """
    if num_timesteps == 0:
        return seed
    words = np.random.SeedSequence([seed, num_timesteps]).generate_state(1)
    return int(words[0] >> 1)
