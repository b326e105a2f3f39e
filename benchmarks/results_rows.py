"""The rows of docs/results.md, and what has to be said about them."""

from __future__ import annotations

# As shared/SYSTEMS.md has them: a heading and its rows, each named as its recipe.
SECTIONS: dict[str, tuple[str, ...]] = {
    "A. CartPole: policy network, then actor-critic": (
        "random-baseline",
        "cartpole-policy-network",
        "cartpole-two-headed",
        "solved-stop",
        "notebook-view",
        "checkpoint",
    ),
    "B. REINFORCE on CartPole and Pixelcopter": (
        "cartpole-mc",
        "pixelcopter-mc",
        "watch-trained",
        "evaluate",
        "gpu",
    ),
    "C. REINFORCE with a memory": (
        "known-values",
        "reinforce-memory",
        "periodic-evaluator",
        "learning-curve",
        "lunarlander",
    ),
    "D. From a bandit to REINFORCE": (
        "bandit-table",
        "bandit-network",
        "bandit-plots",
        "sequence-reinforce",
        "sequence-explore",
        "inverted-pendulum",
        "fetch-slide",
    ),
    "E. REINFORCE, actor-critic and a list of improvements": (
        "reinforce-128",
        "gaussian-policy",
        "one-step-actor-critic",
        "gae",
        "improvements",
        "improved-lunarlander",
        "compare-networks",
    ),
}

# Why a row is as it is; below its table.
NOTES: dict[str, str] = {
    "cartpole-policy-network": "The notebook states no number of episodes for it; it "
    "gets the 2,000 of its "
    "sibling, and ends as that does. With the probability in place of its "
    "logarithm it does not get there. Beyond the time limit a few episodes much "
    "longer than 500 steps lift the running reward over 475 sooner; the "
    "evaluation, with the limit, is no worse for it.",
    "cartpole-mc": "Of the notebook's figures the last is a single run at its limit of "
    "1,000 steps.",
    "pixelcopter-mc": "The notebook's averages are taken over 100 episodes, as in its "
    "CartPole: at episodes 10,000 to 27,000 such an average of one run has a standard "
    "error of 1.5 to 3 here. In the course's environment a crash costs 4 less; which "
    "of the two the notebook flew is not known. *best* sees the seven numbers of the "
    "original, and *stacked* the last eight observations. Seven tell where the cave "
    "is, not which way it turns behind the next block; with 5 million steps *best* "
    "came to 359 and 42.8, no better and no worse. Flights end at about the "
    "same rate at any time, so the 10th percentile is about a tenth of the mean.",
    "fetch-slide": "The same 100 goals for all four, and the likeliest actions; a "
    "success is one on the last step. The clone is fitted to 600 episodes of the "
    "controller, which were executed with noise. *Does the warm start help?* Yes: in "
    "as many steps nobody learns to slide from nothing, on either reward, and a clone "
    "begins at two thirds of its controller. What learning adds to it in 50,000 steps "
    "is small; on *push* it brings the clone from 0.90 to 0.98. Steps and wall time "
    "are those of learning from the clone alone; to learn from scratch takes as many "
    "again.",
    "reinforce-128": "The notebook reports one run, and runs differ a lot. Its "
    "activation and initial weights are not known. Ours are ReLU, and Glorot's weights "
    "as Keras has them, chosen among five pairs on seeds 10 to 19, where they averaged "
    "166, 381 and 389 at episodes 100, 200 and 220, and torch's own 88, 249 and 188. "
    "From the same episodes its loop in plain torch makes the same weights as ours "
    "(`tests/pg_agents/experiments/test_notebook_loop.py`).",
    "one-step-actor-critic": "The update follows every step, which leaves nothing to "
    "batch: a run takes minutes. Activation, initial weights and gamma of the notebook "
    "are not known; ours (tanh, orthogonal, 0.95) were chosen among nine settings on "
    "seeds 10 to 17. It gets there and then often forgets: an update from a single "
    "step has much noise. The best settings were tuned on seeds 0 to 9; 10 to 19 were "
    "new to them.",
    "improvements": "Clipping and several epochs compare with the policy of the last "
    "rollout, a memory holds those of others, so the list takes two variants; V-trace "
    "makes the advantages of old data right.",
    "compare-networks": "Speed and stability of the runs above, drawn by `pgtoy "
    "compare runs/compare-networks-* --grid docs/networks.png`. Two layers of 64 units "
    "get there soonest, and every time; who gets there early has more steps left to "
    "fall in. Of ten seeds, a share of 80 % has a standard error of 13 points."
    "\n\n![Steps to a mean of 475 and the share of runs that stay there, by layers "
    "and units](networks.png)",
    "gpu": "`docs/speed.md` measures speed.",
}
