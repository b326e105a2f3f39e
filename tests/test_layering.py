"""Who may import whom: the arrows of the house, held by the syntax tree."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
        path
    )
    for package in ("pg_envs", "pg_agents")
    for path in sorted((ROOT / package).rglob("*.py"))
}
STANDARD = sys.stdlib_module_names


def imports(module: str) -> set[str]:
    """Returns the names of what a module imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            # `from package import module` imports the module.
            found |= {
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base
                for alias in node.names
            }
    return found


def ours(module: str) -> set[str]:
    """Returns the modules of the house that a module imports."""
    return {name for name in imports(module) if name.split(".")[0].startswith("pg_")}


def theirs(module: str) -> set[str]:
    """Returns the other packages that a module imports, less the standard library."""
    tops = {name.split(".")[0] for name in imports(module)}
    return {top for top in tops if top not in STANDARD and not top.startswith("pg_")}


# Each module of the core, and the modules of its package that it may import.
PG_ENVS = {
    "lazy": set(),
    "mdp": set(),
    "dynamics": {"mdp"},
    "state": {"mdp", "rendering.scene"},
    "vector_state": {"mdp", "dynamics", "state"},
    "drawn_env": {"mdp", "rendering.canvas", "rendering.scene"},
    "env": {"drawn_env", "mdp", "dynamics", "rendering.scene", "state"},
    "vector_arguments": set(),
    "vector_env": {
        "mdp",
        "dynamics",
        "env",
        "rendering.scene",
        "vector_arguments",
        "vector_state",
    },
    "timetable": {"dynamics"},
    "torch_device": {"vector_arguments"},
    "torch_timetable": {"timetable", "torch_device"},
    "torch_vector_env": {
        "mdp",
        "dynamics",
        "env",
        "state",
        "timetable",
        "torch_device",
        "torch_timetable",
        "vector_env",
    },
    "cartpole_physics": set(),
    "torch_cartpole": {
        "cartpole_physics",
        "state",
        "torch_device",
        "vector_arguments",
    },
    "pixelcopter_rules": set(),
    "pixelcopter_games": {"pixelcopter_rules"},
    "pixelcopter_dynamics": {"pixelcopter_games", "pixelcopter_rules"},
    "pixelcopter_state": {
        "pixelcopter_games",
        "pixelcopter_rules",
        "rendering.pixelcopter_scene",
        "state",
    },
    "pixelcopter_kept": {
        "pixelcopter_games",
        "pixelcopter_rules",
        "pixelcopter_state",
        "rendering.canvas",
        "rendering.pixelcopter_scene",
        "rendering.scene",
        "state",
    },
    "pixelcopter_vector": {
        "mdp",
        "pixelcopter_dynamics",
        "pixelcopter_games",
        "pixelcopter_kept",
        "pixelcopter_rules",
        "vector_arguments",
    },
    "pixelcopter": {
        "drawn_env",
        "mdp",
        "pixelcopter_dynamics",
        "pixelcopter_games",
        "pixelcopter_rules",
        "pixelcopter_state",
        "pixelcopter_vector",
        "rendering.pixelcopter_scene",
        "rendering.scene",
        "state",
    },
    "play_pixelcopter": {
        "pixelcopter",
        "pixelcopter_rules",
        "rendering.window_closed",
    },
    "torch_pixelcopter": {
        "pixelcopter_games",
        "pixelcopter_vector",
        "torch_device",
    },
    "make_torch": {
        "env",
        "pixelcopter",
        "torch_cartpole",
        "torch_pixelcopter",
        "torch_vector_env",
        "toy_text",
    },
    "oracle": {"mdp"},
    "toy_text": {"mdp"},
    "bandit": {"mdp", "env", "vector_env", "rendering.scene", "rendering.bandit_scene"},
    "sequence": {
        "mdp",
        "env",
        "vector_env",
        "rendering.scene",
        "rendering.sequence_scene",
    },
}
# REINFORCE and ActorCritic: arguments and defaults, no more.
AGENT = {
    "advantages",
    "arguments.agent_arguments",
    "arguments.checks",
    "buffers",
    "losses",
    "memory",
    "optimizers",
    "policy_gradient",
    "update_settings",
}
PG_AGENTS = {
    "lazy": set(),
    # So that a module brings in no other of its folder.
    "arguments": {"lazy"},
    "cloning": {"lazy"},
    "saving": {"lazy"},
    "stepping": {"lazy"},
    "vector_envs": {"lazy"},
    "returns": set(),
    "baselines": {"returns"},
    "losses": set(),
    "arguments.checks": set(),
    "stepping.quotas": set(),
    "saving.files": set(),
    "nonfinite": {"advantages", "observations"},
    "saving.attributes": set(),
    "saving.checkpoints": {"saving.attributes"},
    "saving.finite_check": {"nonfinite"},
    "saving.random_states": set(),
    "devices": set(),
    "saving.env_layers": {"devices", "vec_env"},
    "saving.env_state": {"saving.env_layers", "vec_env"},
    "saving.resume_point": set(),
    "saving.resuming": {
        "devices",
        "saving.attributes",
        "saving.checkpoints",
        "saving.env_layers",
        "saving.env_state",
        "saving.files",
        "saving.finite_check",
        "saving.random_states",
        "saving.resume_point",
    },
    "saving.weights": {
        "arguments.checks",
        "critics",
        "saving.checkpoints",
        "saving.files",
        "saving.finite_check",
    },
    "critics": set(),
    "observations": set(),
    "random_policy": set(),
    "vector_envs.restarts": set(),
    "vector_envs.sub_environments": set(),
    "columns": set(),
    "distributions": set(),
    "counted_distributions": {"distributions"},
    "space_actions": set(),
    "vector_envs.empty_info": set(),
    "vector_envs.fresh_arrays": set(),
    "stepping.dummy_steps": {"vector_envs.fresh_arrays"},
    "optimizers": set(),
    "update_logs": set(),
    "vector_envs.array_steps": {"columns", "observations"},
    "batches": {"advantages", "observations"},
    "final_observations": {"observations"},
    "our_policy": {
        "counted_distributions",
        "distributions",
        "observations",
        "saving.finite_check",
        "space_actions",
    },
    "stepping.outcomes": {
        "columns",
        "observations",
        "stepping.quotas",
        "vector_envs.vector_results",
    },
    "acting": {"observations", "our_policy"},
    "stepping.steps": {
        "buffers",
        "columns",
        "observations",
        "stepping.dummy_steps",
        "stepping.outcomes",
        "vec_env",
        "vector_envs.array_steps",
        "vector_envs.fresh_arrays",
        "vector_envs.vector_results",
    },
    "evaluation": {
        "acting",
        "batches",
        "buffers",
        "observations",
        "our_policy",
        "rollout",
        "stepping.steps",
    },
    "vector_envs.vector_results": {
        "observations",
        "vector_envs.empty_info",
        "vector_envs.fresh_arrays",
    },
    "vec_env": {
        "arguments.checks",
        "columns",
        "observations",
        "space_actions",
        "vector_envs.array_steps",
        "vector_envs.empty_info",
        "vector_envs.fresh_arrays",
        "vector_envs.restarts",
        "vector_envs.sub_environments",
        "vector_envs.vector_results",
    },
    "scaling": set(),
    "cloning.space_arrays": {"nonfinite"},
    "off_policy": {"returns"},
    "update_settings": {"losses"},
    "advantages": {"returns", "baselines", "observations"},
    "arguments.agent_arguments": {"advantages", "arguments.checks"},
    "arguments.sb3_arguments": {"arguments.checks"},
    "arguments.learn_arguments": {"arguments.checks"},
    "arguments.buffer_choice": {
        "arguments.checks",
        "arguments.sb3_arguments",
        "buffers",
    },
    "arguments.policy_arguments": {"arguments.checks"},
    "buffers": {
        "advantages",
        "batches",
        "columns",
        "final_observations",
        "observations",
        "space_actions",
    },
    "memory": {"advantages", "baselines", "batches", "devices", "off_policy"},
    "policies": {"arguments.checks", "our_policy"},
    "tabular_policy": {"arguments.checks", "our_policy", "policies"},
    "rollout": {
        "acting",
        "advantages",
        "arguments.agent_arguments",
        "arguments.sb3_arguments",
        "buffers",
        "nonfinite",
        "observations",
        "our_policy",
        "saving.resuming",
        "space_actions",
        "stepping.outcomes",
        "stepping.quotas",
        "stepping.steps",
        "vec_env",
        "vector_envs.fresh_arrays",
        "vector_envs.vector_results",
    },
    "updates": {
        "advantages",
        "arguments.agent_arguments",
        "arguments.checks",
        "baselines",
        "batches",
        "critics",
        "devices",
        "evaluation",
        "losses",
        "memory",
        "nonfinite",
        "observations",
        "optimizers",
        "update_logs",
        "update_settings",
    },
    "arguments.update_arguments": {
        "advantages",
        "arguments.agent_arguments",
        "arguments.checks",
        "losses",
        "memory",
        "update_settings",
    },
    "policy_gradient": {
        "advantages",
        "arguments.agent_arguments",
        "arguments.buffer_choice",
        "arguments.checks",
        "arguments.learn_arguments",
        "arguments.policy_arguments",
        "arguments.sb3_arguments",
        "arguments.update_arguments",
        "buffers",
        "callbacks.progress",
        "memory",
        "our_policy",
        "policies",
        "tabular_policy",
        "update_settings",
        "updates",
    },
    "reinforce": AGENT,
    "actor_critic": AGENT,
    "random_agent": {
        "advantages",
        "arguments.sb3_arguments",
        "buffers",
        "memory",
        "policy_gradient",
        "random_policy",
        "update_settings",
    },
    "cloning.normalization": {
        "cloning.space_arrays",
        "observations",
        "vec_env",
        "vector_envs.vector_results",
    },
    "cloning.asking": {
        "cloning.normalization",
        "cloning.space_arrays",
        "observations",
    },
    "cloning.demonstrations": {
        "arguments.checks",
        "cloning.asking",
        "cloning.disturbance",
        "cloning.normalization",
        "cloning.space_arrays",
        "observations",
        "stepping.quotas",
        "vec_env",
    },
    "cloning.likelihood_fit": {
        "arguments.checks",
        "cloning.space_arrays",
        "nonfinite",
        "observations",
        "tabular_policy",
    },
    "cloning.disturbance": {"arguments.checks"},
    "cloning.cloning_data": {
        "cloning.normalization",
        "cloning.space_arrays",
        "space_actions",
    },
    "cloning.clone": {
        "arguments.checks",
        "cloning.cloning_data",
        "cloning.demonstrations",
        "cloning.likelihood_fit",
        "cloning.space_arrays",
        "observations",
        "our_policy",
    },
    # Pure functions of arrays, then readers of folders, then who draws them.
    "statistics": {
        "lazy",
        *(
            f"statistics.{name}"
            for name in (
                "curves",
                "folders",
                "improvement",
                "monitor",
                "networks",
                "scores",
                "summaries",
            )
        ),
    },
    "statistics.scores": {"arguments.checks"},
    "statistics.improvement": {"arguments.checks", "statistics.scores"},
    "statistics.curves": {"arguments.checks", "statistics.scores"},
    "statistics.monitor": {"arguments.checks", "statistics.scores"},
    "statistics.folders": {"statistics.monitor", "statistics.scores"},
    "statistics.summaries": {
        f"statistics.{name}"
        for name in ("curves", "folders", "improvement", "monitor", "scores")
    },
    "statistics.networks": {
        "arguments.checks",
        *(
            f"statistics.{name}"
            for name in ("folders", "monitor", "scores", "summaries")
        ),
    },
    "plots.group_curves": {
        "plots.panels",
        *(f"statistics.{name}" for name in ("curves", "folders", "monitor", "scores")),
    },
    "registered": set(),
    "plots.parsers": {"plots.commands", "statistics.monitor"},
    "plots.commands": {
        "arguments.checks",
        "registered",
        "saving.files",
        *(
            f"plots.{name}"
            for name in ("files", "group_curves", "networks", "panels", "runs")
        ),
        *(
            f"statistics.{name}"
            for name in ("folders", "monitor", "networks", "summaries")
        ),
    },
    "sweeps": {"lazy", "sweeps.space", "sweeps.study"},
    "sweeps.space": {"arguments.checks"},
    "sweeps.journal": {"saving.files"},
    "sweeps.study": {
        "arguments.checks",
        "statistics.scores",
        "sweeps.journal",
        "sweeps.space",
    },
    "cli": {
        "checker.check",
        "checker.figure",
        "experiments.commands",
        "plots",
        "plots.parsers",
        "saving.files",
    },
}
ALLOWED = {
    f"{package}.{name}": {f"{package}.{other}" for other in others}
    for package, table in (("pg_envs", PG_ENVS), ("pg_agents", PG_AGENTS))
    for name, others in table.items()
}
# It says the package's version.
ALLOWED["pg_agents.cli"].add("pg_agents")


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_the_core_imports_what_lies_below_it(module: str) -> None:
    assert ours(module) <= ALLOWED[module]


