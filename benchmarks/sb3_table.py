"""Writes docs/sb3.md: everything that a user of SB3's A2C sees, beside ours.

`make sb3-table` looks at the installed Stable-Baselines3, runs A2C, ActorCritic and
REINFORCE on the same environments, and compares (`sb3_probe`). Why something differs
stands in `sb3_reasons`. tests/pg_agents/test_sb3_table.py holds the page to it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import A2C

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import sb3_probe as probe
from benchmarks import sb3_runs as runs
from benchmarks.sb3_reasons import EXTRAS, REASONS
from pg_agents import REINFORCE, ActorCritic, MlpPolicy, TrajectoryBuffer

PAGE = ROOT / "docs" / "sb3.md"
ALGORITHMS = (A2C, ActorCritic, REINFORCE)
MISSING = "missing"

INTRO = """\
# From A2C to pg_agents

Three lines change:

```python
from pg_agents import ActorCritic  # was: from stable_baselines3 import A2C

model = ActorCritic("MlpPolicy", "CartPole-v1", seed=0)  # was: A2C(...)
model = ActorCritic.load("model", env=env)  # was: A2C.load(...); reads its own files
```

Arguments, their order and their defaults, methods, callbacks, `locals`, logger keys and
the rollout buffer are those of A2C. From the same seed `ActorCritic` learns what A2C
learns, to the rounding of float32. `REINFORCE` shares all but what belongs to a critic;
its arguments have an order of their own.

**Better here.** A wrong argument is refused when the model is made, by name. A
truncated episode is told from a terminated one in the buffer, and valued by what was
truly seen last, all of them in one forward pass. `policy_kwargs` stay as you passed
them. Discrete spaces may start at any number. The log has a last line at the end of
`learn`. Gymnasium's vector environments go in as they are.

**Different on purpose.** The buffer keeps rewards as they came: A2C adds the value
beyond a time limit to them, and so to the `rewards` that a callback sees at the end of
a rollout. A callback that stops the training at the very step that completes a rollout
still sees `_on_rollout_end`, and that rollout is learnt from. `REINFORCE` takes whole
episodes, so the number of its steps per update varies. Acting needs neither the critic
nor the log-probability: both are computed for all steps of a rollout at once, so
`values` and `log_probs` are None in `_on_step`, and `rollout_buffer.values` and
`.log_probs` hold them in `_on_rollout_end`. A policy that puts a method of its own in
the place of `forward` is called at every step as in A2C, and both are there. Native
vector environments make `infos` when somebody looks at them. With `n_steps`, an
environment of `make_torch_vec` and a model on a GPU, the arrays in `locals` are tensors
there: convert what you read. What `rollout_buffer.get()` yields may be written over in
the next rollout: clone what you keep. All else is below.

Written by `make sb3-table`, which runs the three on the same environments; a test
compares this page with the installed Stable-Baselines3. N is the number of
environments, T the number of steps, B = N T; "=" is what A2C has.
"""


@dataclass(frozen=True)
class Section:
    """A table of the page.

    Attributes:
        title: what is compared.
        group: where its reasons are found.
        look: returns the rows of an algorithm.
    """

    title: str
    group: str
    look: Callable[[probe.Algorithm], probe.Rows]


@dataclass(frozen=True)
class Row:
    """Something that A2C has.

    Attributes:
        name: its name.
        cells: what it is in A2C, ActorCritic and REINFORCE.
        reason: why one of ours differs; empty if none does.
    """

    name: str
    cells: tuple[str, str, str]
    reason: str

    @property
    def differs(self) -> bool:
        """Whether one of ours is not as A2C's."""
        return len(set(self.cells)) > 1


SECTIONS = (
    Section("Arguments of the constructor", "constructor", probe.constructor),
    Section("Methods and their arguments", "methods", probe.methods),
    Section("Attributes of a model", "attributes", probe.attributes),
    Section("Names of policies, and their networks", "policies", probe.policies),
    Section("`policy_kwargs`", "policy_kwargs", probe.policy_arguments),
    Section("Callbacks: hooks and attributes", "hooks", runs.hooks),
    *(
        Section(f"`locals` in `{hook}`", "locals", partial(runs.entries, hook))
        for hook in runs.HOOKS
        if hook != "_init_callback"
    ),
    Section("Keys of the logger", "logger", runs.logged),
    Section("The rollout buffer when it is full", "buffer", runs.buffer),
    Section("What `rollout_buffer.get()` yields", "samples", runs.samples),
)


