"""What Gymnasium's vector environments give, as SB3 and the rollout take it."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
