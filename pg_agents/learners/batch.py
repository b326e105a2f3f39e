"""Independent learners, trained together as arrays with a leading axis R."""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents.algorithms.actor_critic import ActorCritic
from pg_agents.algorithms.arguments import build_policy
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.analysis.monitor import COLUMNS, Episodes
from pg_agents.checkpoint.env_state import UnsupportedEnvError
from pg_agents.checkpoint.state import next_seed, preserved_random_states
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_seed,
    checked_timesteps,
)
from pg_agents.common.files import write_file, write_whole
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.common.progress import Bar, advance, bar_format, tqdm
from pg_agents.common.spaces import nearest_actions
from pg_agents.common.tree import zeros_like
from pg_agents.learners.lanes import make_env, make_lanes
from pg_agents.learners.policies import Networks, Policies, Rows
from pg_agents.learners.rollouts import ActionNumbers, RolloutStore, generator
from pg_agents.learning.advantages import estimate_advantages
from pg_agents.learning.closed_form import Derivatives, loss_and_derivatives
from pg_agents.learning.gradients import Forward
from pg_agents.learning.learner import current_value
from pg_agents.policies.tabular import TabularPolicy
from pg_agents.rollout.data import Batch, Rollout

Array = NDArray[Any]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Called after every vector step, see `LearnerBatch.learn`.
Callback = Callable[["LearnerBatch"], "bool | Mask | None"]

# Steps of a forward pass: a larger group of learners is divided.
_MAX_STEPS = 16_384
# Padding up to this number of steps costs little.
_SHORT = 64
_MAGIC = b"pgtoy learners 1\n"
_COEFFICIENTS = ("ent_coef", "clip_range", "clip_range_vf")
# Arguments of the algorithms that a batch has no use for, and what it has instead.
_OTHER_VALUES = {
    "use_sde": False,
    "tensorboard_log": None,
    "rollout_buffer_class": None,
    "rollout_buffer_kwargs": None,
    "memory_size": None,
    "target_update_interval": None,
    "_init_setup_model": True,
}