def test_every_module_has_its_place() -> None:
    """A new file is entered above, or lies in one of the folders with a rule below."""
    free = (
        "pg_envs.rendering",
        "pg_agents.callbacks",
        "pg_agents.checker",
        "pg_agents.experiments",
        "pg_agents.plots",
        "pg_agents.zoo",
    )
    placed = set(ALLOWED) | {"pg_envs", "pg_agents"}
    assert {m for m in MODULES if m not in placed and not m.startswith(free)} == set()


def folder(module: str) -> str:
    """Returns the folder that a module lies in, or the module itself if it is flat."""
    return ".".join(module.split(".")[:2])


def test_folders_import_one_another_in_one_direction() -> None:
    """Each taken as a whole, together with the flat modules between them."""
    arrows: dict[str, set[str]] = {}
    for module in MODULES.keys() - {"pg_envs", "pg_agents"}:
        asks = {folder(name) for name in ours(module)} - {"pg_agents", folder(module)}
        arrows.setdefault(folder(module), set()).update(asks)
    # Raises a CycleError, which says who is in the circle.
    TopologicalSorter(arrows).prepare()


# Of the experiments these alone: one makes the environments, one shows them.
NAMES_ENVS = ("pg_agents.experiments.building", "pg_agents.experiments.watching")
FAMILIES = (
    "cartpole",
    "fetch",
    "improvements",
    "lunarlander",
    "pendulum",
    "pixelcopter",
    "shown",
    "toy",
)
# From what is written down to what is done with it; each may import those before it.
EXPERIMENTS = (
    {"controllers", "damage", "extras", "interrupts", "lock", "setting_checks"},
    {"figure", "monitor_file", "settings", "stages"},
    {"building", "recipe", "training"},
    {"recipes.parts"},
    {f"recipes.{name}" for name in FAMILIES},
    {"recipes"},
    {"catalogue", "folder", "progress"},
    {"evaluating", "showcases", "sight", "success"},
    {"run"},
    {"executors", "mistakes", "results", "showing", "warm_start", "watching"},
    {"seeds"},
    {"summary", "sweeping"},
    {"shows", "shows.bandit", "shows.known_values", "shows.parts"},
    {
        "shows.checkpoint",
        "shows.evaluator",
        "shows.notebook",
        "shows.runs",
    },
    {"commands"},
)


