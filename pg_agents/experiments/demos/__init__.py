"""The rows that are shown or checked: functions of a `ShowRequest`, by name."""
