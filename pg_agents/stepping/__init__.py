"""A rollout's steps: how they are taken, and whose business they are."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
