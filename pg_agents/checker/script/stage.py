"""The stage: small tasks in the spaces of the environments that a script makes.

`gymnasium.make` and its relatives return a `StageEnv`, which has the observation and
action space of the environment that the script asks for, and the dynamics of a task
whose exact gradient is known. The stage keeps a log of all transitions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents.checker.script.box_task import BoxTask
from pg_agents.checker.task import Task
from pg_envs.dynamics import (
    DynamicsTables,
    Step,
    advance,
    initial_state,
    make_tables,
)

# Spaces of environments that gymnasium no longer has, or that need a further package.
_KNOWN_SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "CartPole": (
        spaces.Box(
            np.array([-4.8, -np.inf, -0.41887903, -np.inf], np.float32),
            np.array([4.8, np.inf, 0.41887903, np.inf], np.float32),
        ),
        spaces.Discrete(2),
    ),
    "LunarLander": (spaces.Box(-2.5, 2.5, (8,), np.float32), spaces.Discrete(4)),
    "LunarLanderContinuous": (
        spaces.Box(-2.5, 2.5, (8,), np.float32),
        spaces.Box(-1.0, 1.0, (2,), np.float32),
    ),
    "BipedalWalker": (
        spaces.Box(-np.pi, np.pi, (24,), np.float32),
        spaces.Box(-1.0, 1.0, (4,), np.float32),
    ),
    "Pendulum": (
        spaces.Box(
            -np.array([1.0, 1.0, 8.0], np.float32),
            np.array([1.0, 1.0, 8.0], np.float32),
        ),
        spaces.Box(-2.0, 2.0, (1,), np.float32),
    ),
    "Pong": (spaces.Box(0, 255, (210, 160, 3), np.uint8), spaces.Discrete(6)),
    "HalfCheetah": (
        spaces.Box(-np.inf, np.inf, (17,), np.float64),
        spaces.Box(-1.0, 1.0, (6,), np.float32),
    ),
    "Hopper": (
        spaces.Box(-np.inf, np.inf, (11,), np.float64),
        spaces.Box(-1.0, 1.0, (3,), np.float32),
    ),
    "Walker2d": (
        spaces.Box(-np.inf, np.inf, (17,), np.float64),
        spaces.Box(-1.0, 1.0, (6,), np.float32),
    ),
    "InvertedPendulum": (
        spaces.Box(-np.inf, np.inf, (4,), np.float64),
        spaces.Box(-3.0, 3.0, (1,), np.float32),
    ),
}
# Environments whose episodes only a time limit ends.
_ENDLESS = ("Pendulum", "HalfCheetah", "Reacher", "Pusher", "Swimmer")
# No script reaches it, so that none stops because the task is "solved".
_UNREACHABLE_REWARD = 1e9


class RefusedError(Exception):
    """The script cannot be checked; the message is one sentence that says why."""


class Audience(Protocol):
    """What the stage tells about the script's steps."""

    def acted(self, env: StageEnv, sent: Any) -> Acted:
        """Is called when the script acts in the current state of an environment.

        Args:
            env: the environment.
            sent: the action that it receives.
        """

    def stepped(self) -> None:
        """Is called after each transition, and may end the process."""

    def leaves_stage(self, reason: str) -> bool:
        """Whether the script may act in an environment that is not of the stage.

        Args:
            reason: why the stage cannot take the place of the environment.
        """


class Acted(NamedTuple):
    """How an action was computed.

    Attributes:
        drawn: the action that the policy's distribution drew, before any change by the
            script; None if nothing was drawn from it.
        graph: whether the distribution has a graph of gradients.
        state: the state whose observation it was computed from.
    """

    drawn: Any
    graph: bool
    state: int


class Row(NamedTuple):
    """One transition, see `pg_agents.checker.record.Transitions`.

    Attributes:
        phase: index of the task.
        sent: the action as the environment received it.
        drawn: the action that the policy's distribution drew, or None.
        graph: whether the action was computed with a graph of gradients.
        reset: whether the step only resets the environment (next-step autoreset).
    """

    phase: int
    state: int
    sent: Any
    drawn: Any
    graph: bool
    reward: float
    next_state: int
    terminated: bool
    truncated: bool
    env: int
    episode: int
    time: int
    reset: bool = False


