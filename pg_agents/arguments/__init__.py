"""Refusals: what was given, what is accepted."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