@cache
def looks(section: Section) -> tuple[probe.Rows, probe.Rows, probe.Rows]:
    """Returns what A2C, ActorCritic and REINFORCE show."""
    theirs, actor_critic, reinforce = (section.look(each) for each in ALGORITHMS)
    return theirs, actor_critic, reinforce


def rows(section: Section) -> list[Row]:
    """Returns a row for everything that A2C has, in its order."""
    theirs, *ours = looks(section)
    found = []
    for name, cell in theirs.items():
        cells = cell, ours[0].get(name, MISSING), ours[1].get(name, MISSING)
        reason = REASONS.get((section.group, name), "") if set(cells) != {cell} else ""
        found.append(Row(name, cells, reason))
    return found


def extras() -> dict[tuple[str, str], str]:
    """Returns what ours have and A2C has not, with what it does."""
    found: dict[tuple[str, str], str] = {}
    arguments = {**looks(SECTIONS[0])[1], **looks(SECTIONS[0])[2]}
    for section in SECTIONS:
        theirs, *ours = looks(section)
        if section.group == "logger":
            ours += [runs.logged(ActorCritic, **each) for each in runs.ASKED_FOR]
        for name in dict.fromkeys(name for own in ours for name in own):
            function, argument = _split(name)
            if section.group == "policy_kwargs":
                told, key = name in theirs, argument
            elif section.group == "attributes":
                # An argument of the constructor is told there.
                told, key = name in theirs or name in arguments, name
            else:
                # An argument of a new method is told with it.
                new = argument and f"{function}()" not in theirs
                told, key = name in theirs or bool(new), name
            if not told:
                found[section.group, key] = explanation(section.group, key)
    return found


def _split(name: str) -> tuple[str, str]:
    """Returns function and argument of `function(argument)`; else an empty argument."""
    parts = re.fullmatch(r"(\w+)\((\w+)\)", name)
    return (parts[1], parts[2]) if parts else (name, "")


def explanation(group: str, name: str) -> str:
    """Returns what an extra does, by the documentation of its owner."""
    if (group, name) in EXTRAS:
        return EXTRAS[group, name]
    if group == "policy_kwargs":
        return documented(MlpPolicy).get(name, "")
    owner: Any = TrajectoryBuffer if group == "buffer" else ActorCritic
    method = getattr(owner, name.removesuffix("()"), None)
    if name.endswith("()") and method is not None:
        return first_sentence(inspect.getdoc(method) or "")
    documents = documented(REINFORCE) | documented(ActorCritic)
    bases = ActorCritic.__mro__
    return documents.get(name) or next(
        (text for base in bases if (text := documented(base).get(name))), ""
    )


def documented(owner: type) -> dict[str, str]:
    """Returns the first sentence about each argument in a Google docstring."""
    found = {}
    text = inspect.cleandoc(owner.__doc__ or "")
    arguments = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    entries = re.findall(
        r"^    (\w+): (.*(?:\n {8}.*)*)",
        arguments[1] if arguments else "",
        re.MULTILINE,
    )
    for name, entry in entries:
        found[name] = first_sentence(entry)
    return found


def first_sentence(text: str) -> str:
    """Returns the first sentence, on one line, without its full stop."""
    return re.split(r"\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def page() -> str:
    """Returns the page."""
    lines = [INTRO]
    for section in SECTIONS:
        lines += [f"## {section.title}", ""]
        lines += [
            "| name | A2C | ActorCritic | REINFORCE | why |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in rows(section)]
        lines.append("")
    lines += ["## What A2C does not have", "", "| where | name | what it does |"]
    lines.append("|---|---|---|")
    lines += [
        f"| {group} | `{name}` | {_escaped(text)} |"
        for (group, name), text in extras().items()
    ]
    return "\n".join([*lines, ""])


def _line(row: Row) -> str:
    theirs = row.cells[0]
    ours = ["=" if cell == theirs else _code(cell) for cell in row.cells[1:]]
    return f"| `{row.name}` | {_code(theirs)} | {' | '.join(ours)} | {row.reason} |"


def _code(cell: str) -> str:
    return cell if cell == MISSING else f"`{_escaped(cell)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes the page."""
    torch.set_num_threads(1)
    PAGE.write_text(page())
    differing = [row for section in SECTIONS for row in rows(section) if row.differs]
    n_rows = sum(len(rows(section)) for section in SECTIONS)
    print(f"{PAGE.relative_to(ROOT)}: {n_rows} rows, {len(differing)} differ")


if __name__ == "__main__":
    main()
