"""A rollout's steps: how they are taken, and whose business they are."""
