"""What was tried where a line is missed; its profile shows where the time goes."""

from __future__ import annotations

FEW = (
    "Done: no critic and no `torch.distributions` while acting, one forward for values "
    "and update, one vector for RMSprop and for clipping, arrays filled in place, no "
    "deep copies of infos. What is left is mostly not ours: the step of CartPole "
    "through Gymnasium's wrappers and `Monitor` (the more, the more environments), and "
    "the calls of two small networks forward and back."
)
LOOP = (
    "What is left is the step of CartPole through `Monitor` and `DummyVecEnv`, which "
    "the loop does without, and one forward of the policy a step."
)
ALONE = (
    "At 1,024 environments a vector step has some fifty small operations beside the "
    "networks (motion, ends, draws, columns), each of which costs more to call than to "
    "compute; at 8,192 they no longer count. Done: the update learns from the forward "
    "that acted, a vector step at a time, whose activations the cache has room for; "
    "that is how it can be quicker than torch alone, which computes both. Tried: "
    "torch.compile of acting took longer than acting. Not tried: CUDA graphs."
)
TABLES = (
    "The target comes from a machine on which torch alone made 1.29 M steps/s on the "
    "batch of 8,192 environments: compare with that line above. Done: look-ups of "
    "whole steps, sums by (observation, action), draws of 31 bits from "
    "NumPy's SFC64, no comparisons (torch writes bools slowly), memory taken once. "
    "What is left is passes over memory, the look-ups first."
)
JAX = (
    "A rollout is 128 vector steps, called from Python one by one, where JAX runs them "
    "as one compiled program: with 64 environments the calls cost more than what they "
    "compute. Done: the update learns from the forward that acted; mini-batches are "
    "learnt from in parts that stay in the cache. Tried: torch.compile of acting took "
    "longer than acting."
)
