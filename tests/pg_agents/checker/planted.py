"""Training scripts that are right, and the mistakes planted in them.

`scripts/` holds training scripts in the manner of tutorials. A wrong script is a right one
with some of its text replaced: each case below names the script, the texts that are
replaced and the texts in their place, and what a check should say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS = Path(__file__).parent / "scripts"

Verdict = Literal["right", "wrong"]


@dataclass(frozen=True)
class Case:
    """A script, and what a check of it with `target="algorithm"` should say.

    Attributes:
        script: name of the right script in `scripts/`, without `.py`.
        label: identifies the case among those of the script; empty for the script itself.
        keys: keys of the catalogue of mistakes. Of a wrong script: any of them is the
            right name; with none of them the check has to locate the mistake without a
            name. Of a right script: its departures from the exact gradient.
        verdict: `"right"` if the gradient is that of a documented algorithm, else
            `"wrong"`.
        replacements: pairs of a text, which occurs once in the script, and its
            replacement.
    """

    script: str
    label: str
    keys: tuple[str, ...]
    verdict: Verdict
    replacements: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """`script`, or `script__label`."""
        return f"{self.script}__{self.label}" if self.label else self.script

    def source(self) -> str:
        """Returns the text of the script.

        Raises:
            ValueError: if a text to replace does not occur exactly once.
        """
        text = (SCRIPTS / f"{self.script}.py").read_text()
        for old, new in self.replacements:
            if text.count(old) != 1:
                raise ValueError(
                    f"{self.name}: the text to replace must occur once, "
                    f"but occurs {text.count(old)} times: {old!r}"
                )
            text = text.replace(old, new)
        return text

    def write(self, folder: Path) -> Path:
        """Writes the script to a folder and returns its path."""
        path = folder / f"{self.name}.py"
        path.write_text(self.source())
        return path


@dataclass(frozen=True)
class _Change:
    label: str
    keys: tuple[str, ...]
    verdict: Verdict
    replacements: tuple[tuple[str, str], ...]


def _right(label: str, keys: str, *replacements: tuple[str, str]) -> _Change:
    """Returns a change that leaves a script right; keys are its departures."""
    return _Change(label, tuple(keys.split()), "right", replacements)


def _wrong(label: str, keys: str, *replacements: tuple[str, str]) -> _Change:
    """Returns a change that makes a script wrong; keys are the accepted names."""
    return _Change(label, tuple(keys.split()), "wrong", replacements)


def _cases(script: str, departures: str, *changes: _Change) -> tuple[Case, ...]:
    right = Case(script, "", tuple(departures.split()), "right", ())
    return (
        right,
        *(Case(script, c.label, c.keys, c.verdict, c.replacements) for c in changes),
    )


CASES: tuple[Case, ...] = (
    *_cases(
        "reinforce_one_file",
        "gamma_dropped",
        _right(
            "gamma_t",
            "",
            (
                "loss = -(log_probs * returns).sum()",
                "discounts = GAMMA ** torch.arange(len(rewards))\n"
                "        loss = -(discounts * log_probs * returns).sum()",
            ),
        ),
        _right(
            "whole_return",
            "",
            ("-(log_probs * returns).sum()", "-(log_probs * returns[0]).sum()"),
        ),
        _right(
            "mean",
            "gamma_dropped mean_over_steps",
            ("-(log_probs * returns).sum()", "-(log_probs * returns).mean()"),
        ),
        _right(
            "standardized",
            "gamma_dropped standardized",
            (
                "        loss = -",
                "        returns = (returns - returns.mean()) / (returns.std() + 1e-8)\n"
                "        loss = -",
            ),
        ),
        _right(
            "double_softmax_acted_from",
            "gamma_dropped double_softmax",
            ("Categorical(logits=logits)", "Categorical(logits=F.softmax(logits, -1))"),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("loss = -(log_probs * returns)", "loss = (log_probs * returns)"),
        ),
        _wrong(
            "mean_times_mean",
            "all_pairs",
            ("-(log_probs * returns).sum()", "-log_probs.mean() * returns.mean()"),
        ),
        _wrong(
            "sum_times_sum",
            "all_pairs",
            ("-(log_probs * returns).sum()", "-log_probs.sum() * returns.sum()"),
        ),
        _wrong(
            "off_by_one",
            "off_by_one",
            (
                "        g = r + GAMMA * g\n        returns.insert(0, g)\n",
                "        returns.insert(0, g)\n        g = r + GAMMA * g\n",
            ),
        ),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            ("returns = compute_returns(rewards)", "returns = torch.tensor(rewards)"),
        ),
        _wrong(
            "returns_forward",
            "returns_forward",
            ("for r in reversed(rewards):", "for r in rewards:"),
            ("returns.insert(0, g)", "returns.append(g)"),
        ),
        _wrong(
            "returns_reversed",
            "returns_reversed",
            ("returns.insert(0, g)", "returns.append(g)"),
        ),
        _right(
            "own_mean_of_one_episode",
            "gamma_dropped batch_mean_baseline",
            (
                "        loss = -",
                "        returns = returns - returns.mean()\n        loss = -",
            ),
        ),
        _wrong(
            "rewards_standardized",
            "rewards_standardized",
            (
                "        returns = compute_returns(rewards)\n",
                "        r = torch.tensor(rewards)\n"
                "        r = (r - r.mean()) / (r.std() + 1e-8)\n"
                "        returns = compute_returns(r.tolist())\n",
            ),
        ),
        _wrong(
            "rounded",
            "rounded",
            ("torch.tensor(returns)", "torch.tensor(returns, dtype=torch.long)"),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            ("action = dist.sample()", "action = logits.argmax()"),
        ),
        _wrong(
            "epsilon_greedy",
            "actions_not_sampled",
            (
                "        action = dist.sample()\n",
                "        action = logits.argmax()\n"
                "        if torch.rand(1) < 0.2:\n"
                "            action = torch.tensor(env.action_space.sample())\n",
            ),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("        optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "truncation_ignored",
            "truncation_ignored",
            ("done = terminated or truncated", "done = terminated"),
        ),
        _wrong(
            "last_step_lost",
            "last_step_lost",
            ("(log_probs * returns)", "(log_probs[:-1] * returns[:-1])"),
        ),
        _wrong(
            "probability",
            "probability",
            ("dist.log_prob(action)", "dist.probs[action]"),
        ),
        _wrong(
            "action_resampled",
            "action_resampled",
            ("dist.log_prob(action)", "dist.log_prob(dist.sample())"),
        ),
    ),
    *_cases(
        "reinforce_agent_class",
        "gamma_dropped",
        _right("gamma_t", "", ("discount = 1.0", "discount = self.gamma**t")),
        _right(
            "double_softmax_acted_from",
            "gamma_dropped double_softmax",
            ("Categorical(probabilities)", "Categorical(logits=probabilities)"),
        ),
        _wrong(
            "sign", "sign_flipped", ("loss += -g * log_prob", "loss += g * log_prob")
        ),
        _wrong(
            "off_by_one",
            "off_by_one",
            (
                "for k in range(t, len(self.reward_memory)):",
                "for k in range(t + 1, len(self.reward_memory)):",
            ),
        ),
        _wrong(
            "last_reward_lost",
            "last_step_lost",
            (
                "for k in range(t, len(self.reward_memory)):",
                "for k in range(t, len(self.reward_memory) - 1):",
            ),
        ),
        _wrong(
            "returns_forward",
            "returns_forward",
            (
                "for k in range(t, len(self.reward_memory)):",
                "for k in range(0, t + 1):",
            ),
        ),
        _wrong(
            "discount_not_reset",
            "discount_not_reset",
            ("            discount = 1.0\n", ""),
            (
                "        for t in range(len(self.reward_memory)):\n",
                "        discount = 1.0\n"
                "        for t in range(len(self.reward_memory)):\n",
            ),
        ),
        _wrong(
            "gamma_twice",
            "gamma_twice",
            ("discount = 1.0", "discount = self.gamma**t"),
            (
                "        for g, log_prob in zip(G, self.action_memory):\n"
                "            loss += -g * log_prob\n",
                "        for t, (g, log_prob) in enumerate(zip(G, self.action_memory)):\n"
                "            loss += -(self.gamma**t) * g * log_prob\n",
            ),
        ),
        _wrong(
            "rewards_not_cleared",
            "replay return_across_episodes",
            (
                "        self.action_memory = []\n        self.reward_memory = []\n\n\n",
                "        self.action_memory = []\n\n\n",
            ),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("        self.policy.optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            ("action = action_probs.sample()", "action = probabilities.argmax()"),
        ),
        _wrong("rounded", "rounded", ("dtype=np.float64", "dtype=np.int64")),
        _wrong(
            "probability",
            "probability",
            (
                "action_probs.log_prob(action)",
                "action_probs.log_prob(action).exp()",
            ),
        ),
        _wrong(
            "truncation_ignored",
            "truncation_ignored",
            ("done = terminated or truncated", "done = terminated"),
        ),
    ),
    *_cases(
        "reinforce_module_level",
        "gamma_dropped",
        _right(
            "cross_entropy",
            "gamma_dropped",
            (
                "loss = -(returns * log_p_taken).sum()",
                "nll = nn.functional.cross_entropy(\n"
                '        logits, torch.tensor(actions), reduction="none"\n'
                "    )\n"
                "    loss = (returns * nll).sum()",
            ),
        ),
        # For two actions it is twice the log-likelihood.
        _right(
            "binary_cross_entropy_of_both",
            "gamma_dropped",
            (
                "loss = -(returns * log_p_taken).sum()",
                "target = nn.functional.one_hot(torch.tensor(actions), n_act).float()\n"
                "    bce = nn.functional.binary_cross_entropy(\n"
                '        log_p.exp(), target, reduction="none"\n'
                "    )\n"
                "    loss = (returns[:, None] * bce).sum()",
            ),
        ),
        _wrong(
            "softmax_over_batch",
            "softmax_over_batch",
            ("torch.log_softmax(logits, dim=1)", "torch.log_softmax(logits, dim=0)"),
        ),
        _wrong(
            "double_softmax",
            "double_softmax",
            (
                "torch.log_softmax(logits, dim=1)",
                "torch.log_softmax(torch.softmax(logits, dim=1), dim=1)",
            ),
        ),
        _wrong(
            "gather_all_columns",
            "wrong_gather all_pairs",
            (
                "log_p[torch.arange(len(actions)), torch.tensor(actions)]",
                "log_p[:, torch.tensor(actions)]",
            ),
        ),
        _wrong(
            "all_actions",
            "all_actions",
            (
                "log_p[torch.arange(len(actions)), torch.tensor(actions)]",
                "log_p.mean(dim=1)",
            ),
        ),
        _wrong(
            "column_times_row",
            "all_pairs",
            (
                "log_p[torch.arange(len(actions)), torch.tensor(actions)]",
                "log_p.gather(1, torch.tensor(actions).unsqueeze(1))",
            ),
        ),
        _wrong(
            "logit",
            "logit",
            (
                "log_p[torch.arange(len(actions)), torch.tensor(actions)]",
                "logits[torch.arange(len(actions)), torch.tensor(actions)]",
            ),
        ),
        _wrong(
            "binary_cross_entropy",
            "binary_cross_entropy",
            (
                "loss = -(returns * log_p_taken).sum()",
                "target = nn.functional.one_hot(torch.tensor(actions), n_act).float()\n"
                "    bce = nn.functional.binary_cross_entropy_with_logits(\n"
                '        logits, target, reduction="none"\n'
                "    )\n"
                "    loss = (returns[:, None] * bce).sum()",
            ),
        ),
        _wrong(
            "clamped_probability",
            "clamped_probability",
            (
                "torch.log_softmax(logits, dim=1)",
                "torch.log(torch.softmax(logits, dim=1).clamp(0.4, 0.6))",
            ),
        ),
        _wrong(
            "next_state",
            "next_state",
            ("states.append(state)", "states.append(next_state)"),
        ),
        _wrong(
            "return_across_episodes",
            "return_across_episodes",
            ("    running = 0.0\n", ""),
            ("n_episodes = 200\n", "n_episodes = 200\nrunning = 0.0\n"),
        ),
        _wrong(
            "lists_not_cleared",
            "replay return_across_episodes",
            ("    states, actions, rewards = [], [], []\n", ""),
            (
                "n_episodes = 200\n",
                "n_episodes = 200\nstates, actions, rewards = [], [], []\n",
            ),
        ),
        _wrong(
            "last_step_lost",
            "last_step_lost",
            ("range(len(rewards) - 1, -1, -1)", "range(len(rewards) - 2, -1, -1)"),
        ),
        _wrong(
            "off_by_one",
            "off_by_one",
            (
                "    running = rewards[t] + gamma * running\n"
                "        returns[t] = running\n",
                "    returns[t] = running\n"
                "        running = rewards[t] + gamma * running\n",
            ),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            (
                "np.random.choice(n_act, p=probs / probs.sum())",
                "int(np.argmax(probs))",
            ),
        ),
        _wrong(
            "epsilon",
            "actions_not_sampled",
            (
                "        next_state, reward",
                "        if np.random.rand() < 0.2:\n"
                "            action = env.action_space.sample()\n"
                "        next_state, reward",
            ),
        ),
        _wrong(
            "rewards_standardized",
            "rewards_standardized",
            (
                "    returns = np.zeros(len(rewards))\n",
                "    returns = np.zeros(len(rewards))\n"
                "    rewards = (rewards - np.mean(rewards)) / (np.std(rewards) + 1e-8)\n",
            ),
        ),
    ),
    *_cases(
        "reinforce_memory",
        "gamma_dropped",
        _right("factor", "gamma_dropped", (".sum() / n_episodes", ".sum()")),
        _right(
            "mean",
            "gamma_dropped mean_over_steps",
            (".sum() / n_episodes", ".mean()"),
        ),
        _right(
            "batch_mean_baseline",
            "gamma_dropped batch_mean_baseline",
            (
                "    returns = torch.tensor(returns)\n",
                "    returns = torch.tensor(returns)\n"
                "    returns = returns - returns.mean()\n",
            ),
        ),
        _right(
            "standardized",
            "gamma_dropped standardized",
            (
                "    returns = torch.tensor(returns)\n",
                "    returns = torch.tensor(returns)\n"
                "    returns = (returns - returns.mean()) / (returns.std() + 1e-8)\n",
            ),
        ),
        _right(
            "greedy_test_episodes",
            "gamma_dropped",
            (
                "        memory.clear()\n",
                "        memory.clear()\n"
                "        # A greedy episode, to see how good the policy is.\n"
                "        state, _ = env.reset()\n"
                "        done, score = False, 0.0\n"
                "        while not done:\n"
                "            with torch.no_grad():\n"
                "                best = net(torch.tensor(state).unsqueeze(0)).argmax()\n"
                "            state, reward, terminated, truncated, _ = env.step(best.item())\n"
                "            score += reward\n"
                "            done = terminated or truncated\n",
            ),
        ),
        _wrong("not_cleared", "replay", ("        memory.clear()\n", "")),
        _wrong(
            "return_across_episodes",
            "return_across_episodes",
            ("        if done:\n            R = 0.0\n", ""),
        ),
        _wrong(
            "done_mask_shifted",
            "done_mask_shifted",
            (
                "        if done:\n            R = 0.0\n        R = r + gamma * R\n"
                "        returns.append(R)\n",
                "        R = r + gamma * R\n        returns.append(R)\n"
                "        if done:\n            R = 0.0\n",
            ),
        ),
        _wrong("row_times_column", "all_pairs", ("actions)).squeeze(1)", "actions))")),
        _wrong(
            "softmax_over_batch",
            "softmax_over_batch",
            ("dim=1)\n\n\ndef", "dim=0)\n\n\ndef"),
        ),
        _wrong(
            "probability",
            "probability",
            ("torch.log(probs.gather(1, actions))", "probs.gather(1, actions)"),
        ),
        _wrong(
            "large_eps",
            "clamped_probability",
            ("probs.gather(1, actions))", "probs.gather(1, actions) + 0.1)"),
        ),
        _wrong("returns_reversed", "returns_reversed", ("    returns.reverse()\n", "")),
        _wrong(
            "next_state",
            "next_state",
            ("memory.push(state, action", "memory.push(next_state, action"),
        ),
        _wrong(
            "most_likely_action",
            "wrong_gather",
            ("probs.gather(1, actions)).squeeze(1)", "probs.max(dim=1).values)"),
        ),
        _wrong(
            "all_actions",
            "all_actions",
            (
                "torch.log(probs.gather(1, actions)).squeeze(1)",
                "torch.log(probs).sum(dim=1)",
            ),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("    optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "truncation_ignored",
            "truncation_ignored",
            ("done = terminated or truncated", "done = terminated"),
        ),
        _wrong(
            "mean_in_episode",
            "mean_in_episode",
            (
                "    loss = -(log_probs * returns).sum() / n_episodes\n",
                "    ends = [i + 1 for i, done in enumerate(dones) if done]\n"
                "    loss, start = 0.0, 0\n"
                "    for end in ends:\n"
                "        loss -= (log_probs[start:end] * returns[start:end]).mean()\n"
                "        start = end\n"
                "    loss = loss / n_episodes\n",
            ),
        ),
    ),
    *_cases(
        "actor_critic_shared",
        "gamma_dropped",
        _right(
            "standardized",
            "gamma_dropped standardized",
            (
                "    returns = torch.tensor(returns)\n",
                "    returns = torch.tensor(returns)\n"
                "    returns = (returns - returns.mean()) / (returns.std() + 1e-6)\n",
            ),
        ),
        _wrong(
            "value_not_detached",
            "value_not_detached",
            ("advantage = R - value.item()", "advantage = R - value"),
        ),
        _wrong(
            "advantage_reversed",
            "sign_flipped",
            ("advantage = R - value.item()", "advantage = value.item() - R"),
        ),
        _wrong(
            "state_value_weight",
            "state_value_weight",
            ("advantage = R - value.item()", "advantage = value.item()"),
        ),
        _wrong(
            "off_by_one",
            "off_by_one",
            (
                "        R = r + gamma * R\n        returns.insert(0, R)\n",
                "        returns.insert(0, R)\n        R = r + gamma * R\n",
            ),
        ),
        _wrong(
            "returns_reversed",
            "returns_reversed",
            ("returns.insert(0, R)", "returns.append(R)"),
        ),
        _wrong(
            "broadcast_advantage",
            "broadcast_advantage",
            (
                "    optimizer.zero_grad()\n"
                "    loss = torch.stack(policy_losses).sum()",
                "    log_probs, values = torch.stack(model.log_probs), "
                "torch.stack(model.values)\n"
                "    policy_loss = -(log_probs * (returns - values.detach())).sum()\n"
                "    optimizer.zero_grad()\n"
                "    loss = policy_loss",
            ),
        ),
        _wrong(
            "probability",
            "probability",
            (
                "model.log_probs.append(m.log_prob(action))",
                "model.log_probs.append(probs[action])",
            ),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            ("action = m.sample()", "action = probs.argmax()"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("    optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "truncation_ignored",
            "truncation_ignored",
            ("if terminated or truncated:", "if terminated:"),
        ),
    ),
    *_cases(
        "actor_critic_two_networks",
        "gamma_dropped learned_critic",
        _right(
            "target_as_weight",
            "gamma_dropped learned_critic",
            ("log_prob(action) * td_error.detach()", "log_prob(action) * target"),
        ),
        _wrong(
            "through_terminal",
            "through_terminal",
            (" * (1 - terminated)", ""),
        ),
        _wrong(
            "no_bootstrap_at_truncation",
            "no_bootstrap_at_truncation",
            (
                "next_state, int(terminated))",
                "next_state, int(terminated or truncated))",
            ),
        ),
        _wrong(
            "td_error_reversed",
            "sign_flipped",
            ("td_error = target - value", "td_error = value - target"),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("actor_loss = -dist.log_prob", "actor_loss = dist.log_prob"),
        ),
        _wrong(
            "bootstrap_from_wrong_state",
            "bootstrap_from_wrong_state",
            ("self.gamma * self.critic(next_state)", "self.gamma * self.critic(state)"),
        ),
        _wrong(
            "next_state",
            "next_state",
            (
                "            agent.update(state, action, reward, next_state, "
                "int(terminated))\n            state = next_state\n",
                "            state = next_state\n            agent.update(state, action, "
                "reward, next_state, int(terminated))\n",
            ),
        ),
        _wrong(
            "score_of_next_state",
            "next_state",
            ("dist = self.actor(state)", "dist = self.actor(next_state)"),
        ),
        _wrong(
            "state_value_weight",
            "state_value_weight",
            (
                "log_prob(action) * td_error.detach()",
                "log_prob(action) * value.detach()",
            ),
        ),
        _wrong(
            "action_resampled",
            "action_resampled",
            ("dist.log_prob(action)", "dist.log_prob(dist.sample())"),
        ),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            ("log_prob(action) * td_error.detach()", "log_prob(action) * reward"),
        ),
        _wrong(
            "action_value_baseline",
            "action_value_baseline",
            ("nn.ReLU(), nn.Linear(64, 1))", "nn.ReLU(), nn.Linear(64, 2))"),
            (
                "        return self.net(x).squeeze(-1)\n",
                "        return self.net(x)\n",
            ),
            (
                "        value = self.critic(state)\n",
                "        value = self.critic(state)[action]\n",
            ),
            (
                "        with torch.no_grad():\n"
                "            target = reward + self.gamma * self.critic(next_state)",
                "        with torch.no_grad():\n"
                "            mean = (self.actor(next_state).probs * "
                "self.critic(next_state)).sum()\n"
                "            target = reward + self.gamma * mean",
            ),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("        self.actor_optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "epsilon",
            "actions_not_sampled",
            (
                "        return self.actor(state).sample().item()\n",
                "        if torch.rand(1).item() < 0.2:\n"
                "            return int(torch.randint(2, (1,)).item())\n"
                "        return self.actor(state).sample().item()\n",
            ),
        ),
    ),
    *_cases(
        "a2c_vector",
        "gamma_dropped learned_critic entropy_bonus",
        _right(
            "async",
            "gamma_dropped learned_critic entropy_bonus",
            ('vectorization_mode="sync"', 'vectorization_mode="async"'),
        ),
        _right(
            "sum",
            "gamma_dropped learned_critic entropy_bonus",
            ("torch.stack(log_probs)).mean()", "torch.stack(log_probs)).sum()"),
            ("torch.stack(entropies).mean()", "torch.stack(entropies).sum()"),
        ),
        _right(
            "advantages_standardized",
            "gamma_dropped learned_critic entropy_bonus advantages_standardized",
            (
                "        policy_loss =",
                "        advantages = (advantages - advantages.mean()) / (\n"
                "            advantages.std() + 1e-8\n        )\n"
                "        policy_loss =",
            ),
        ),
        _wrong(
            "entropy_sign",
            "entropy_sign",
            ("- ENT_COEF * entropy", "+ ENT_COEF * entropy"),
        ),
        _wrong(
            "taken_action_entropy",
            "taken_action_entropy",
            (
                "entropies.append(dist.entropy())",
                "log_p = dist.log_prob(action)\n"
                "            entropies.append(-log_p.exp() * log_p)",
            ),
        ),
        _wrong(
            "no_done_mask",
            "return_across_episodes through_terminal",
            (" * (1.0 - done)", ""),
        ),
        _wrong(
            "no_bootstrap_at_truncation",
            "no_bootstrap_at_truncation",
            ("            if timeout.any():\n", "            if False:\n"),
        ),
        _wrong(
            "bootstrap_from_reset_state",
            "bootstrap_from_wrong_state",
            (
                'final_obs = np.stack(infos["final_obs"][timeout])',
                "final_obs = obs[timeout]",
            ),
        ),
        _wrong(
            "no_bootstrap_at_window_end",
            "no_bootstrap_at_truncation",
            (
                "        with torch.no_grad():\n            _, ret = model(tensor(obs))\n",
                "        ret = torch.zeros(N_ENVS)\n",
            ),
        ),
        _wrong(
            "value_not_detached",
            "value_not_detached",
            ("returns - values.detach()", "returns - values"),
        ),
        _wrong(
            "next_value_not_detached",
            "next_value_not_detached value_not_detached",
            (
                "        with torch.no_grad():\n            _, ret = model(tensor(obs))\n",
                "        _, ret = model(tensor(obs))\n",
            ),
            ("returns - values.detach()", "(returns - values).detach()"),
        ),
        _wrong(
            "done_mask_shifted",
            "done_mask_shifted",
            (
                "        returns = []\n",
                "        returns = []\n"
                "        dones = [torch.zeros(N_ENVS), *dones[:-1]]\n",
            ),
        ),
        _wrong(
            "returns_reversed",
            "returns_reversed",
            ("returns.insert(0, ret)", "returns.append(ret)"),
        ),
        _wrong(
            "returns_not_reset_between_workers",
            "return_across_episodes",
            (
                "        returns = []\n"
                "        for reward, done in zip(reversed(rewards), reversed(dones)):\n"
                "            ret = reward + GAMMA * ret * (1.0 - done)\n"
                "            returns.insert(0, ret)\n\n"
                "        returns = torch.stack(returns)\n",
                "        rewards, dones = torch.stack(rewards), torch.stack(dones)\n"
                "        returns = torch.zeros_like(rewards)\n"
                "        running = ret[-1]\n"
                "        for n in reversed(range(N_ENVS)):\n"
                "            for t in reversed(range(N_STEPS)):\n"
                "                running = rewards[t, n] + GAMMA * running * (1 - dones[t, n])\n"
                "                returns[t, n] = running\n",
            ),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            ("action = dist.sample()", "action = dist.probs.argmax(dim=-1)"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("        optimizer.zero_grad()\n", ""),
        ),
    ),
    *_cases(
        "gaussian_reinforce",
        "gamma_dropped",
        _wrong(
            "clipped_action",
            "clipped_action",
            ("action = dist.sample()", "action = dist.sample().clamp(-2.0, 2.0)"),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("losses.append(-(torch.stack", "losses.append((torch.stack"),
        ),
        _wrong(
            "off_by_one",
            "off_by_one",
            (
                "            acc = rewards[t] + self.gamma * acc\n"
                "            out[t] = acc\n",
                "            out[t] = acc\n"
                "            acc = rewards[t] + self.gamma * acc\n",
            ),
        ),
        _wrong(
            "returns_reversed",
            "returns_reversed",
            ("out[t] = acc", "out[len(rewards) - 1 - t] = acc"),
        ),
        _wrong(
            "sum_times_sum",
            "all_pairs",
            (
                "-(torch.stack(log_probs) * returns).sum()",
                "-torch.stack(log_probs).sum() * returns.sum()",
            ),
        ),
        _wrong(
            "probability",
            "probability",
            ("dist.log_prob(action).sum()", "dist.log_prob(action).exp().sum()"),
        ),
        _wrong(
            "reparameterized",
            "action_not_detached",
            ("action = dist.sample()", "action = dist.rsample()"),
            ("np.clip(action.numpy()", "np.clip(action.detach().numpy()"),
        ),
        _wrong(
            "mean_action",
            "actions_not_sampled",
            ("action = dist.sample()", "action = dist.mean.detach()"),
        ),
        _wrong(
            "action_resampled",
            "action_resampled",
            ("dist.log_prob(action)", "dist.log_prob(dist.sample())"),
        ),
        _wrong(
            "episode_mean_baseline",
            "episode_mean_baseline",
            (
                "            returns = self.returns(rewards)\n",
                "            returns = self.returns(rewards)\n"
                "            returns = returns - returns.mean()\n",
            ),
        ),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            ("returns = self.returns(rewards)", "returns = torch.tensor(rewards)"),
        ),
    ),
    *_cases(
        "gae_actor_critic",
        "gamma_dropped learned_critic",
        _right(
            "advantages_standardized",
            "gamma_dropped learned_critic advantages_standardized",
            (
                "        log_probs = Cat",
                "        advantages = (advantages - advantages.mean()) / (\n"
                "            advantages.std() + 1e-8\n        )\n"
                "        log_probs = Cat",
            ),
        ),
        _wrong(
            "through_terminal",
            "through_terminal",
            (" * (not terminated[t])", ""),
        ),
        _wrong(
            "across_episodes",
            "return_across_episodes",
            (" * (not done[t])", ""),
        ),
        _wrong(
            "done_mask_shifted",
            "done_mask_shifted",
            ("(not done[t])", "(not done[t - 1])"),
            ("(not terminated[t])", "(not terminated[t - 1])"),
        ),
        _wrong(
            "no_bootstrap_at_truncation",
            "no_bootstrap_at_truncation",
            ("(not terminated[t])", "(not done[t])"),
        ),
        _wrong(
            "bootstrap_from_next_row",
            "bootstrap_from_wrong_state",
            (
                "        with torch.no_grad():\n"
                "            next_values = critic(b_next_obs).squeeze(1)\n",
                "        with torch.no_grad():\n"
                "            next_values = torch.cat([values[1:], values[-1:]])\n",
            ),
        ),
        _wrong(
            "double_softmax",
            "double_softmax",
            (
                "Categorical(logits=actor(b_obs))",
                "Categorical(logits=torch.softmax(actor(b_obs), dim=-1))",
            ),
        ),
        _wrong(
            "actions_as_column",
            "all_pairs wrong_gather",
            (
                "torch.tensor(self.actions), next_obs",
                "torch.tensor(self.actions).unsqueeze(1), next_obs",
            ),
        ),
        _wrong(
            "last_step_lost",
            "last_step_lost",
            ("reversed(range(len(rewards)))", "reversed(range(len(rewards) - 1))"),
        ),
        _wrong(
            "next_state",
            "next_state",
            ("actor(b_obs)).log_prob", "actor(b_next_obs)).log_prob"),
        ),
        _wrong(
            "buffer_not_cleared",
            "replay",
            (
                "    while steps < total_steps:\n        buffer = Buffer()\n",
                "    buffer = Buffer()\n    while steps < total_steps:\n",
            ),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("actor_loss = -(log_probs", "actor_loss = (log_probs"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("        actor_opt.zero_grad()\n", ""),
        ),
    ),
    *_cases(
        "ppo_minibatch",
        "gamma_dropped learned_critic advantages_standardized entropy_bonus",
        _right(
            "reset_steps_learnt_from",
            "gamma_dropped learned_critic advantages_standardized entropy_bonus",
            ("real = is_real.flatten()", "real = torch.ones(is_real.numel()) > 0"),
        ),
        _right(
            "advantages_as_they_are",
            "gamma_dropped learned_critic entropy_bonus",
            (
                "                mb_adv = (mb_adv - mb_adv.mean()) / "
                "(mb_adv.std() + 1e-8)\n",
                "",
            ),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("pg_loss1 = -mb_adv", "pg_loss1 = mb_adv"),
            ("pg_loss2 = -mb_adv", "pg_loss2 = mb_adv"),
        ),
        _wrong(
            "ratio_reversed",
            "sign_flipped",
            (
                "(newlogprob - b_logprobs[mb]).exp()",
                "(b_logprobs[mb] - newlogprob).exp()",
            ),
        ),
        _wrong(
            "ratio_without_exp",
            "",
            ("(newlogprob - b_logprobs[mb]).exp()", "newlogprob - b_logprobs[mb]"),
        ),
        _wrong(
            "entropy_sign",
            "entropy_sign",
            ("pg_loss - args.ent_coef", "pg_loss + args.ent_coef"),
        ),
        _wrong(
            "through_terminal",
            "through_terminal",
            (" * (1 - terminations[t])", ""),
        ),
        _wrong(
            "across_episodes",
            "return_across_episodes",
            (" * (1 - dones[t])", ""),
        ),
        _wrong(
            "done_mask_shifted",
            "done_mask_shifted",
            ("(1 - terminations[t])", "(1 - terminations[t - 1])"),
            ("(1 - dones[t])", "(1 - dones[t - 1])"),
        ),
        _wrong(
            "action_resampled",
            "action_resampled",
            (
                "                    b_obs[mb], b_actions[mb]\n",
                "                    b_obs[mb]\n",
            ),
        ),
        _wrong(
            "advantages_of_other_rows",
            "rows_mixed_up",
            ("mb_adv = b_advantages[mb]", "mb_adv = b_advantages[: len(mb)]"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("                optimizer.zero_grad()\n", ""),
        ),
    ),
    *_cases(
        "sequential_softmax",
        "",
        _right(
            "gamma_dropped",
            "gamma_dropped",
            ("-(tails * log_probs)", "-(tails / discounts * log_probs)"),
        ),
        _right(
            "only_last_episode",
            "one_episode_only",
            (
                "        loss.backward()\n",
                "        optimizer.zero_grad()\n        loss.backward()\n",
            ),
            (
                "for step in range(60):\n    optimizer.zero_grad()\n",
                "for step in range(60):\n",
            ),
        ),
        _right(
            "binary_cross_entropy_of_both",
            "",
            (
                "        log_probs = Categorical(probs).log_prob(actions)\n",
                "        one_hot = nn.functional.one_hot(actions, 2).float()\n"
                "        bce = nn.functional.binary_cross_entropy(\n"
                '            probs, one_hot, reduction="none"\n        )\n'
                "        log_probs = -bce.sum(dim=1)\n",
            ),
        ),
        _wrong(
            "mean_in_episode",
            "mean_in_episode",
            (".sum() / batch_size\n        loss", ".mean() / batch_size\n        loss"),
        ),
        _wrong(
            "gamma_twice",
            "gamma_twice",
            ("-(tails * log_probs)", "-(discounts * tails * log_probs)"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("    optimizer.zero_grad()\n", ""),
        ),
        _wrong(
            "returns_reversed",
            "returns_reversed",
            (".flip(0).cumsum(0).flip(0)", ".flip(0).cumsum(0)"),
        ),
        _wrong(
            "returns_forward",
            "returns_forward",
            (".flip(0).cumsum(0).flip(0)", ".cumsum(0)"),
        ),
        _wrong(
            "double_softmax",
            "double_softmax",
            ("Categorical(probs).log_prob", "Categorical(logits=probs).log_prob"),
        ),
        _wrong(
            "cross_entropy_of_probabilities",
            "double_softmax",
            (
                "Categorical(probs).log_prob(actions)",
                '-nn.functional.cross_entropy(probs, actions, reduction="none")',
            ),
        ),
        _wrong(
            "softmax_over_batch",
            "softmax_over_batch",
            ("nn.Softmax(dim=-1)", "nn.Softmax(dim=0)"),
        ),
        _wrong(
            "probability",
            "probability",
            ("-(tails * log_probs)", "-(tails * log_probs.exp())"),
        ),
        _wrong(
            "next_state",
            "next_state",
            (
                "        states.append(state)\n"
                "        actions.append(action)\n"
                "        rewards.append(reward)\n"
                "        state = torch.tensor(next_state)\n",
                "        state = torch.tensor(next_state)\n"
                "        states.append(state)\n"
                "        actions.append(action)\n"
                "        rewards.append(reward)\n",
            ),
        ),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            ("(discounts * rewards).flip(0).cumsum(0).flip(0)", "discounts * rewards"),
        ),
    ),
    *_cases(
        "dropout_policy",
        "gamma_dropped standardized",
        _right(
            "not_standardized",
            "gamma_dropped",
            (
                "    discounted = (discounted - discounted.mean()) / "
                "(discounted.std() + eps)\n",
                "",
            ),
        ),
        _wrong("sign", "sign_flipped", ("-log_prob * weight", "log_prob * weight")),
        _wrong(
            "returns_reversed", "returns_reversed", ("discounted[::-1]", "discounted")
        ),
        _right(
            "own_mean_of_one_episode",
            "gamma_dropped batch_mean_baseline",
            (
                "(discounted - discounted.mean()) / (discounted.std() + eps)",
                "discounted - discounted.mean()",
            ),
        ),
        _wrong(
            "rewards_not_cleared",
            "replay return_across_episodes",
            ("    policy.reward_history.clear()\n", ""),
        ),
        _wrong(
            "truncation_ignored",
            "truncation_ignored",
            ("if terminated or truncated:", "if terminated:"),
        ),
        _wrong(
            "mean_times_mean",
            "all_pairs",
            (
                "    terms = []\n"
                "    for log_prob, weight in zip(policy.log_prob_history, discounted):\n"
                "        terms.append(-log_prob * weight)\n",
                "",
            ),
            (
                "    discounted = (discounted - discounted.mean()) / "
                "(discounted.std() + eps)\n",
                "",
            ),
            (
                "    torch.cat(terms).sum().backward()\n",
                "    loss = -torch.cat(policy.log_prob_history).mean() * "
                "discounted.mean()\n    loss.backward()\n",
            ),
        ),
    ),
    *_cases(
        "trainer_class",
        "mean_over_steps",
        _right("sum", "", ("(logp * weights).mean()", "(logp * weights).sum()")),
        _right(
            "reward_to_go",
            "mean_over_steps",
            (
                "batch_weights += [sum(ep_rews)] * len(ep_rews)",
                "batch_weights += list(np.cumsum(ep_rews[::-1])[::-1])",
            ),
        ),
        _right(
            "double_softmax_acted_from",
            "mean_over_steps double_softmax",
            (
                "Categorical(logits=self.logits_net(obs))",
                "Categorical(logits=self.logits_net(obs).softmax(dim=-1))",
            ),
        ),
        # What came before an episode does not depend on its actions.
        _right(
            "rewards_not_reset",
            "mean_over_steps earlier_rewards",
            (
                "                ep_rews = []\n                obs, _",
                "                obs, _",
            ),
            (
                "batch_weights += [sum(ep_rews)] * len(ep_rews)",
                "n_new = len(batch_obs) - len(batch_weights)\n"
                "                batch_weights += [sum(ep_rews)] * n_new",
            ),
        ),
        _wrong(
            "returns_forward",
            "returns_forward",
            (
                "batch_weights += [sum(ep_rews)] * len(ep_rews)",
                "batch_weights += list(np.cumsum(ep_rews))",
            ),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("return -(logp * weights)", "return (logp * weights)"),
        ),
        _wrong(
            "next_state",
            "next_state",
            ("            batch_obs.append(obs)\n", ""),
            (
                "            batch_acts.append(act)\n",
                "            batch_obs.append(obs)\n            batch_acts.append(act)\n",
            ),
        ),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            (
                "batch_weights += [sum(ep_rews)] * len(ep_rews)",
                "batch_weights += ep_rews",
            ),
        ),
        _wrong(
            "mean_times_mean",
            "all_pairs",
            ("-(logp * weights).mean()", "-logp.mean() * weights.mean()"),
        ),
        _wrong(
            "epsilon",
            "actions_not_sampled",
            (
                "            act = self.act(obs)\n",
                "            act = self.act(obs)\n"
                "            if np.random.random() < 0.2:\n"
                "                act = self.env.action_space.sample()\n",
            ),
        ),
    ),
    *_cases(
        "cli_with_plots",
        "gamma_dropped entropy_bonus",
        _wrong(
            "last_step_lost",
            "last_step_lost",
            ("    out[-1] = rewards[-1]\n", ""),
        ),
        _wrong(
            "value_not_detached",
            "value_not_detached",
            ("(returns - values).detach()", "returns - values"),
        ),
        _wrong(
            "entropy_sign",
            "entropy_sign",
            ("+ value_loss - entropy", "+ value_loss + entropy"),
        ),
        _wrong(
            "gather_along_rows",
            "wrong_gather",
            ("log_pi.gather(1, ", "log_pi.gather(0, "),
        ),
        _wrong(
            "column_times_row",
            "all_pairs",
            ("actions.unsqueeze(1)).squeeze(1)", "actions.unsqueeze(1))"),
        ),
        _wrong(
            "broadcast_advantage",
            "broadcast_advantage",
            ("self.critic(h).squeeze(-1)", "self.critic(h)"),
        ),
        _wrong(
            "next_state",
            "next_state",
            ("        states.append(state)\n", ""),
            (
                "        rewards.append(reward)\n",
                "        states.append(state)\n        rewards.append(reward)\n",
            ),
        ),
        _wrong(
            "rounded",
            "rounded",
            ("np.array(rewards, dtype=np.float32)", "np.array(rewards, dtype=int)"),
            (
                "returns = torch.tensor(returns)",
                "returns = torch.tensor(returns).float()",
            ),
        ),
        _wrong(
            "probability",
            "probability",
            ("-(log_prob * advantage)", "-(log_prob.exp() * advantage)"),
        ),
        _wrong(
            "state_value_weight",
            "state_value_weight",
            ("(returns - values).detach()", "values.detach()"),
        ),
        _wrong(
            "taken_action_entropy",
            "taken_action_entropy",
            ("-(log_pi.exp() * log_pi).sum(dim=1)", "-log_prob.exp() * log_prob"),
        ),
        _wrong(
            "all_actions",
            "all_actions",
            (
                "log_pi.gather(1, actions.unsqueeze(1)).squeeze(1)",
                "log_pi.sum(dim=1)",
            ),
        ),
    ),
    *_cases(
        "reinforce_baseline",
        "",
        _right(
            "gamma_dropped",
            "gamma_dropped",
            ("-(gamma**t) * delta.detach()", "-delta.detach()"),
        ),
        _wrong("off_by_one", "off_by_one", ("range(t, len(", "range(t + 1, len(")),
        _wrong("gamma_twice", "gamma_twice", ("gamma ** (i - t)", "gamma**i")),
        _wrong("sign", "sign_flipped", ("-(gamma**t)", "(gamma**t)")),
        _wrong(
            "delta_reversed", "sign_flipped", ("delta = g - v(s)", "delta = v(s) - g")
        ),
        _wrong("probability", "probability", ("* pi(s)[a]", "* pi(s)[a].exp()")),
        _wrong(
            "immediate_reward",
            "immediate_reward",
            ("range(t, len(episode))", "range(t, t + 1)"),
        ),
        _wrong(
            "greedy",
            "actions_not_sampled",
            ("torch.multinomial(p, 1).item()", "torch.argmax(p).item()"),
        ),
        _wrong(
            "all_actions",
            "all_actions",
            ("* pi(s)[a]", "* pi(s).mean()"),
        ),
        _wrong(
            "gradients_not_zeroed",
            "gradients_not_zeroed",
            ("            optim_theta.zero_grad()\n", ""),
        ),
    ),
    *_cases(
        "gaussian_actor_critic",
        "gamma_dropped learned_critic",
        _wrong(
            "clipped_action",
            "clipped_action",
            ("path.append((obs, action,", "path.append((obs, clipped,"),
        ),
        _wrong(
            "value_not_detached",
            "value_not_detached",
            ("log_prob * advantage.detach()", "log_prob * advantage"),
        ),
        _wrong(
            "sign",
            "sign_flipped",
            ("actor_loss = -(log_prob", "actor_loss = (log_prob"),
        ),
        _wrong(
            "no_bootstrap_at_window_end",
            "no_bootstrap_at_truncation",
            ("following = next_value[t] if last", "following = 0.0 if last"),
        ),
        _wrong(
            "bootstrap_from_wrong_state",
            "bootstrap_from_wrong_state",
            ("self.net(next_obs)[2]", "self.net(obs)[2]"),
        ),
        _wrong(
            "column_times_row",
            "all_pairs",
            ("log_prob(actions).sum(dim=-1)", "log_prob(actions)"),
        ),
        _wrong(
            "noise_around_mean",
            "actions_not_sampled",
            (
                "        action = Normal(mu, sigma).sample()\n"
                "        return action.numpy()\n",
                "        action = mu + 0.5 * torch.randn_like(mu)\n"
                "        return action.detach().numpy()\n",
            ),
        ),
        _wrong(
            "variance_as_deviation",
            "other_deviation",
            ("Normal(mu, sigma).log_prob", "Normal(mu, sigma**2).log_prob"),
        ),
    ),
)