def test_experiments_build_on_one_another() -> None:
    name = "pg_agents.experiments."
    below: set[str] = set()
    for layer in EXPERIMENTS:
        for module in layer:
            own = {each for each in ours(name + module) if each.startswith(name)}
            assert own <= below, module
        below |= {name + module for module in layer}
    there = {module for module in MODULES if module.startswith(name)}
    assert there == below


def test_nothing_but_the_command_knows_the_experiments() -> None:
    for module in MODULES:
        if not module.startswith("pg_agents.experiments"):
            asks = {m for m in ours(module) if m.startswith("pg_agents.experiments")}
            # The package names its folders for type checkers.
            assert not asks or module in ("pg_agents", "pg_agents.cli"), module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_packages_keep_apart(module: str) -> None:
    package = module.split(".")[0]
    other = {"pg_envs": "pg_agents", "pg_agents": "pg_envs"}[package]
    # The gradient checker alone may ask the oracle; zoo and recipes offer the
    # environments.
    asks = ("pg_agents.checker.", "pg_agents.zoo.", *NAMES_ENVS)
    if not module.startswith(asks):
        assert not {name for name in ours(module) if name.split(".")[0] == other}
    if package == "pg_envs":
        assert "stable_baselines3" not in theirs(module)


MATHEMATICS = [
    f"pg_agents.{name}" for name in ("returns", "baselines", "losses", "off_policy")
]


