"""The lines of the table: what is measured against what, and what is to be reached."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.speed.notes import ALONE, FEW, JAX, LOOP, TABLES
from benchmarks.speed.settings import (
    CARTPOLE,
    NETWORKS,
    SEQUENCE,
    Settings,
    learning,
    like_pure_jax,
    pure_jax,
)

ALL_CORES = len(os.sched_getaffinity(0))
WIDE_N_STEPS = 5
# PPO's defaults make a rollout of 2,048 steps an environment: too long at 1,024.
WIDE_PPO = {
    64: {"n_steps": 128, "batch_size": 1_024},
    1_024: {"n_steps": 32, "batch_size": 4_096},
}


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        ours: name of our side of the run.
        rival: name of the side it is compared with; None for steps a second alone.
        target: what is to be reached; None for a figure without a target.
        bound: `"at least"`: ours / rival, or ours alone, is to be that high.
            `"cost at most"`: ours may take so many times the rival's time.
        note: what was tried where it is missed, and the like; Markdown.
    """

    ours: str
    rival: str | None
    target: float | None
    bound: Literal["at least", "cost at most"] = "at least"
    note: str = ""


@dataclass(frozen=True)
class Run:
    """Sides that are measured in turn, and the lines that follow from them.

    Attributes:
        name: for `--only` and the file of results.
        section: heading that its lines stand under.
        setting: environments and the like, for the table.
        threads: of every side.
        sides: settings of each, by name, in the order of their turns.
        lines: what is concluded.
        n_steps: steps of a repeat; None for as many as the time wants.
    """

    name: str
    section: str
    setting: str
    threads: int
    sides: dict[str, Settings]
    lines: tuple[Line, ...]
    n_steps: int | None = field(default=None)


def a2c_runs() -> list[Run]:
    """Line 1: the same settings, environment and threads, as their users run them."""
    return [
        Run(
            f"a2c-{n_envs}",
            "Against SB3's A2C in `DummyVecEnv`",
            f"{n_envs} environment{'s' if n_envs > 1 else ''}",
            1,
            {
                "ActorCritic": learning("ActorCritic", "dummy", n_envs),
                "A2C": learning("A2C", "dummy", n_envs),
            },
            (Line("ActorCritic", "A2C", target, note=FEW),),
        )
        for n_envs, target in ((1, 2.0), (8, 2.0), (64, 1.5))
    ]


def notebook_run() -> Run:
    """Line 1, REINFORCE."""
    ours = learning(
        "REINFORCE",
        "dummy",
        1,
        learning_rate=1e-2,
        gamma=1.0,
        standardize_returns=True,
        policy_kwargs={"net_arch": [16], "activation_fn": "ReLU"},
    )
    return Run(
        "notebook",
        "REINFORCE with one environment",
        "4-16-2, Adam (0.01), one update an episode, 10,000 steps from fresh weights",
        1,
        {"REINFORCE": ours, "notebook's loop": {"work": "notebook"}},
        (Line("REINFORCE", "notebook's loop", 2.5, note=LOOP),),
        # From scratch and equally long: episodes grow as the policy learns.
        n_steps=10_000,
    )


def wide_runs() -> list[Run]:
    """Line 2: native vector environments."""
    runs = []
    for n_envs in (1_024, 8_192):
        sides = {
            "ActorCritic, torch": learning(
                "ActorCritic", "torch", n_envs, policy_kwargs=NETWORKS
            ),
            "ActorCritic, gymnasium": learning(
                "ActorCritic", "gymnasium", n_envs, policy_kwargs=NETWORKS
            ),
            # 8,192 of them are slow to make, and no faster.
            "A2C, 1,024": learning("A2C", "dummy", 1_024),
            "torch alone": {
                "work": "torch_alone",
                "n_envs": n_envs,
                "n_steps": WIDE_N_STEPS,
            },
        }
        ours = ("ActorCritic, torch", "ActorCritic, gymnasium")
        runs.append(
            Run(
                f"wide-{n_envs}",
                "Native vector environments, `n_steps=5`",
                f"{n_envs:,} environments",
                ALL_CORES,
                sides,
                (
                    *(Line(each, "A2C, 1,024", 10.0, note=ALONE) for each in ours),
                    *(Line(each, "torch alone", 0.7, note=ALONE) for each in ours),
                ),
            )
        )
    return runs


