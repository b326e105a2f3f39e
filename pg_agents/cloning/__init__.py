"""Demonstrations, and policies that are fitted to them before they learn."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
