"""The rows that are shown or checked: functions of a `ShowRequest`, by name."""

from pg_agents.lazy import load_lazily

load_lazily(__name__)
