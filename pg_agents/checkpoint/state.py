"""Saving and loading such that learning goes on as if it had never stopped."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Self

import cloudpickle  # type: ignore[import-untyped]
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
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
from pg_agents.checkpoint.random_states import (
    kept_random_states,
    put_random_states,
    put_space_state,
    take_random_states,
    take_space_state,
)
from pg_agents.checkpoint.resume_point import ResumePoint, next_seed, pending_seeds
from pg_agents.common.devices import on_device, to_cpu, to_device
from pg_agents.common.files import write_whole

# Where an episode stands; SB3's load() forgets the first if it is given an environment.
_OBSERVATIONS = ("_last_obs", "_last_original_obs", "_last_episode_starts")
_PLACE = {*_OBSERVATIONS, "_episode_steps"}
# What is lost with `_packed`.
_LOST = (
    "The state of random numbers and of the environment and the replay memory are "
    "lost: learning does not go on bit for bit as it would have."
)
# Whether SB3's load() is at work, which builds the model as if it were a new one.
_LOADING: ContextVar[bool] = ContextVar("loading", default=False)


class ResumableAlgorithm(OnPolicyAlgorithm):
    """An algorithm whose `save`, `load` and `learn` continue bit for bit.

    A checkpoint holds the random states and, where the environment can be kept
    (`pg_agents.checkpoint.env_state`), its state. `load` leaves both aside: it neither
    seeds anything nor draws, and the environment it is given may be used as ever. The
    next `learn` puts them back, so that it does what it would have done without the
    stop, with `reset_num_timesteps=False` and with True.

    That holds for what is saved between rollouts: after `learn`, or in a callback's
    `_on_rollout_start` or `_on_training_end`. In the middle of a rollout, steps are
    lost, and the environment starts anew, as `learn(..., reset_num_timesteps=False)`
    then warns. It also starts anew if another environment is given, or one that can't
    be kept (`Monitor`'s list of all past episodes never is). In those cases a model
    with a seed seeds the environment, by the seed and the steps so far, unless the
    environment was seeded already.

    `set_random_seed`, and `load` with a `seed`, drop what was to be put back.
    """

    # Attributes that load() puts back once the model is built, which makes them anew.
    _kept_apart: ClassVar[tuple[str, ...]] = ()

    # What the next learn() puts back; None once it has.
    _resume_point: ResumePoint | None = None
    # In a file: that, and what is kept apart, as bytes. SB3 writes out in words what
    # an attribute holds, if it is anything else.
    _packed: bytes = b""
    # Whether steps have been taken that nothing was learnt from yet.
    _mid_rollout: bool = False
    # Seeds that the environment had when it was handed to load().
    _seeds_at_load: tuple[int | None, ...] = ()

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves the model, and all that it takes to go on exactly.

        A file appears whole or not at all: a reader, or a power cut, meets the old one
        or the new one.

        Args:
            path: name of the file, `.zip` being added to a name without suffix, or an
                open binary file.
            exclude: attributes to leave out besides those that always are;
                `["_resume_point"]` leaves out random states and environment.
            include: attributes to save though they would be left out.

        Raises:
            NonFiniteError: (a ValueError) if a parameter, the state of an optimiser,
                the replay memory or the statistics of a `VecNormalize` is NaN or
                infinite; an old file of that name is as it was.
            OSError: if it can't be written; likewise.
        """
        check_model(self)
        left_out = {*(exclude or ()), *self._excluded_save_params()}
        own = {name: each for name, each in vars(self).items() if name not in left_out}
        kept_apart = self._kept_apart
        apart = {n: v for n, v in own.items() if n in kept_apart or on_device(v)}
        cannot_be = torch.Generator | torch.cuda.CUDAGraph
        cannot = {name for name, value in own.items() if isinstance(value, cannot_be)}
        point = None
        if "_resume_point" not in left_out:
            point = self._resume_point or self._take_resume_point()
        file = io.BytesIO()
        self._packed = cloudpickle.dumps((point, to_cpu(apart)))
        try:
            never = {*left_out, *apart, *cannot, "_resume_point"}
            super().save(file, never, include)
        finally:
            self._packed = b""
        write_whole(path, with_manifest(file.getvalue(), type(self)), "zip")

    @classmethod
    def load(
        cls,
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | VectorEnv[Any, Any, Any] | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Loads a model that was saved by the same class; seeds and draws nothing.

        The file is unpickled, which can run any code: load only files whose origin you
        trust. `pg_agents.checkpoint.weights` exchanges weights without that.

        A file that is cut off or damaged, or whose weights were edited, is refused; an
        attribute that was edited, or can't be unpickled here, costs a warning that
        names it, unless `custom_objects` replaces it.

        Args:
            path: name of the file, with or without `.zip`, or an open binary file.
            env: where to go on learning; None to predict.
            device: as SB3.
            custom_objects: take the place of what the file has by their names; where
                the model had None, such as for `clip_range`, it is None again.
            print_system_info: as SB3.
            force_reset: whether the environment starts anew if its state was not kept.
                False: it is in the very state in which the model was saved.
            **kwargs: attributes to change. A `seed` seeds at once, as SB3's `load`.

        Returns:
            The model.

        Raises:
            DamagedCheckpointError: (a ValueError) if the file is cut off, damaged or
                no zip file, or if its weights were edited.
            ValueError: if it was saved by another class, the spaces do not fit, or an
                attribute can't be read without which no model can be built.
        """
        if not isinstance(custom_objects, dict | None):
            raise ValueError(
                f"custom_objects must be a dict or None, got {custom_objects!r}"
            )
        checkpoint = read_checkpoint(path, cls)
        token = _LOADING.set(True)
        try:
            with kept_random_states():
                read = read_attributes(
                    checkpoint,
                    {
                        name: value
                        for name, value in (custom_objects or {}).items()
                        if checkpoint.data.get(name, value) is not None
                    },
                    kwargs,
                    ["n_envs"] if env is None else ["verbose"],
                    {"_packed": _LOST},
                )
                model = super().load(
                    io.BytesIO(read.content),
                    env,  # type: ignore[arg-type]
                    device,
                    read.objects,
                    print_system_info,
                    force_reset,
                    **kwargs,
                )
        finally:
            _LOADING.reset(token)
        model._after_load(env is not None and force_reset)
        model._forget_place(read.unreadable & _PLACE)
        if kwargs.get("seed") is not None:
            model.set_random_seed(kwargs["seed"])
        return model

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds as SB3 does; what a checkpoint was to put back is dropped.

        Args:
            seed: the seed; None does nothing.
        """
        if seed is None or _LOADING.get():
            return
        if self._resume_point is not None:
            self._resume_point = None
            # Seeds take effect in a reset.
            self._last_obs = None
        super().set_random_seed(seed)

    def set_env(
        self, env: GymEnv | VectorEnv[Any, Any, Any], force_reset: bool = True
    ) -> None:
        """Sets another environment, as SB3 does; it starts anew.

        Args:
            env: the environment.
            force_reset: False if it is in the state that the model saw last.
        """
        super().set_env(env, force_reset)  # type: ignore[arg-type]
        if self._resume_point is not None:
            self._resume_point = {
                **self._resume_point,
                "env": None,
                "why_not": None,
                "normalization": [],
                "seed_env": False,
            }

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_mid_rollout", "_seeds_at_load"]

    def _take_resume_point(self) -> ResumePoint:
        env, why_not = None, None
        if self._mid_rollout:
            why_not = "it was saved in the middle of a rollout, whose steps are lost"
        elif self.env is not None:
            try:
                env = get_env_state(self.env)
            except UnsupportedEnvError as error:
                why_not = str(error)
        return {
            "random": take_random_states(),
            "action_space": take_space_state(self.action_space),
            "generators": {
                name: value.get_state().numpy().copy()
                for name, value in vars(self).items()
                if isinstance(value, torch.Generator)
            },
            "env": env,
            "why_not": why_not,
            "normalization": [] if self.env is None else get_normalization(self.env),
            "observations": to_cpu({n: getattr(self, n) for n in _OBSERVATIONS}),
            "seed_env": True,
        }

    def _after_load(self, forget_observations: bool) -> None:
        """Unpacks what is not put back by SB3's `load`."""
        if self._packed:
            packed, self._packed = self._packed, b""
            try:
                self._resume_point, apart = cloudpickle.loads(packed)
            # Whatever it is that another version does not know.
            except Exception as error:
                apart = {}
                why = f"{type(error).__name__}: {error}"
                warn_unreadable("_packed", why, _LOST, stacklevel=5)
            for name, value in apart.items():
                if not (forget_observations and name == "_last_obs"):
                    setattr(self, name, to_device(value, self.device))
        if self.env is not None:
            self._seeds_at_load = pending_seeds(self.env)

    def _forget_place(self, unreadable: set[str]) -> None:
        """Has the environment start anew if its place in an episode is not known."""
        if unreadable:
            self._last_obs = None
            if self._resume_point is not None:
                why = f"{', '.join(sorted(unreadable))} of the file can't be read here"
                self._resume_point |= {"env": None, "why_not": why}

    def _resume(self, reset_num_timesteps: bool) -> None:
        """Puts back what a checkpoint has kept; called by `learn` before all else.

        Args:
            reset_num_timesteps: whether `learn` begins anew, and so resets the
                environment in any case: nobody needs to be told then.
        """
        point, self._resume_point = self._resume_point, None
        if point is None:
            return
        assert self.env is not None, "learn() has looked"
        self._resume_env(self.env, point, reset_num_timesteps)
        for name, state in point["generators"].items():
            own = getattr(self, name, None)
            if isinstance(own, torch.Generator):
                own.set_state(torch.from_numpy(state))
        put_space_state(self.action_space, point["action_space"])
        put_space_state(self.env.action_space, point["action_space"])
        put_random_states(point["random"])

    def _resume_env(self, env: VecEnv, point: ResumePoint, anew: bool) -> None:
        why_not = point["why_not"]
        seeds = pending_seeds(env)
        seeded = any(seed is not None for seed in seeds)
        if point["env"] is not None and seeded and seeds != self._seeds_at_load:
            # Somebody has seeded it since it was handed to load(): that counts.
            self._last_obs = None
        elif point["env"] is not None:
            try:
                set_env_state(env, point["env"])
            except UnsupportedEnvError as error:
                why_not = str(error)
            else:
                for name, value in point["observations"].items():
                    setattr(self, name, to_device(value, self.device))
                return
        set_normalization(env, point["normalization"])
        if self._last_obs is not None:
            # force_reset=False: the environment is where it was.
            return
        had_begun = point["observations"]["_last_obs"] is not None
        if why_not is not None and had_begun and not anew:
            warnings.warn(
                f"the environment starts from a fresh reset ({why_not}), so that "
                "learning does not go on bit for bit as it would have",
                stacklevel=5,
            )
        if point["seed_env"] and self.seed is not None and not seeded:
            env.seed(next_seed(self.seed, self.num_timesteps))
