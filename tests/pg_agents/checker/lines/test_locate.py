"""Lines of mistakes, and of losses that have none of them."""

import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from pg_agents.checker.lines.locate import Places, locate
from pg_agents.checker.lines.tracer import Tracer
from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.script import sandbox
from tests.pg_agents.checker.planted import CASES, Case

# Six steps, three actions.
T, A = 6, 3


def parts() -> dict[str, Any]:
    """What the snippets use: networks, a batch and torch."""
    torch.manual_seed(0)
    return {
        "torch": torch,
        "F": functional,
        "Categorical": torch.distributions.Categorical,
        "actor": nn.Linear(4, A),
        "critic": nn.Linear(4, 1),
        "obs": torch.randn(T, 4),
        "next_obs": torch.randn(T, 4),
        "actions": torch.randint(A, (T,)),
        "returns": torch.randn(T),
    }


def places_of(text: str, folder: Path) -> Places:
    """Traces a snippet that makes a `loss`; its lines have the numbers of the file."""
    path = folder / "train.py"
    path.write_text(text)
    linecache.checkcache()
    names = parts()
    tracer = Tracer()
    with tracer.tracing():
        exec(compile(text, str(path), "exec"), names)
        tracer.differentiates(names["loss"])
    policy = {id(p) for p in names["actor"].parameters()}
    critics = {id(p) for p in names["critic"].parameters()}
    return locate(tracer.graphs, policy, critics)


RIGHT = """\
dist = Categorical(logits=actor(obs))
value = critic(obs).squeeze(-1)
advantage = returns - value
actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()
critic_loss = (returns - value).pow(2).mean()
loss = actor_loss + 0.5 * critic_loss - 0.01 * dist.entropy().mean()
"""
# Key of the mistake, text of `RIGHT` and what stands for it; the line that has the
# mistake ends in "# here".
CHANGES: tuple[tuple[str, str, str], ...] = (
    (
        "broadcast_advantage",
        "advantage = returns - value\n",
        "advantage = returns - critic(obs)  # here\n",
    ),
    (
        "broadcast_advantage",
        "advantage = returns - value\n",
        "with torch.no_grad():\n    advantage = critic(obs) - returns  # here\n",
    ),
    (
        "all_pairs",
        "actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()\n",
        "column = dist.log_prob(actions)[:, None]\n"
        "actor_loss = -(advantage.detach() * column).mean()  # here\n",
    ),
    (
        "all_pairs",
        "actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()\n",
        "actor_loss = -dist.log_prob(actions).mean() * returns.sum()  # here\n",
    ),
    (
        "value_not_detached",
        "advantage.detach()).mean()\n",
        "advantage).mean()  # here\n",
    ),
    (
        "next_value_not_detached",
        "critic_loss = (returns - value).pow(2).mean()\n",
        "target = returns + 0.9 * critic(next_obs).squeeze(-1)\n"
        "critic_loss = F.mse_loss(value, target)  # here\n",
    ),
    (
        "critic_sign_flipped",
        "loss = actor_loss + 0.5 * critic_loss - 0.01 * dist.entropy().mean()\n",
        "loss = (\n    actor_loss\n    - 0.5 * critic_loss  # here\n)\n",
    ),
    (
        "critic_sign_flipped",
        "loss = actor_loss + 0.5 * critic_loss",
        "weighted = -0.5 * critic_loss  # here\nloss = actor_loss + weighted",
    ),
    (
        "entropy_sign",
        "- 0.01 * dist.entropy().mean()\n",
        "+ 0.01 * dist.entropy().mean()  # here\n",
    ),
    (
        "softmax_over_batch",
        "dist = Categorical(logits=actor(obs))\n",
        "probs = F.softmax(actor(obs), dim=0)  # here\ndist = Categorical(probs)\n",
    ),
    (
        "double_softmax",
        "dist = Categorical(logits=actor(obs))\n",
        "probs = F.softmax(actor(obs), dim=1)\n"
        "dist = Categorical(logits=probs)  # here\n",
    ),
    (
        "clamped_probability",
        "dist = Categorical(logits=actor(obs))\n",
        "dist = Categorical(logits=actor(obs))\n"
        "probs = actor(obs).softmax(-1).clamp(min=0.1)  # here\n"
        "dist = Categorical(probs)\n",
    ),
    (
        "binary_cross_entropy",
        "dist.log_prob(actions)",
        "-F.binary_cross_entropy(  # here\n"
        "    actor(obs).softmax(-1), F.one_hot(actions, 3).float(), reduction='none'\n"
        ").sum(-1)",
    ),
    (
        "wrong_gather",
        "actor_loss = -(dist.log_prob(actions) *",
        "log_p = actor(obs).log_softmax(-1)\n"
        "log_prob = log_p[:, actions]  # here\n"
        "actor_loss = -(log_prob *",
    ),
    (
        "wrong_gather",
        "actor_loss = -(dist.log_prob(actions) *",
        "log_p = actor(obs).log_softmax(-1)\n"
        "log_prob = log_p.gather(0, actions[:, None]).squeeze(1)  # here\n"
        "actor_loss = -(log_prob *",
    ),
    (
        "logit",
        "actor_loss = -(dist.log_prob(actions) *",
        "logit = actor(obs)[torch.arange(6), actions]  # here\nactor_loss = -(logit *",
    ),
    (
        "all_actions",
        "actor_loss = -(dist.log_prob(actions) *",
        "log_p = F.log_softmax(actor(obs), dim=-1)\n"
        "log_prob = log_p.sum(dim=1)  # here\n"
        "actor_loss = -(log_prob *",
    ),
    (
        "probability",
        "(dist.log_prob(actions) * advantage.detach()).mean()\n",
        "(dist.log_prob(actions).exp() * advantage.detach()).mean()  # here\n",
    ),
    (
        "probability",
        "actor_loss = -(dist.log_prob(actions) *",
        "p = dist.probs\n"
        "probs = F.softmax(actor(obs), dim=-1)\n"
        "taken = probs.gather(1, actions[:, None]).squeeze(1)  # here\n"
        "actor_loss = -(taken *",
    ),
)