class LearnerBatch:
    """R independent learners of one algorithm, one for each seed.

    Each is what a model of `algorithm` with its seed is: it starts from the same
    weights, acts in N environments of its own, and learns from its own episodes by the
    gradient of its own loss. All share the arguments. The learners are the leading axis
    of every array, so that a step of all costs little more than a step of one.

    Learner r draws from generators of its own seed alone: what it does depends neither
    on the other seeds nor on their number, up to rounding. Its random numbers are
    NumPy's, those of a single model torch's: both have the same distribution, and other
    numbers.

    With `n_episodes` a learner updates as soon as its own episodes are complete, while
    the others go on.

    Args:
        algorithm: `REINFORCE` or `ActorCritic`.
        policy: as for the algorithm.
        env: id of an environment. Those that `pg_envs.make_numpy_vec` accepts are one
            vector environment for all learners; of other ids each learner has a vector
            environment of its own, and these are stepped in turn.
        seeds: of the learners, different integers.
        n_envs: environments of each learner, N.
        env_kwargs: further arguments of the environment.
        monitor_dir: folder of monitor files as SB3 writes them, `seed-0003/monitor.csv`
            for seed 3, written at the end of `learn` and by `save`; None for none.
        **arguments: of the algorithm, without `seed`.

    Attributes:
        seeds: of the learners.
        config: all settings.
        observation_space: of one environment.
        action_space: of one environment.
        num_timesteps: `[R]`, steps of each learner, summed over its environments.
        n_updates: `[R]`, passes over data of each learner.
        n_episodes: `[R]`, finished episodes of each learner.
        seconds: duration of training so far.
        rewards: `[R, N]`, of the last step.
        stepped: `[R]` bool, learners that took the last step.
        updated: `[R]` bool, learners that updated after it.
        logs: terms of the loss in the last update of each learner by name, `[R]`; NaN
            before its first.

    Raises:
        ValueError: if an argument is out of range, or a batch does not support it; the
            message names it.

    Example:
        >>> from pg_agents import REINFORCE, LearnerBatch
        >>> env = "pg_envs:PGToy-Sequence-v0"
        >>> batch = LearnerBatch(REINFORCE, "MlpPolicy", env, seeds=range(10))
        >>> batch = batch.learn(1_000)
        >>> len(batch.models)
        10
    """

    def __init__(
        self,
        algorithm: type[PolicyGradientAlgorithm],
        policy: str | type[ActorCriticPolicy],
        env: str,
        seeds: Sequence[int],
        n_envs: int = 1,
        env_kwargs: dict[str, Any] | None = None,
        monitor_dir: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        self.seeds = _checked_seeds(seeds)
        check_count("n_envs", n_envs)
        _check_arguments(algorithm, env, arguments)
        self.monitor_dir = None if monitor_dir is None else Path(monitor_dir)
        self._arguments = {
            "algorithm": algorithm,
            "policy": policy,
            "env": env,
            "seeds": self.seeds,
            "n_envs": n_envs,
            "env_kwargs": dict(env_kwargs or {}),
            **arguments,
            "device": "cpu",
        }
        n_learners = len(self.seeds)
        shape = self._shape = n_learners, n_envs
        with preserved_random_states():
            template = self._make_model(0)
            self.config: PolicyGradientConfig = template.config
            gradients = template.explain_gradients()
            if not gradients.startswith("closed form"):
                raise ValueError(
                    "a LearnerBatch computes gradients in closed form, and those of "
                    f"this model come from {gradients}: train single models instead"
                )
            self._policies = Policies(template.policy, n_learners)
            self._initialise(template)
            assert template.env is not None
            template.env.close()
        self._lanes = make_lanes(env, *shape, self._arguments["env_kwargs"])
        self.observation_space = template.observation_space
        space = self.action_space = template.action_space
        self._is_box = isinstance(space, spaces.Box)
        self._numbers = ActionNumbers(
            self.seeds, (n_envs, self._policies.n_outputs), space
        )
        self._shuffles = [generator(seed, 2) for seed in self.seeds]
        self._store = RolloutStore(
            shape, self.observation_space, space, self.config.n_steps
        )
        self._stats_window_size = template._stats_window_size
        self._t_start = time.time()
        self.seconds = 0.0
        self.num_timesteps = np.zeros(n_learners, np.int64)
        self.n_updates = np.zeros(n_learners, np.int64)
        self.n_episodes = np.zeros(n_learners, np.int64)
        self.rewards = np.zeros(shape)
        self.stepped = np.zeros(n_learners, np.bool_)
        self.updated = np.zeros(n_learners, np.bool_)
        self.logs: dict[str, Array] = {}
        # Learners that go on, and the number of steps after which each stops.
        self._active = np.zeros(n_learners, np.bool_)
        self._goals = np.zeros(n_learners, np.int64)
        # Learners whose environments are reset before they go on.
        self._restarts = np.ones(n_learners, np.bool_)
        self._obs = np.zeros((*shape, *self.observation_space.shape))  # type: ignore[misc]
        self._episode_steps = np.zeros(shape, np.int64)
        self._episode_returns = np.zeros(shape)
        # Episodes that are missing in the rollout.
        self._n_left = np.zeros(shape, np.int64)
        # Finished episodes, `[5, k]`: learner, return, length, steps and seconds.
        self._finished: list[Array] = []
        self._models: _Models | None = None

    def learn(
        self,
        total_timesteps: int | None,
        callback: Callback | Sequence[Callback] | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Each learner learns until it has taken `total_timesteps` steps more.

        A learner completes its last rollout, so it can take more steps, and waits for
        the others.

        Args:
            total_timesteps: steps of each learner, summed over its environments; None
                finishes a `learn` during which the batch was saved.
            callback: a function of the batch, or several, called after every step of
                all learners and the updates that follow it. Returning False stops all
                learners, and a mask `[R]` bool those where it is False. A learner that
                was stopped does not learn from its unfinished rollout.
            progress_bar: whether to show steps, summed over the learners, finished
                episodes, and how many learners are still learning.

        Returns:
            The batch itself.

        Raises:
            ValueError: if an argument is out of range.
            NonFiniteError: if loss, gradient or weights of a learner become NaN or
                infinite; the message names its seed.
        """
        callbacks = [callback] if callable(callback) else list(callback or ())
        if not all(map(callable, callbacks)):
            raise TypeError(
                "callback must be a function of the batch, several of them, or None, "
                f"got {callback!r}"
            )
        check_choice("progress_bar", progress_bar, (True, False))
        if total_timesteps is not None:
            total_timesteps = checked_timesteps("total_timesteps", total_timesteps)
            if total_timesteps == 0:
                return self
            self._begin(total_timesteps)
        self._models = None
        started_at = time.perf_counter() - self.seconds
        everyone = len(self.seeds)
        bar = self._progress() if progress_bar else None
        try:
            # At least the length of the longest episode in progress.
            self._max_episode_steps = int(self._episode_steps.max())
            while np.count_nonzero(self._active):
                self.seconds = time.perf_counter() - started_at
                self._step()
                if bar is not None:
                    self._show_progress(bar)
                for function in callbacks:
                    answer = function(self)
                    if answer is not None and not np.all(answer):
                        self._stop(~np.broadcast_to(np.asarray(answer), everyone))
        finally:
            # After an error, which may have come in the middle of a step.
            self._stop(np.ones(everyone, np.bool_))
            self._write_monitor_files()
            if bar is not None:
                bar.close()
        return self

    @property
    def models(self) -> Sequence[PolicyGradientAlgorithm]:
        """The learners as ordinary models, made when they are first read.

        Model r has weights, optimiser state, step count and last episodes of learner r.
        It predicts, is saved, and learns on in an environment of its own, which it
        resets. It is a copy: the batch's next `learn` leaves it as it is, and makes new
        ones.
        """
        if self._models is None:
            self._models = _Models(len(self.seeds), self._model)
        return self._models

    @property
    def episodes(self) -> list[Episodes]:
        """The finished episodes of each learner."""
        table = self._episode_table()
        order = np.argsort(table[:, 0], kind="stable")
        ends = np.cumsum(np.bincount(table[:, 0].astype(int), minlength=self._shape[0]))
        return [
            Episodes(
                rows[:, 1],
                rows[:, 2].astype(np.int64),
                rows[:, 4],
                rows[:, 3].astype(np.int64),
            )
            for rows in np.split(table[order], ends[:-1])
        ]

    def action_probabilities(
        self, observations: Array, learners: Indices | None = None
    ) -> NDArray[np.float64]:
        """Returns the probability of each action, of a Discrete action space.

        Args:
            observations: `[K, *obs_shape]`.
            learners: indices of M learners; None for all.

        Returns:
            `[M, K, A]`.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            raise ValueError(
                "action probabilities need a Discrete action space, got "
                f"{self.action_space}"
            )
        observations, shape = np.asarray(observations), self.observation_space.shape
        if observations.size == 0 or observations.shape[1:] != shape:
            raise ValueError(
                "observations must have the shape [K, *obs_shape] with K >= 1 and "
                f"obs_shape = {shape}, got {observations.shape}"
            )
        rows = slice(None) if learners is None else _rows(learners, self._shape[0])
        networks, _ = self._policies.at(rows)
        n = self._shape[0] if learners is None else len(learners)
        features = self._policies.features(observations[None])
        logits = networks.outputs(np.repeat(features, n, axis=0)).astype(np.float64)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities: NDArray[np.float64] = odds / odds.sum(-1, keepdims=True)
        return probabilities

    def save(self, path: str | Path) -> None:
        """Saves all learners; training continues from the file bit for bit.

        A callback may call it: `load(path).learn(None)` then finishes the `learn`. A
        file appears whole or not at all.

        Args:
            path: name of the file, `.learners` being added to a name without suffix.

        Raises:
            NonFiniteError: (a ValueError) if a parameter or the state of an optimiser
                is NaN or infinite; an older file of that name is unchanged.
            ValueError: if episodes are in progress in an environment whose state can't
                be saved; likewise.
            OSError: if it can't be written; likewise.
        """
        policies = self._policies
        arrays = {"parameters": policies.values, **policies.moments}
        for name, array in arrays.items():
            for i in np.flatnonzero(~np.isfinite(array).all(1)).tolist():
                raise NonFiniteError(
                    f"{name} of the learner with seed {self.seeds[i]} are not finite: "
                    "the batch is not saved, and existing files are unchanged"
                )
        # Rollouts of whole episodes begin with a reset.
        by_episode = self.config.n_episodes is not None
        begins = not self._active.any() and (by_episode or self._restarts.all())
        try:
            lanes = None if begins else self._lanes.get_state()
        except UnsupportedEnvError as error:
            raise ValueError(
                f"the batch can't be saved while episodes are in progress: {error}; "
                "save its models instead"
            ) from error
        state = {name: vars(self)[name] for name in _STATE} | {
            "lanes": lanes,
            "finished": self._episode_table(),
            "parameters": np.array(policies.values),
            "moments": {name: np.array(m) for name, m in policies.moments.items()},
            "n_steps": policies.n_steps,
        }
        content = cloudpickle.dumps(
            {
                "arguments": {**self._arguments, "monitor_dir": self.monitor_dir},
                "state": state,
            }
        )
        digest = hashlib.sha256(content).hexdigest().encode()
        self._write_monitor_files()
        write_whole(path, _MAGIC + digest + b"\n" + content, "learners")

    @classmethod
    def load(cls, path: str | Path) -> LearnerBatch:
        """Loads what `save` has written.

        The file is unpickled, which can run any code: load only files whose origin you
        trust.

        Args:
            path: name of the file, with or without `.learners`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged or was not written by `save`.
        """
        file = Path(path)
        if not file.is_file() and file.suffix == "":
            file = file.with_name(f"{file.name}.learners")
        saved = cloudpickle.loads(_checked_content(file))
        batch = cls(**saved["arguments"])
        state = saved["state"]
        for name in _STATE:
            setattr(batch, name, state[name])
        policies = batch._policies
        policies.values[:] = state["parameters"]
        for name, moment in state["moments"].items():
            policies.moments[name][:] = moment
        policies.n_steps[:] = state["n_steps"]
        batch._finished = [state["finished"].T]
        if state["lanes"] is not None:
            batch._lanes.set_state(state["lanes"])
        return batch

    def close(self) -> None:
        """Closes the environments; the models have their own."""
        self._lanes.close()

    def _progress(self) -> Bar:
        """Returns a bar of the steps of all learners, those of earlier calls too."""
        return tqdm(
            total=int(self._goals.sum()),
            initial=int(self.num_timesteps.sum()),
            bar_format=bar_format("steps"),
            dynamic_ncols=True,
        )

    def _show_progress(self, bar: Bar) -> None:
        learning, everyone = np.count_nonzero(self._active), len(self.seeds)
        bar.set_postfix_str(
            f"{int(self.n_episodes.sum())} episodes, {learning} of {everyone} learning",
            refresh=False,
        )
        advance(bar, int(self.num_timesteps.sum()))

    def _begin(self, total_timesteps: int) -> None:
        """Prepares all learners for that many steps more."""
        # Rollouts of whole episodes begin with new ones.
        starts = ~self._active
        if self.config.n_episodes is not None:
            self._restarts |= starts
            self._n_left[starts] = self.config.n_episodes
        which = self._restarts
        if which.any():
            counts = self.num_timesteps.tolist()
            pairs = zip(self.seeds, counts, strict=True)
            # The seed itself would repeat the first episodes.
            seeds = [next_seed(seed, count) for seed, count in pairs]
            self._obs = self._lanes.reset(seeds, which)
            self._episode_steps[which] = 0
            self._episode_returns[which] = 0.0
            self._restarts = np.zeros_like(which)
        self._goals = self.num_timesteps + total_timesteps
        self._active = np.ones_like(starts)

    def _stop(self, which: Mask) -> None:
        which = which & self._active
        self._active = self._active & ~which
        self._restarts = self._restarts | which
        self._store.clear(np.flatnonzero(which))

    def _step(self) -> None:
        """Takes a step in all environments, and updates the learners that are ready."""
        config, store, active = self.config, self._store, self._active
        obs = self._obs
        self._numbers.next(active)
        features = self._policies.features(obs)
        # Numbers that are not finite raise errors of their own.
        with np.errstate(all="ignore"):
            actions = self._policies.networks.sample(features, self._numbers.draw)
        taken = actions
        if self._is_box:
            self._check_actions(actions)
            taken = nearest_actions(actions, self.action_space)
        step = self._lanes.step(taken, active)
        ended, truncated = step.terminated | step.truncated, step.truncated
        final_obs, capped = step.final_obs, None
        recorded: Mask | None = None
        if config.n_episodes is not None:
            if self._shape[1] > 1:
                recorded = self._n_left > 0
            self._max_episode_steps += 1
            if self._max_episode_steps >= config.max_episode_steps:
                self._max_episode_steps = int(self._episode_steps.max()) + 1
            if self._max_episode_steps >= config.max_episode_steps:
                capped = self._capped(ended, recorded)
                truncated, ended = truncated | capped, ended | capped
                final_obs = step.obs if final_obs is None else final_obs.copy()
                final_obs[capped] = step.obs[capped]
        store.add(
            active,
            final_obs if config.bootstraps else None,
            observations=obs,
            actions=actions,
            rewards=step.rewards,
            terminated=step.terminated,
            truncated=truncated,
            episode_steps=self._episode_steps,
            recorded=recorded,
        )
        self.rewards, self._obs = step.rewards, step.obs
        self.num_timesteps = self.num_timesteps + self._shape[1] * active
        self._episode_returns += step.rewards
        self._episode_steps = self._episode_steps + 1
        has_ended = np.count_nonzero(ended) > 0
        if has_ended:
            counted = ended & active[:, None]
            if recorded is not None:
                counted = counted & recorded
            self._finish(counted)
            self._episode_returns[ended] = 0.0
            self._episode_steps[ended] = 0
            if config.n_episodes is not None:
                self._n_left -= counted
        self.stepped, self.updated = active, zeros_like(active)
        if config.n_steps is not None:
            self.updated = active & (store.n_rows == config.n_steps)
        elif has_ended:
            self.updated = active & ~self._n_left.any(1)
        if np.count_nonzero(self.updated):
            with np.errstate(all="ignore"):
                self._update(np.flatnonzero(self.updated))
            # As single models: only a complete rollout ends the training.
            is_done = self.updated & (self.num_timesteps >= self._goals)
            self._active = active & ~is_done
        if config.n_episodes is not None and has_ended:
            self._restart_lanes(self.updated, capped)

    def _capped(self, ended: Mask, recorded: Mask | None) -> Mask:
        """Returns episodes that the step limit truncates, `[R, N]`."""
        limit = self.config.max_episode_steps
        capped = (self._episode_steps + 1 >= limit) & ~ended & self._active[:, None]
        if recorded is not None:
            capped &= recorded
        if capped.any():
            warnings.warn(
                f"an episode was still running after {limit} steps and was truncated, "
                "as by a time limit: raise max_episode_steps if it should continue, or "
                "pass n_steps (and no n_episodes) if it never ends",
                stacklevel=4,
            )
        return capped

    def _restart_lanes(self, ready: Mask, capped: Mask | None) -> None:
        """Restarts capped lanes, and those that idled in the middle of an episode."""
        if np.count_nonzero(ready):
            self._n_left[ready] = self.config.n_episodes  # type: ignore[assignment]
        if self._shape[1] == 1 and capped is None:
            return
        begins = ready[:, None] & (self._episode_steps > 0)
        restarts = begins if capped is None else begins | capped
        restarts = restarts & self._active[:, None]
        if restarts.any():
            self._obs = self._lanes.restart(restarts)
            self._episode_returns[restarts] = 0.0
            self._episode_steps[restarts] = 0

    def _finish(self, ended: Mask) -> None:
        """Stores the results of episodes `[R, N]` that have ended."""
        learners, lanes = np.nonzero(ended)
        table = np.empty((5, len(learners)))
        table[0] = learners
        table[1] = self._episode_returns[learners, lanes]
        table[2] = self._episode_steps[learners, lanes]
        table[3] = self.num_timesteps[learners]
        table[4] = self.seconds
        self._finished.append(table)
        self.n_episodes = self.n_episodes + np.count_nonzero(ended, axis=1)

    def _episode_table(self) -> Array:
        table = np.concatenate([np.empty((5, 0)), *self._finished], axis=1)
        table[1] = table[1].round(6)
        self._finished = [table]
        return table.T

    def _update(self, learners: Indices) -> None:
        """Updates learners, those together whose rollouts have a similar length."""
        config, store = self.config, self._store
        names = [name for name in _COEFFICIENTS if getattr(config, name) is not None]
        coefficients = {name: self._scheduled(name, learners) for name in names}
        names = ["learning_rate"]
        if config.critic_learning_rate is not None:
            names.append("critic_learning_rate")
        rates = [self._scheduled(name, learners) for name in names]
        n_steps, sizes = store.n_recorded(learners), store.n_rows[learners]
        if config.batch_size is None:
            # Rollouts are padded to the longest, at most to twice their length unless
            # they are short.
            lengths = [np.ceil(np.log2(np.maximum(sizes * self._shape[1], _SHORT)))]
        else:
            lengths = [sizes, n_steps]
        scheduled = [c for c in coefficients.values() if isinstance(c, np.ndarray)]
        keys = [*lengths, *scheduled]
        groups = [np.arange(len(learners))]
        if any(np.count_nonzero(key != key[0]) for key in keys):
            _, group = np.unique(np.stack(keys, 1), axis=0, return_inverse=True)
            groups = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
        for members in groups:
            # Activations should fit the processor's cache.
            longest = int(sizes[members].max()) * self._shape[1]
            size = max(1, _MAX_STEPS // longest)
            for start in range(0, len(members), size):
                chosen = members[start : start + size]
                self._update_group(
                    learners[chosen],
                    n_steps[chosen],
                    {n: float(_at(c, members[0])) for n, c in coefficients.items()},
                    [_at(rate, chosen[:, None]) for rate in rates],
                )
        store.clear(learners)

    def _scheduled(self, name: str, learners: Indices) -> float | Array:
        """Returns a setting, or a schedule's value for each learner, `[K]`."""
        given = getattr(self.config, name)
        if not callable(given):
            return float(given)
        # Each learner has progress of its own.
        progress = 1.0 - self.num_timesteps[learners] / self._goals[learners]
        return np.array(
            [current_value(name, given, at) for at in progress.clip(0.0, 1.0).tolist()]
        )

    def _update_group(
        self,
        learners: Indices,
        n_steps: Indices,
        coefficients: dict[str, float],
        rates: list[float | Array],
    ) -> None:
        """Completes the rollouts of K learners and learns from them.

        Args:
            learners: `[K]`.
            n_steps: recorded steps of each rollout, `[K]`; equal for mini-batches.
            coefficients: of the loss.
            rates: step sizes.
        """
        config, policies, n_learners = self.config, self._policies, self._shape[0]
        rows = _rows(learners, n_learners)
        n_rows = self._store.n_rows[learners]
        columns = self._store.rollouts(rows, int(n_rows.max()))
        table = columns["rewards"].shape
        shape = len(learners), table[1] * table[2]
        # Of B steps, those of shorter rollouts and of idle lanes do not count.
        mask = recorded = columns.pop("recorded", None)
        if np.count_nonzero(n_steps < shape[1]):
            mask = np.arange(table[1])[:, None] < n_rows[:, None, None]
            mask = np.broadcast_to(mask, table) if recorded is None else mask & recorded
        else:
            mask = None

        def flat(column: Array) -> Array:
            return column.reshape(*shape, *column.shape[3:])

        networks, gradients = policies.at(rows)
        features = policies.features(flat(columns["observations"]))
        actions = flat(columns["actions"])
        forward: Forward | None = networks.forward(features, actions)
        assert forward is not None
        columns["values"] = columns["next_values"] = forward.values.reshape(table)
        if config.bootstraps:
            columns["next_values"] = self._next_values(
                networks, learners, columns["values"]
            )
        returns, advantages = map(flat, self._estimates(columns, mask))
        valid = None if mask is None else flat(mask)
        old_values = forward.values
        if valid is not None:
            old_values = np.where(valid, old_values, returns)
        n_episodes = (config.n_episodes or 0) * self._shape[1]
        batch = Batch(
            observations=features,
            actions=actions,
            advantages=advantages,
            returns=returns,
            old_values=old_values,
            old_log_prob=forward.evaluation.log_prob,
            n_samples=n_episodes or shape[1],
        )
        if config.batch_size is not None:
            # It was on the whole rollout.
            forward = None
        everyone = learners
        logs: list[tuple[int, Indices, dict[str, Array]]] = []
        positions = np.arange(len(learners))
        for number in range(config.n_epochs):
            self.n_updates[learners] += 1
            order, size = self._shuffled(learners, n_steps, valid), shape[1]
            if config.batch_size is not None:
                size = config.batch_size
            for start in range(0, shape[1] if order is None else order.shape[1], size):
                part, counted = batch, valid
                if order is not None:
                    index = order[:, start : start + size]
                    part, counted = _take(batch, index, order.shape[1]), None
                if forward is None:
                    networks, gradients = policies.at(rows)
                    forward = networks.forward(part.observations, part.actions)
                terms, derivatives = _loss(
                    part, forward, counted, n_steps, config, coefficients
                )
                networks.backward(forward, derivatives)
                forward = None
                self._clip(learners, gradients, terms["loss"])
                logs.append((number, positions, terms))
                if config.target_kl is not None:
                    goes_on = terms["approx_kl"] <= 1.5 * config.target_kl
                    if not goes_on.all():
                        learners, positions = learners[goes_on], positions[goes_on]
                        rows = _rows(learners, n_learners)
                        gradients, batch = gradients[goes_on], _select(batch, goes_on)
                        n_steps = n_steps[goes_on]
                        order = None if order is None else order[goes_on]
                        valid = None if valid is None else valid[goes_on]
                        rates = [r if np.ndim(r) == 0 else r[goes_on] for r in rates]  # type: ignore[index]
                    if len(learners) == 0:
                        break
                policies.step(rows, gradients, rates)
            if len(learners) == 0:
                break
        every = _rows(everyone, n_learners)
        self._check_finite(everyone, "weights", policies.values[every].sum(1))
        for name, means in _mean_terms(len(everyone), logs).items():
            if name not in self.logs:
                self.logs[name] = np.full(n_learners, np.nan)
            self.logs[name][every] = means

    def _next_values(
        self, networks: Networks, learners: Indices, values: Array
    ) -> Array:
        """Returns V of the state that followed each step, `[K, T, N]`.

        Args:
            networks: the policies.
            learners: `[K]`.
            values: `[K, T, N]`, V of each state.
        """
        policies, n_learners = self._policies, self._shape[0]
        last_obs = self._obs[_rows(learners, n_learners)]
        last = networks.values(policies.features(last_obs))
        next_values = np.concatenate([values[:, 1:], last[:, None]], 1)
        # Learners with the same number of truncated episodes have one array.
        groups: dict[int, list[int]] = defaultdict(list)
        for k, i in enumerate(learners.tolist()):
            groups[len(self._store.finals[i])].append(k)
        groups.pop(0, None)
        for members in groups.values():
            some, chosen = networks, learners[members]
            if len(members) < len(learners):
                some, _ = policies.at(_rows(chosen, n_learners))
            finals = [self._store.finals[i] for i in chosen.tolist()]
            obs = np.array([[final for _, _, final in of_one] for of_one in finals])
            found = some.values(policies.features(obs))
            for k, of_one, row in zip(members, finals, found, strict=True):
                for (t, n, _), value in zip(of_one, row, strict=True):
                    next_values[k, t, n] = value
        return next_values

    def _estimates(
        self, columns: dict[str, Array], mask: Mask | None
    ) -> tuple[Array, Array]:
        """Returns returns and advantages, `[K, T, N]`.

        Args:
            columns: `[K, T, N, ...]` each.
            mask: recorded steps; None for all.
        """
        config = self.config
        shape = columns["rewards"].shape
        names = "rewards", "terminated", "truncated", "episode_steps"
        tables = {name: columns[name] for name in (*names, "values", "next_values")}
        tables["recorded"] = np.ones(shape, np.bool_) if mask is None else mask
        compares_steps = (
            config.standardize_returns
            or config.compares_trajectories
            or (config.normalize_advantage and not config.standardizes_mini_batches)
        )
        n_episodes = None
        if config.n_episodes is not None:
            n_episodes = config.n_episodes * self._shape[1]

        def estimate(rows: dict[str, Any]) -> Any:  # noqa: ANN401
            rollout = Rollout(
                observations=None,
                actions=None,
                log_probs=None,
                n_episodes=n_episodes,
                all_recorded=mask is None,
                **rows,
            )
            return estimate_advantages(rollout, config)

        if compares_steps:
            # Steps are compared with those of the same learner.
            found = np.zeros((2, *shape), np.float32)
            n_rows = [shape[1]] * shape[0]
            if mask is not None:
                n_rows = (mask.any(2) * np.arange(1, shape[1] + 1)).max(1).tolist()
            for k, n in enumerate(n_rows):
                found[:, k, :n] = estimate(
                    {c: table[k, :n] for c, table in tables.items()}
                )
            return found[0], found[1]
        # Every lane is for itself: those of all learners are side by side.
        side_by_side = {
            name: table.swapaxes(0, 1).reshape(shape[1], -1)
            for name, table in tables.items()
        }
        found = estimate(side_by_side)
        returns, advantages = (
            rows.reshape(shape[1], shape[0], shape[2]).swapaxes(0, 1) for rows in found
        )
        return returns, advantages

    def _shuffled(
        self, learners: Indices, n_steps: Indices, valid: Mask | None
    ) -> Indices | None:
        """Returns a permutation of each learner's steps, `[K, B]`, for mini-batches."""
        if self.config.batch_size is None or len(learners) == 0:
            return None
        orders = [self._shuffles[i].permutation(n_steps[0]) for i in learners.tolist()]
        if valid is None:
            return np.stack(orders)
        pairs = zip(valid, orders, strict=True)
        return np.stack([np.flatnonzero(steps)[order] for steps, order in pairs])

    def _clip(self, learners: Indices, gradients: Array, losses: Array) -> None:
        """Clips the gradient of each learner; checks that losses are finite."""
        norms = np.sqrt(np.square(gradients).sum(1), dtype=np.float64)
        self._check_finite(learners, "loss", losses)
        self._check_finite(learners, "gradient", norms)
        limit = self.config.max_grad_norm
        if limit is not None and limit < math.inf:
            scale = np.minimum(1.0, limit / (norms + 1e-6))
            gradients *= scale[:, None].astype(gradients.dtype)

    def _check_finite(self, learners: Indices, what: str, numbers: Array) -> None:
        if math.isfinite(np.add.reduce(numbers)):
            return
        for i, number in zip(learners.tolist(), numbers.tolist(), strict=True):
            if not math.isfinite(number):
                verb = "are" if what == "weights" else "is"
                raise NonFiniteError(
                    f"training stopped after {self.num_timesteps[i]} timesteps, since "
                    f"the {what} of the learner with seed {self.seeds[i]} {verb} not "
                    "finite: look at the step size (learning_rate), the size of the "
                    f"rewards, and max_grad_norm={self.config.max_grad_norm}"
                )

    def _check_actions(self, actions: Array) -> None:
        finite = np.isfinite(actions).reshape(*self._shape, -1).all((1, 2))
        for i in np.flatnonzero(~finite & self._active).tolist():
            raise NonFiniteError(
                f"an action of the learner with seed {self.seeds[i]} is not finite: "
                "check the observations that the environment returns, and the step size"
            )

    def _model_arguments(self) -> dict[str, Any]:
        used = ("algorithm", "policy", "env", "seeds", "n_envs", "env_kwargs")
        return {k: v for k, v in self._arguments.items() if k not in used}

    def _make_model(self, i: int) -> PolicyGradientAlgorithm:
        """Returns an untrained model with the seed of learner i."""
        given = self._arguments
        env = make_env(given["env"], given["n_envs"], given["env_kwargs"])
        model: PolicyGradientAlgorithm = given["algorithm"](
            given["policy"], env, seed=self.seeds[i], **self._model_arguments()
        )
        return model

    def _initialise(self, template: PolicyGradientAlgorithm) -> None:
        """Sets the weights of each learner to those of a model with its seed."""
        if type(template.policy) is TabularPolicy:
            # Tables start at 0, as the arrays of parameters do.
            return
        kwargs = {
            "use_sde": False,
            **template._default_policy_kwargs(),
            **template.policy_kwargs,
        }
        spaces = template.observation_space, template.action_space
        for i, seed in enumerate(self.seeds):
            torch.manual_seed(seed)
            self._policies.read(
                i,
                build_policy(
                    template.policy_class, *spaces, template.lr_schedule, kwargs
                ),
            )

    def _model(self, i: int) -> PolicyGradientAlgorithm:
        """Returns learner i as a model."""
        with preserved_random_states():
            model = self._make_model(i)
        self._policies.write(i, model.policy)
        model.num_timesteps = int(self.num_timesteps[i])
        model._n_updates = int(self.n_updates[i])
        episodes = self.episodes[i]
        size = self._stats_window_size
        results = zip(
            episodes.returns[-size:].tolist(),
            episodes.lengths[-size:].tolist(),
            episodes.seconds[-size:].tolist(),
            strict=True,
        )
        model.ep_info_buffer = deque(
            ({"r": r, "l": length, "t": t} for r, length, t in results), maxlen=size
        )
        model.ep_success_buffer = deque(maxlen=size)
        assert model.env is not None
        model.env.seed(next_seed(self.seeds[i], model.num_timesteps))
        return model

    def _write_monitor_files(self) -> None:
        if self.monitor_dir is None:
            return
        header = {"t_start": self._t_start, "env_id": self._arguments["env"]}
        lines = f"#{json.dumps(header)}\n{','.join(COLUMNS)}\n"
        for seed, episodes in zip(self.seeds, self.episodes, strict=True):
            columns = (
                episodes.returns,
                episodes.lengths,
                episodes.seconds.round(6),
                episodes.steps,
                np.arange(1, len(episodes.steps) + 1),
            )
            rows = zip(*(column.tolist() for column in columns), strict=True)
            content = lines + "".join(",".join(map(str, row)) + "\n" for row in rows)
            folder = self.monitor_dir / f"seed-{seed:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / "monitor.csv", content.encode())


# What `save` stores as it is.
_STATE = (
    "num_timesteps",
    "n_updates",
    "rewards",
    "stepped",
    "updated",
    "logs",
    "_t_start",
    "seconds",
    "n_episodes",
    "_active",
    "_goals",
    "_restarts",
    "_obs",
    "_episode_steps",
    "_episode_returns",
    "_n_left",
    "_numbers",
    "_shuffles",
    "_store",
)


def _loss(
    batch: Batch,
    forward: Forward,
    valid: Mask | None,
    n_steps: Indices,
    config: PolicyGradientConfig,
    coefficients: dict[str, float],
) -> tuple[dict[str, Array], Derivatives]:
    """Returns `loss_and_derivatives` of steps of which not all count.

    Args:
        batch: the data, `[K, B]`; its advantages are 0, and its returns its old values,
            where a step does not count.
        forward: the forward pass on it.
        valid: steps that count, `[K, B]`; None for all.
        n_steps: their number, `[K]`.
        config: all settings.
        coefficients: of the loss.
    """
    log_prob, entropy = forward.evaluation.log_prob, forward.evaluation.entropy
    values = forward.values
    if valid is None:
        return loss_and_derivatives(
            batch, log_prob, entropy, values, config, coefficients
        )
    log_prob = np.where(valid, log_prob, batch.old_log_prob)
    values = np.where(valid, values, batch.returns)
    terms, derivatives = loss_and_derivatives(
        batch, log_prob, entropy * valid, values, config, coefficients
    )
    # Means over B steps become means over those that count.
    scale = (valid.shape[1] / n_steps).astype(log_prob.dtype)
    if "value_loss" in terms:
        terms["loss"] += config.vf_coef * (scale - 1.0) * terms["value_loss"]
    for name in {"value_loss", "approx_kl", "clip_fraction"} & terms.keys():
        terms[name] = terms[name] * scale
    if derivatives.values is not None:
        derivatives.values *= scale[:, None]
    if derivatives.entropy is not None:
        derivatives.entropy = derivatives.entropy * valid.astype(log_prob.dtype)
    return terms, derivatives


def _mean_terms(
    n_learners: int, entries: list[tuple[int, Indices, dict[str, Array]]]
) -> dict[str, Array]:
    """Returns the last loss, the last pass's KL divergence, means of the rest, `[K]`.

    Args:
        n_learners: K.
        entries: of each batch the number of its pass, the positions `[k]` of its
            learners among K, and their terms, `[k]` each.
    """
    if len(entries) == 1:
        return entries[0][2]
    sums: dict[str, Array] = defaultdict(partial(np.zeros, n_learners))
    counts: dict[str, Array] = defaultdict(partial(np.zeros, n_learners))
    last_pass = 0
    for number, positions, terms in entries:
        for name, term in terms.items():
            restarts = name == "approx_kl" and number > last_pass
            if restarts or name == "loss":
                sums[name][positions] = counts[name][positions] = 0.0
            sums[name][positions] += term
            counts[name][positions] += 1.0
        last_pass = number
    return {name: total / counts[name] for name, total in sums.items()}


class _Models(Sequence[PolicyGradientAlgorithm]):
    """Models that are made when they are first read.

    Args:
        n: number of models.
        make: returns model i.
    """

    def __init__(self, n: int, make: Callable[[int], PolicyGradientAlgorithm]) -> None:
        self._n, self._make = n, make
        self._made: dict[int, PolicyGradientAlgorithm] = {}

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> PolicyGradientAlgorithm: ...

    @overload
    def __getitem__(self, index: slice) -> list[PolicyGradientAlgorithm]: ...

    def __getitem__(
        self, index: int | slice
    ) -> PolicyGradientAlgorithm | list[PolicyGradientAlgorithm]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n))]
        i = range(self._n)[index]
        if i not in self._made:
            self._made[i] = self._make(i)
        return self._made[i]


