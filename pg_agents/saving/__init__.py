"""Files that models and environments are kept in, and going on from them."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
