"""Why something differs from A2C, and what A2C does not have: for docs/sb3.md.

A key is the group of a section of that page and the name of a row. The test of the page
fails if a row that differs has no reason, or a reason has no such row.
"""

from __future__ import annotations

Texts = dict[tuple[str, str], str]

_NO_CRITIC = "there is a critic only with `baseline='value'`"
_LEFT_OVER = (
    "in `A2C` what a loop over environments leaves behind, of one of them; here there "
    "is no such loop"
)
_VALUED_AT_ONCE = (
    "in `A2C` left behind by valuing truncated episodes one by one; here all are "
    "valued at once after the rollout: `rollout_buffer.final_observations()` and "
    "`.next_values`"
)
_AT_ONCE = (
    "acting does not need it; computed for all steps at once when the rollout is over: "
    "`rollout_buffer.{}` in `_on_rollout_end`"
)
_FACTS = (
    "the buffer stores what happened and edits nothing; it is filled by "
    "`collect_rollouts` and completed by `finish()`"
)
_OWN_BUFFER = (
    "a buffer of facts, which edits no reward; read, its columns are those of SB3's, "
    "see below"
)
_ACTIONS = (
    "the actions as in `_on_step`; `A2C` has given them the axis of its buffer by then"
)
_INTEGERS = "integers, as the policy takes them; `A2C` turns them into floats and back"

REASONS: Texts = {
    ("constructor", "learning_rate"): "Adam's; that of `A2C` is for RMSprop",
    ("constructor", "n_steps"): "whole episodes (`n_episodes=1`) unless it is given",
    ("constructor", "gae_lambda"): "Monte-Carlo returns have no lambda",
    ("constructor", "max_grad_norm"): "clipping would bias the gradient",
    ("constructor", "rms_prop_eps"): (
        "the optimiser is the policy's; `policy_kwargs` takes another"
    ),
    ("constructor", "use_rms_prop"): (
        "the optimiser is the policy's; `policy_kwargs` takes another"
    ),
    ("constructor", "(order)"): "an order of its own: pass arguments by name",
    ("methods", "learn(tb_log_name)"): "None is the name of the class, also of yours",
    ("attributes", "learning_rate"): "Adam's; that of `A2C` is for RMSprop",
    ("attributes", "max_grad_norm"): "clipping would bias the gradient",
    ("attributes", "n_steps"): "whole episodes, see `n_episodes`",
    ("attributes", "policy_aliases"): "`TabularPolicy` besides",
    ("attributes", "policy_kwargs"): (
        "stays what the caller passed; `A2C` writes its optimiser into that dict"
    ),
    ("attributes", "rollout_buffer"): _OWN_BUFFER,
    ("attributes", "rollout_buffer_class"): _OWN_BUFFER,
    ("policies", "MlpPolicy"): _NO_CRITIC,
    ("policies", "CnnPolicy"): _NO_CRITIC,
    ("policies", "MultiInputPolicy"): _NO_CRITIC,
    ("locals", "done"): _LEFT_OVER,
    ("locals", "idx"): _LEFT_OVER,
    ("locals", "terminal_obs"): _VALUED_AT_ONCE,
    ("locals", "terminal_value"): _VALUED_AT_ONCE,
    ("locals", "values"): _AT_ONCE.format("values"),
    ("locals", "log_probs"): _AT_ONCE.format("log_probs"),
    ("locals", "n_rollout_steps"): "None: the rollout is a number of episodes",
    ("locals", "rollout_buffer"): _OWN_BUFFER,
    ("locals", "tb_log_name"): "the name of the class",
    ("locals", "actions"): _ACTIONS,
    ("locals", "clipped_actions, MultiBinary"): (
        "of the dtype of the action space, as an environment may insist on"
    ),
    ("logger", "train/explained_variance"): _NO_CRITIC,
    ("logger", "train/value_loss"): _NO_CRITIC,
    ("buffer", "add()"): _FACTS,
    ("buffer", "extend()"): _FACTS,
    ("buffer", "compute_returns_and_advantage()"): _FACTS,
    ("samples", "actions, Discrete"): _INTEGERS,
    ("samples", "actions, MultiDiscrete"): _INTEGERS,
    ("samples", "observations, Discrete"): "a number has no axis of its own",
    ("samples", "observations, Dict"): "a number has no axis of its own",
}

# Where the documentation of an argument does not say it in its first sentence.
EXTRAS: Texts = {
    ("constructor", "estimator"): (
        "where the rewards end and the critic's value begins: `'td'`, `'n_step'`, "
        "`'gae'`"
    ),
    ("constructor", "returns"): (
        "what an action counts for: `'reward_to_go'` or `'full_return'`"
    ),
    ("policy_kwargs", "critic"): (
        "`'separate'` (SB3's), `'shared'` (one body, two heads) or `'none'`"
    ),
    ("attributes", "algorithm"): "name of the class, for `load` to know its own",
    ("attributes", "memory"): "remembered rollouts, or None",
    ("attributes", "target_policy"): "slow copy of the policy, or None",
    ("policies", "TabularPolicy"): "a table of logits, for `Discrete` observations",
    ("locals", "act"): "the function that draws the actions in this rollout",
    ("locals", "actions_tensor"): "`actions` before they left the device",
    ("locals", "going_on"): "False once a callback has asked to stop",
    ("locals", "quota"): "when the rollout is full, and whose steps belong to it",
    ("locals", "outcome"): (
        "all that followed the actions: who terminated, was truncated, met the cap, "
        "took a dummy step"
    ),
    ("locals", "recorded"): "whose step belongs to the rollout; None: everybody's",
    ("locals", "seen"): (
        "the observations as the buffer stores them: themselves, or numbers of rows of "
        "a table"
    ),
    ("locals", "steps"): "what steps the environment: by SB3's interface or in arrays",
    ("logger", "train/loss"): "the whole loss, as PPO logs it",
    ("logger", "train/approx_kl"): (
        "with `clip_range` or `target_kl`: how far the policy has moved, as PPO logs it"
    ),
    ("logger", "train/clip_fraction"): (
        "with `clip_range`: share of ratios beyond it, as PPO logs it"
    ),
    ("logger", "train/clip_range"): "with `clip_range`: what it is now",
    ("logger", "train/clip_range_vf"): "with `clip_range_vf`: what it is now",
    ("logger", "train/ent_coef"): "with a schedule as `ent_coef`: what it is now",
    ("logger", "train/critic_learning_rate"): (
        "with `critic_learning_rate`: what it is now"
    ),
    ("logger", "train/memory_steps"): "with `memory_size`: steps in the memory",
    ("logger", "rollout/idle_fraction"): (
        "share of steps of environments that had done their episodes"
    ),
    ("buffer", "recorded"): "which steps are learnt from",
    ("buffer", "terminated"): "ended by the task's own rules",
    ("buffer", "truncated"): "cut off by a time limit or the cap",
    ("buffer", "episode_steps"): "actions taken before in the same episode",
    ("buffer", "next_values"): "value of the state that truly followed",
    ("buffer", "facts"): "the complete rollout as tensors",
    ("buffer", "estimates"): "returns and advantages as tensors, `[T, N]`",
    ("buffer", "has_masks"): "whether there are steps that are not learnt from",
    ("buffer", "targets"): "returns of the steps that are learnt from, `[B]`",
    ("samples", "n_samples"): "what a sum over the batch is divided by",
    ("samples", "standardized"): "whether that has been done to a mini-batch",
}