def pure_jax_runs() -> list[Run]:
    """Line 3: PureJaxRL's way, in an environment of its own."""
    return [
        Run(
            f"purejax-{n_envs}-{n_epochs}x{n_minibatches}",
            "Against PureJaxRL's PPO on gymnax",
            f"{n_envs:,} environments x 128 steps, {n_epochs} x {n_minibatches}",
            ALL_CORES,
            {
                "ActorCritic": like_pure_jax(n_envs, n_epochs, n_minibatches),
                "PureJaxRL": pure_jax(n_envs, n_epochs, n_minibatches),
            },
            (Line("ActorCritic", "PureJaxRL", target, note=JAX),),
        )
        for n_epochs, n_minibatches, target in ((1, 1, 1.5), (4, 4, 1.3))
        for n_envs in (64, 1_024, 4_096)
    ]


def table_runs() -> list[Run]:
    """Line 4: environments of tables."""
    policies: dict[str, Settings] = {
        "tabular": {"policy": "TabularPolicy"},
        "linear": {"policy_kwargs": {"net_arch": []}},
    }

    def run(
        name: str, env_id: str, policy: str, aims: tuple[float | None, float | None]
    ) -> Run:
        # An action outside the space is undefined, and not looked for.
        of_env: Settings = {"check_actions": False}
        if env_id == SEQUENCE and policy == "tabular":
            of_env["observation"] = "index"
        learner = learning(
            "REINFORCE",
            "torch",
            65_536,
            env_id,
            n_steps=16,
            env_arguments=of_env,
            **policies[policy],
        )
        alone = {
            "work": "stepping",
            "env_id": env_id,
            "n_envs": 65_536,
            "env_arguments": of_env,
        }
        return Run(
            name,
            "Environments of tables, 65,536 of them",
            f"{env_id}, {policy} policy, `n_steps=16`",
            ALL_CORES,
            {"REINFORCE": learner, "stepping alone": alone},
            tuple(
                Line(side, None, aim, note=TABLES if aim else "")
                for side, aim in zip(("REINFORCE", "stepping alone"), aims, strict=True)
            ),
        )

    return [
        run("sequence-tabular", SEQUENCE, "tabular", (60e6, 200e6)),
        run("sequence-linear", SEQUENCE, "linear", (60e6, 200e6)),
        run("frozen-lake", "FrozenLake-v1", "tabular", (None, None)),
        run("taxi", "Taxi-v4", "tabular", (None, None)),
    ]


def cost_runs() -> list[Run]:
    """Line 7: what callbacks, a logger and Monitor cost."""
    stock = ["callbacks", "logger"]
    cases = (
        (
            "cost-8",
            "8 environments in `DummyVecEnv`: callbacks, CSV logger and Monitor",
            learning("ActorCritic", "dummy", 8, extras=stock),
            learning("ActorCritic", "bare", 8),
        ),
        (
            "cost-1024",
            "1,024 on torch: callbacks and CSV logger",
            learning("ActorCritic", "torch", 1_024, extras=stock),
            learning("ActorCritic", "torch", 1_024),
        ),
        (
            "cost-monitor-1024",
            "1,024 on torch, through `as_vec_env`: VecMonitor too",
            learning(
                "ActorCritic",
                "torch",
                1_024,
                extras=[*stock, "adapter", "vec_monitor"],
            ),
            learning("ActorCritic", "torch", 1_024, extras=["adapter"]),
        ),
    )
    return [
        Run(
            name,
            "What stock callbacks, a logger and `Monitor` cost",
            setting,
            1,
            {"with": with_all, "without": without},
            (Line("with", "without", 1.1, "cost at most"),),
        )
        for name, setting, with_all, without in cases
    ]


def adapter_runs() -> list[Run]:
    """Line 8: our environments under SB3's own algorithms."""
    runs = []
    for algorithm in ("A2C", "PPO"):
        for n_envs in (64, 1_024):
            more = WIDE_PPO[n_envs] if algorithm == "PPO" else {}
            kinds = {
                "torch": "torch",
                "gymnasium's vector env": "gymnasium",
                "DummyVecEnv": "dummy",
            }
            sides = {
                name: learning(algorithm, kind, n_envs, CARTPOLE, **more)
                for name, kind in kinds.items()
            }
            setting = ", ".join(f"`{name}={value}`" for name, value in more.items())
            runs.append(
                Run(
                    f"adapter-{algorithm.lower()}-{n_envs}",
                    "SB3's own algorithms through `as_vec_env`",
                    f"{algorithm}, {n_envs:,} environments"
                    + (f", {setting}" if setting else ""),
                    1,
                    sides,
                    tuple(
                        Line(name, "DummyVecEnv", None)
                        for name in kinds
                        if name != "DummyVecEnv"
                    ),
                )
            )
    return runs


RUNS = (
    *a2c_runs(),
    notebook_run(),
    *wide_runs(),
    *pure_jax_runs(),
    *table_runs(),
    *cost_runs(),
    *adapter_runs(),
)