@pytest.mark.parametrize(("key", "old", "new"), CHANGES)
def test_a_mistake_is_on_its_line(key: str, old: str, new: str, tmp_path: Path) -> None:
    assert key in MISTAKES and RIGHT.count(old) == 1
    text = RIGHT.replace(old, new)
    (line,) = (i for i, t in enumerate(text.splitlines(), 1) if "# here" in t)
    found = places_of(text, tmp_path).mistakes[key]
    assert found.line <= line <= found.end_line
    assert "# here" in found.text and found.text in text
    n_lines = found.end_line - found.line + 1
    assert found.text.count("\n") == n_lines - 1
    assert n_lines == 1 or key in ("binary_cross_entropy", "critic_sign_flipped")
    assert Path(found.file) == tmp_path / "train.py"


# What looks like a mistake, and is none: without the finding nothing is told, and
# where two lines look alike neither is.
HARMLESS: Mapping[str, tuple[str, str]] = {
    "two clamps": (
        "dist = Categorical(logits=actor(obs))\n",
        "probs = actor(obs).softmax(-1).clamp(min=1e-8)\ndist = Categorical(probs)\n",
    ),
    "a table of distances": (
        "advantage = returns - value\n",
        "weight = (obs[:, 0] - obs[:, 1:2]).abs().sum(0)\n"
        "advantage = returns - value + 0 * weight\n",
    ),
    "a clipped ratio": (
        "actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()\n",
        "ratio = (dist.log_prob(actions) - dist.log_prob(actions).detach()).exp()\n"
        "clipped = ratio.clamp(0.8, 1.2) * advantage.detach()\n"
        "actor_loss = -torch.min(ratio * advantage.detach(), clipped).mean()\n",
    ),
    "a sum over the batch": (
        "actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()\n",
        "log_p = actor(obs).log_softmax(-1)\n"
        "taken = log_p.gather(1, actions[:, None]).squeeze(1)\n"
        "actor_loss = -(taken * advantage.detach()).sum() / len(obs)\n",
    ),
    "as it is": ("", ""),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_right_loss_has_no_line_of_a_mistake(name: str, tmp_path: Path) -> None:
    places = places_of(RIGHT.replace(*HARMLESS[name], 1), tmp_path)
    assert not places.mistakes
    assert places.loss is not None


def test_a_mistake_on_two_lines_is_on_none(tmp_path: Path) -> None:
    twice = (
        "one = -(dist.log_prob(actions[:3]) * advantage[:3]).mean()\n"
        "two = -(dist.log_prob(actions[3:]) * advantage[3:]).mean()\n"
        "actor_loss = one + two\n"
    )
    old = "actor_loss = -(dist.log_prob(actions) * advantage.detach()).mean()\n"
    text = RIGHT.replace(old, twice)
    text = text.replace("dist.log_prob(actions[:3])", "actor(obs)[:3, 0]")
    text = text.replace("dist.log_prob(actions[3:])", "actor(obs)[3:, 0]")
    assert "value_not_detached" not in places_of(text, tmp_path).mistakes


LOOP = """\
class Env:
    def step(self):
        tracer.stepped()

def act(row):
    return Categorical(logits=actor(row))

def update(log_probs, values):
    advantage = returns - torch.cat(values)
    weighted = torch.stack(log_probs) * advantage.detach()
    actor_loss = -weighted.mean()
    loss = actor_loss + advantage.pow(2).mean()
    loss.backward()

env, log_probs, values = Env(), [], []
for t in range(6):
    dist = act(obs[t])
    values.append(critic(obs[t]))
    env.step()
    log_probs.append(dist.log_prob(actions[t]))
update(log_probs, values)
"""


def traced(text: str, folder: Path) -> Places:
    path = folder / "train.py"
    path.write_text(text)
    linecache.checkcache()
    tracer = Tracer()
    names = parts() | {"tracer": tracer}
    with tracer.tracing():
        exec(compile(text, str(path), "exec"), names)
    policy = {id(p) for p in names["actor"].parameters()}
    critics = {id(p) for p in names["critic"].parameters()}
    return locate(tracer.graphs, policy, critics)


def test_a_loss_is_in_the_lines_of_its_function(tmp_path: Path) -> None:
    places = traced(LOOP, tmp_path)
    assert places.backward is not None and places.loss is not None
    assert (places.backward.line, places.backward.text) == (13, "loss.backward()")
    assert (places.loss.line, places.loss.end_line) == (9, 12)
    lines = places.loss.text.splitlines()
    assert lines[0] == "advantage = returns - torch.cat(values)" and len(lines) == 4
    assert str(places.loss) == f"{tmp_path / 'train.py'}:9-12"


def test_lines_of_the_acting_loop_are_no_lines_of_the_loss(tmp_path: Path) -> None:
    """Everything in one function; the last log-probability follows the last step."""
    start = LOOP.index("def update")
    body = LOOP[LOOP.index("    advantage") : LOOP.index("env, log")]
    loop = LOOP[LOOP.index("env, log") : LOOP.index("update(log_probs, values)\n", 200)]
    loop = loop.replace("update(log_probs, values)\n", "")
    inline = "".join(line[4:] + "\n" for line in body.rstrip().splitlines())
    text = LOOP[:start] + loop + inline
    places = traced(text, tmp_path)
    lines = text.splitlines()
    assert places.loss is not None
    shown = lines[places.loss.line - 1 : places.loss.end_line]
    assert shown[0].startswith("advantage") and shown[-1].startswith("loss =")


def test_a_critic_of_its_own_is_not_the_policys_loss(tmp_path: Path) -> None:
    text = RIGHT.replace("loss = actor_loss + 0.5 * critic_loss", "loss = critic_loss")
    text = text[: text.rindex(" - 0.01")] + "\n"
    places = places_of(text, tmp_path)
    assert places == Places()


# Text of the line that is named in each script with a planted mistake that has a rule;
# none where the graph does not show it for certain.
NAMED = {
    "reinforce_one_file__mean_times_mean": "loss = -log_probs.mean() * returns.mean()",
    "reinforce_one_file__sum_times_sum": "loss = -log_probs.sum() * returns.sum()",
    "reinforce_one_file__probability": "log_probs.append(dist.probs[action])",
    "reinforce_agent_class__probability": "action_probs.log_prob(action).exp()",
    "reinforce_module_level__softmax_over_batch": "log_softmax(logits, dim=0)",
    "reinforce_module_level__double_softmax": "log_softmax(torch.softmax(",
    "reinforce_module_level__gather_all_columns": "log_p[:, torch.tensor(actions)]",
    "reinforce_module_level__all_actions": "log_p_taken = log_p.mean(dim=1)",
    "reinforce_module_level__column_times_row": "-(returns * log_p_taken).sum()",
    "reinforce_module_level__logit": "log_p_taken = logits[torch.arange(",
    "reinforce_module_level__binary_cross_entropy": "cross_entropy_with_logits(",
    "reinforce_module_level__clamped_probability": ".clamp(0.4, 0.6)",
    "reinforce_memory__row_times_column": "loss = -(log_probs * returns).sum()",
    "reinforce_memory__softmax_over_batch": "F.softmax(self.fc2(",
    "reinforce_memory__probability": "log_probs = probs.gather(1, actions)",
    "reinforce_memory__all_actions": "torch.log(probs).sum(dim=1)",
    "actor_critic_shared__value_not_detached": "append(-log_prob * advantage)",
    "actor_critic_shared__broadcast_advantage": "(returns - values.detach())).sum()",
    "a2c_vector__entropy_sign": "+ ENT_COEF * entropy",
    "a2c_vector__value_not_detached": "-(advantages * torch.stack(log_probs)).mean()",
    "a2c_vector__next_value_not_detached": "(returns - values).pow(2).mean()",
    "gaussian_reinforce__sum_times_sum": ".sum() * returns.sum())",
    "gae_actor_critic__double_softmax": "Categorical(logits=torch.softmax(",
    "ppo_minibatch__entropy_sign": "pg_loss + args.ent_coef * entropy_loss",
    "sequential_softmax__double_softmax": "Categorical(logits=probs).log_prob(",
    "sequential_softmax__cross_entropy_of_probabilities": "cross_entropy(probs, a",
    "sequential_softmax__probability": "-(tails * log_probs.exp()).sum()",
    "dropout_policy__mean_times_mean": ".mean() * discounted.mean()",
    "trainer_class__mean_times_mean": "return -logp.mean() * weights.mean()",
    "cli_with_plots__value_not_detached": "policy_loss = -(log_prob * advantage)",
    "cli_with_plots__gather_along_rows": "log_pi.gather(0, actions.unsqueeze(1))",
    "cli_with_plots__column_times_row": "policy_loss = -(log_prob * advantage)",
    "cli_with_plots__broadcast_advantage": "(returns - values).detach()",
    "cli_with_plots__probability": "-(log_prob.exp() * advantage).sum()",
    "cli_with_plots__all_actions": "log_prob = log_pi.sum(dim=1)",
    "reinforce_baseline__probability": "delta.detach() * pi(s)[a].exp()",
    "gaussian_actor_critic__value_not_detached": "-(log_prob * advantage).mean()",
    "gaussian_actor_critic__column_times_row": "-(log_prob * advantage.detach())",
}
WITH_A_RULE = [
    case
    for case in CASES
    if case.verdict == "wrong" and {key for key, _, _ in CHANGES} & set(case.keys)
]


@pytest.mark.slow
@pytest.mark.parametrize("case", WITH_A_RULE, ids=lambda case: case.name)
def test_lines_of_planted_mistakes(case: Case, tmp_path: Path) -> None:
    """Every line that is named for a script's mistake is the one that has it."""
    recording = sandbox.run(case.write(tmp_path), timeout_s=10.0)
    places = recording.places
    assert places.backward is not None and ".backward()" in places.backward.text
    assert places.loss is not None
    named = {p.text for key, p in places.mistakes.items() if key in case.keys}
    expected = NAMED.get(case.name)
    assert len(named) == (expected is not None)
    assert all(expected is not None and expected in text for text in named)