@dataclass
class Log:
    """Transitions in the order in which they were produced.

    Attributes:
        rows: the transitions.
        abandoned: indices of the last transitions of episodes that the script left
            before their end, by `reset()`.
        past_end: number of steps after `terminated` without a reset.
        past_limit: number of steps after `truncated` without a reset.
        old_observations: number of steps whose action was computed from another
            observation than the environment's last one.
    """

    rows: list[Row] = field(default_factory=list)
    abandoned: set[int] = field(default_factory=set)
    past_end: int = 0
    past_limit: int = 0
    old_observations: int = 0

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.rows)


class Watermark:
    """Numbers observations in the last bits of their floats.

    A row of a shuffled mini-batch then tells which transition it belongs to. The
    numbers change an observation by at most 2^-19 of its size.

    Args:
        shape: of an observation.

    Attributes:
        n_bits: bits of a number in each coordinate; 0 if the observations have too few
            coordinates to be numbered.
    """

    _TOTAL_BITS = 16
    _MOST_BITS = 4

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape))
        bits = -(-self._TOTAL_BITS // max(1, size))
        self.n_bits = min(self._MOST_BITS, bits) if size >= 3 else 0
        self._n_used = min(size, self._TOTAL_BITS // max(1, self.n_bits))
        self._shifts = self.n_bits * np.arange(self._n_used, dtype=np.int64)
        self._mask = (1 << self.n_bits) - 1
        self._transition = np.full(1 << (self.n_bits * self._n_used), -1)
        self._count = 0

    def mark(self, observation: NDArray[np.float32]) -> int:
        """Numbers an observation in place, and returns the number."""
        number = self._count % len(self._transition)
        self._count += 1
        self._transition[number] = -1
        parts = (number >> self._shifts) & self._mask
        words = observation.reshape(-1)[: self._n_used].view(np.int32)
        words[:] = (words & ~self._mask) | parts
        return number

    def acted_on(self, number: int, transition: int) -> None:
        """Notes that a transition starts from the observation with a number."""
        self._transition[number] = transition

    def transitions(self, observations: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the transitions from observations `[N, size]`, -1 where none is."""
        words = observations[:, : self._n_used].astype(np.float32).view(np.int32)
        numbers = ((words.astype(np.int64) & self._mask) << self._shifts).sum(axis=1)
        found: NDArray[np.int64] = self._transition[numbers]
        return found


class Stage:
    """Makes environments and logs their transitions.

    Args:
        make_tasks: returns the tasks for an observation and an action space.
        seed: of the dynamics; the seeds that a script passes to `reset` are ignored,
            since a script that resets with one seed would see one start.

    Attributes:
        available: the tasks, empty until the script makes its first environment.
        tasks: the task of each phase so far.
        phase: index of the current phase; environments take it up at a reset.
        log: all transitions.
        other_actions: sizes of the actions of other environments: the number of
            discrete ones, the negative number of dimensions of others.
        hides_limits: whether an environment has the interface of old Gym, whose `done`
            does not tell a time limit from an end.
        notes: sentences about what was left out.
    """

    def __init__(
        self,
        make_tasks: Callable[[spaces.Space[Any], spaces.Space[Any]], tuple[Task, ...]],
        seed: int,
    ) -> None:
        self._make_tasks = make_tasks
        self.rng = np.random.default_rng(seed)
        self.available: tuple[Task, ...] = ()
        self.tasks: list[Task] = []
        self._tables: list[DynamicsTables] = []
        self.phase = -1
        self.log = Log()
        self.hides_limits = False
        self.notes: list[str] = []
        self.audience: Audience | None = None
        self.watermark = Watermark(())
        self.n_envs = 0
        self.n_episodes = 0
        self.other_actions: set[int] = set()
        self._spaces: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        self._name = ""
        self._original_make = gymnasium.make

    def make(
        self,
        env_id: Any = None,
        *_: Any,
        kind: type[StageEnv] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stands in for `gymnasium.make`; `kind` is the class of the environment."""
        env_id = kwargs.pop("id", env_id)
        name = env_id if isinstance(env_id, str) else getattr(env_id, "id", str(env_id))
        observation_space, action_space, spec = self._spaces_of(env_id, kwargs)
        if self._spaces is None:
            self._spaces, self._name = (observation_space, action_space), name
            self.available = self._make_tasks(observation_space, action_space)
            self.start_phase(self.available[0])
            if isinstance(observation_space, spaces.Box) and np.issubdtype(
                observation_space.dtype, np.floating
            ):
                self.watermark = Watermark(observation_space.shape)
        elif self._spaces[1] != action_space or (
            self._spaces[0].shape != observation_space.shape
        ):
            reason = (
                f"the script makes {self._name} and {name}, whose observations or "
                "actions differ, and a check takes one environment"
            )
            if self.audience is None or not self.audience.leaves_stage(reason):
                raise RefusedError(reason)
            n = getattr(action_space, "n", None)
            size = -int(np.prod(action_space.shape or ())) if n is None else int(n)
            self.other_actions.add(size)
            return self._original_make(env_id)
        env = (kind or StageEnv)(
            self, observation_space, action_space, kwargs.get("render_mode"), spec
        )
        self.n_envs += 1
        self.hides_limits |= env.hides_limits
        return env

    def start_phase(self, task: Task) -> None:
        """Starts a phase; environments take up its task at their next reset."""
        self.phase += 1
        self.tasks.append(task)
        self._tables.append(make_tables(task.mdp))

    def initial_state(self, phase: int) -> int:
        """Draws the state in which an episode starts."""
        draw = np.asarray(self.rng.random())
        return int(initial_state(self._tables[phase], draw))

    def advance(self, phase: int, state: int, action: Any) -> Step:
        """Takes one step of the task of a phase."""
        task = self.tasks[phase]
        if isinstance(task, BoxTask):
            action = int(self.rng.random() < task.door_probability(state, action))
        draw = np.asarray(self.rng.random())
        return advance(self._tables[phase], np.asarray(state), np.asarray(action), draw)

    def _spaces_of(
        self,
        env_id: Any,
        kwargs: dict[str, Any],
    ) -> tuple[spaces.Space[Any], spaces.Space[Any], Any]:
        name = env_id if isinstance(env_id, str) else getattr(env_id, "id", str(env_id))
        arguments = {k: v for k, v in kwargs.items() if k != "render_mode"}
        try:
            try:
                env = self._original_make(env_id, **arguments)
            except TypeError:
                # An argument of another version.
                env = self._original_make(env_id)
        except Exception as error:
            base = name.split("/")[-1].split("-v")[0].split("NoFrameskip")[0]
            known = _KNOWN_SPACES.get(base)
            if known is None:
                raise RefusedError(
                    f"the environment {name} cannot be made here, so its spaces are "
                    f"not known: {error}"
                ) from error
            reason = str(error).splitlines()[0].rstrip(".")
            taken = f"the spaces of {base} were taken"
            note = f"{name} cannot be made here ({reason}): {taken}"
            if note not in self.notes:
                self.notes.append(note)
            return *known, _spec(name, None)
        try:
            found = env.observation_space, env.action_space
            return *found, _spec(name, env.spec)
        finally:
            env.close()


def _spec(name: str, real: Any) -> Any:
    spec = copy.deepcopy(real)
    if spec is None:
        spec = gymnasium.envs.registration.EnvSpec(
            name if "-v" in name else f"{name}-v0"
        )
        spec.max_episode_steps = 500
    spec.reward_threshold = _UNREACHABLE_REWARD
    return spec


class StageEnv(gymnasium.Env[Any, Any]):
    """A task in the spaces of another environment, with gymnasium's interface.

    Attributes:
        index: number of the environment, in the order in which they were made.
        row: its row in the vector environment; 0 for a single one.
        width: number of environments of the vector environment; 1 for a single one.
        state: index of the current state.
        phase: index of the task.
        autoreset_action: the action of a vector step that resets this environment
            instead (next-step autoreset); None outside such a step.
        hides_limits: whether `step` does not tell a time limit from an end.
    """

    hides_limits = False

    metadata = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": ["human", "rgb_array", "ansi", "rgb_array_list"],
        "render_fps": 30,
    }

    def __init__(
        self,
        stage: Stage,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        render_mode: str | None,
        spec: Any,
    ) -> None:
        self._stage = stage
        self.observation_space = observation_space
        self.action_space = action_space
        self.render_mode = render_mode
        self.spec = spec
        self.index = stage.n_envs
        self.row, self.width = 0, 1
        self.state, self.phase, self.time, self.episode = 0, 0, 0, -1
        self._ended = self._limited = False
        self._last: int | None = None
        self.autoreset_action: Any = None
        self._number = 0
        self._before = -1
        # Its tasks end at random, which is shown as a time limit.
        self._endless = str(getattr(spec, "id", "")).startswith(_ENDLESS)
        # Of older versions of Gym.
        self.reward_range = (-float("inf"), float("inf"))
        self._max_episode_steps = stage.tasks[0].horizon

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, in the current phase of the stage."""
        del seed, options
        stage = self._stage
        if self._last is not None and not (self._ended or self._limited):
            stage.log.abandoned.add(self._last)
        autoreset, self.autoreset_action = self.autoreset_action, None
        row = None if autoreset is None else self._reset_row(self._checked(autoreset))
        self.phase = stage.phase
        self.state = stage.initial_state(self.phase)
        self.time, self.episode = 0, stage.n_episodes
        stage.n_episodes += 1
        self._ended = self._limited = False
        self._last = None
        if row is not None:
            assert stage.audience is not None
            stage.watermark.acted_on(self._number, len(stage.log))
            stage.log.rows.append(row._replace(next_state=self.state))
            stage.audience.stepped()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step and logs it."""
        stage = self._stage
        assert stage.audience is not None
        if self.episode < 0:
            raise gymnasium.error.ResetNeeded("reset() must be called before step()")
        stage.log.past_end += self._ended
        stage.log.past_limit += self._limited and not self._ended
        sent = self._checked(action)
        how = stage.audience.acted(self, sent)
        stage.log.old_observations += how.state != self.state
        step = stage.advance(self.phase, self.state, sent)
        ended = bool(step.terminated)
        terminated = ended and not self._endless
        limit = stage.tasks[self.phase].horizon
        truncated = not terminated and (ended or self.time == limit - 1)
        reward, successor = float(step.reward), int(step.state)
        self._last = len(stage.log)
        stage.watermark.acted_on(self._number, self._last)
        stage.log.rows.append(
            Row(
                self.phase,
                how.state,
                sent,
                how.drawn,
                how.graph,
                reward,
                successor,
                terminated,
                truncated,
                self.index,
                self.episode,
                self.time,
            )
        )
        self.state, self.time = successor, self.time + 1
        if self._limited:
            # The script goes on: for it, the limit did not end the episode.
            before = self._before
            stage.log.rows[before] = stage.log.rows[before]._replace(truncated=False)
        self._before = self._last
        self._ended |= terminated
        self._limited |= truncated
        stage.audience.stepped()
        return self._observe(), reward, terminated, truncated, {}

    def _reset_row(self, sent: Any) -> Row:
        """Returns the row of a step that only resets, before it does."""
        assert self._stage.audience is not None
        how = self._stage.audience.acted(self, sent)
        return Row(
            phase=self.phase,
            state=self.state,
            sent=sent,
            drawn=how.drawn,
            graph=how.graph,
            reward=0.0,
            next_state=self.state,
            terminated=False,
            truncated=False,
            env=self.index,
            episode=-1,
            time=0,
            reset=True,
        )

    def _checked(self, action: Any) -> Any:
        if isinstance(self.action_space, spaces.Discrete):
            found = np.asarray(action)
            if found.size == 1 and self.action_space.contains(int(found.item())):
                return int(found.item())
        else:
            found = np.asarray(action, dtype=np.float64)
            if found.size == 1 == int(np.prod(self.action_space.shape or ())):
                return found.reshape(self.action_space.shape).copy()
            if found.shape == self.action_space.shape:
                return found.copy()
        raise gymnasium.error.InvalidAction(
            f"action must be an element of {self.action_space}, got {action!r}"
        )

    def _observe(self) -> Any:
        observation = self._stage.tasks[self.phase].mdp.observations[self.state]
        if isinstance(self.observation_space, spaces.Discrete):
            return int(observation)
        watermark = self._stage.watermark
        if watermark.n_bits:
            marked = np.array(observation, dtype=np.float32)
            self._number = watermark.mark(marked)
            observation = marked
        return np.array(observation, dtype=self.observation_space.dtype)

    def render(self, mode: str | None = None, **_: Any) -> Any:
        """Returns a black picture."""
        frame = np.zeros((64, 64, 3), np.uint8)
        mode = mode or self.render_mode
        if mode == "rgb_array_list":
            return [frame]
        return frame if mode == "rgb_array" else None

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Does nothing; part of the interface of old Gym."""
        return [seed]

    def close(self) -> None:
        """Does nothing."""