def _rows(learners: Indices, n_learners: int) -> Rows:
    """Returns an index of learners that is a slice where it can be."""
    if len(learners) == n_learners:
        return slice(None)
    if len(learners) == 1:
        return slice(int(learners[0]), int(learners[0]) + 1)
    return learners


def _at(setting: float | Array, index: Any) -> Any:  # noqa: ANN401
    """Returns a setting's entries at an index, or the number that all have."""
    return setting[index] if isinstance(setting, np.ndarray) else setting


def _take(batch: Batch, index: Indices, n_steps: int) -> Batch:
    """Returns a mini-batch: steps `index`, `[K, B']`, of each learner's `n_steps`."""
    k = np.arange(len(index))[:, None]
    return replace(
        _select(batch, (k, index)),
        n_samples=batch.n_samples * index.shape[1] / n_steps,
    )


def _select(batch: Batch, index: Any) -> Batch:  # noqa: ANN401
    """Returns a batch with `column[index]` in place of each column."""
    names = ("observations", "actions", "advantages", "returns")
    names += ("old_values", "old_log_prob")  # type: ignore[assignment]
    columns: dict[str, Any] = {name: getattr(batch, name)[index] for name in names}
    return replace(batch, **columns)


def _checked_content(path: Path) -> bytes:
    data = path.read_bytes()
    digest, _, content = data.removeprefix(_MAGIC).partition(b"\n")
    if not data.startswith(_MAGIC):
        raise ValueError(f"{path} was not written by LearnerBatch.save()")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError(f"{path} is cut off or damaged: its checksum differs")
    return content


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    try:
        found = tuple(seeds)
    except TypeError:
        found = ()
    if not found:
        raise ValueError(
            f"seeds must be a sequence of at least one seed, got {seeds!r}"
        )
    for seed in found:
        check_seed("each of seeds", seed)
    if len(set(found)) < len(found):
        raise ValueError(f"seeds must differ from each other, got {seeds!r}")
    return tuple(map(int, found))


def _check_arguments(algorithm: object, env: object, arguments: dict[str, Any]) -> None:
    """Raises a ValueError for what a batch does not support."""
    if algorithm not in (REINFORCE, ActorCritic):
        raise ValueError(
            "algorithm must be REINFORCE or ActorCritic, without overridden methods, "
            f"got {algorithm!r}: train single models of other classes"
        )
    if not isinstance(env, str):
        raise ValueError(
            "env must be the id of an environment, of which every learner gets its "
            f"own, got {env!r}"
        )
    if "seed" in arguments:
        raise ValueError(
            f"seed={arguments['seed']!r}: a batch has one seed for each learner, pass "
            "seeds"
        )
    if arguments.get("device", "cpu") not in ("cpu", "auto"):
        raise ValueError(
            f"device={arguments['device']!r}: a batch computes on the CPU; train "
            "single models elsewhere"
        )
    for name, value in _OTHER_VALUES.items():
        if arguments.get(name, value) != value:
            raise ValueError(
                f"{name}={arguments[name]!r}: a batch supports {value!r} alone; train "
                "single models with it"
            )