def test_mathematics_knows_no_libraries_but_its_own() -> None:
    for module in ("pg_envs.mdp", "pg_envs.dynamics", "pg_envs.oracle"):
        assert theirs(module) == {"numpy"}
    for module in MATHEMATICS:
        assert theirs(module) == {"torch"}


def test_one_module_of_pg_envs_imports_pygame_and_the_torch_ones_torch() -> None:
    envs = [module for module in MODULES if module.startswith("pg_envs")]
    assert [m for m in envs if "pygame" in theirs(m)] == ["pg_envs.rendering.canvas"]
    named = [m for m in envs if "torch" in m]
    assert [m for m in envs if "torch" in theirs(m)] == [
        "pg_envs.cartpole_physics",
        *named,
    ]
    # Nothing but these asks for them, so that importing the package loads no torch.
    for module in set(envs) - {*named, "pg_envs"}:
        assert not ours(module) & {"pg_envs.cartpole_physics", *named}, module


def test_pictures_know_no_environment() -> None:
    for module in MODULES:
        if module.startswith("pg_envs.rendering"):
            own = ("pg_envs.lazy", "pg_envs.rendering")
            assert all(name.startswith(own) for name in ours(module))


def test_nothing_but_the_command_and_the_package_knows_the_checker() -> None:
    for module in MODULES:
        if not module.startswith("pg_agents.checker"):
            asks = {name for name in ours(module) if "pg_agents.checker" in name}
            assert not asks or module in ("pg_agents", "pg_agents.cli")


def test_nobody_knows_the_zoo() -> None:
    """rl_zoo3 is an extra, and one module alone imports it."""
    zoo = {module for module in MODULES if module.startswith("pg_agents.zoo")}
    # The package names it for type checkers.
    for module in MODULES.keys() - zoo - {"pg_agents"}:
        assert not ours(module) & zoo, module
    asks = {module for module in MODULES if "rl_zoo3" in theirs(module)}
    assert asks == {"pg_agents.zoo.rl_zoo"}


def test_statistics_of_arrays_know_no_libraries_but_numpy() -> None:
    for name in ("scores", "improvement", "curves", "monitor", "folders", "summaries"):
        assert theirs(f"pg_agents.statistics.{name}") == {"numpy"}


def test_one_package_asks_for_the_extra_sweeps() -> None:
    asks = {module for module in MODULES if "optuna" in theirs(module)}
    assert asks == {
        "pg_agents.sweeps.journal",
        "pg_agents.sweeps.study",
        "pg_agents.zoo.samplers",
    }


def test_the_mathematics_of_the_checker_knows_no_libraries_but_its_own() -> None:
    assert theirs("pg_agents.checker.statistics") == {"numpy", "scipy"}
    assert theirs("pg_agents.checker.estimators") == {"numpy"}


def test_callbacks_and_plots_know_no_agent() -> None:
    """So they serve Stable-Baselines3's algorithms as well."""
    # Nor do files, environments, statistics, refusals of numbers and the registry.
    also = (
        "pg_agents.arguments.checks",
        "pg_agents.lazy",
        "pg_agents.registered",
        "pg_agents.saving.attributes",
        "pg_agents.saving.checkpoints",
        "pg_agents.saving.env_state",
        "pg_agents.saving.files",
        "pg_agents.saving.finite_check",
        "pg_agents.statistics",
    )
    for module in MODULES:
        if module.startswith(("pg_agents.callbacks", "pg_agents.plots")):
            assert all(
                name.startswith(("pg_agents.callbacks", "pg_agents.plots", *also))
                for name in ours(module)
            )


def names_imported(path: Path) -> set[str]:
    """Returns modules imported, and what is taken out of them, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            taken = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {str(node.module), *taken}
    return found


def test_nothing_switches_the_backend_of_matplotlib() -> None:
    """Rule 14: gymnasium.utils.play does; so may pyplot, and so does matplotlib.use."""
    switchers = {"gymnasium.utils.play", "matplotlib.pyplot", "matplotlib"}
    for path in (*MODULES.values(), *(ROOT / "demos").glob("*.py")):
        assert not names_imported(path) & switchers, path
