"""Refusals of records that a plot can't be made of."""

from collections.abc import Sequence

from pg_agents.callbacks.recorder import TrainingRecord


def check_records(records: Sequence[TrainingRecord], field: str, hint: str) -> None:
    """Refuse an empty list of runs, and runs that lack what is to be drawn.

    Args:
        records: One record for each run.
        field: Name of the `TrainingRecord` array that is needed.
        hint: What to do when it is empty.

    Raises:
        ValueError: If there are no records, or ``field`` of one is empty.
    """
    if len(records) == 0:
        raise ValueError("at least one TrainingRecord is needed, got an empty list")
    for run, record in enumerate(records):
        if getattr(record, field).size == 0:
            raise ValueError(f"run {run} has no {field}; {hint}")


def check_probabilities(records: Sequence[TrainingRecord]) -> tuple[int, int]:
    """Check that all runs hold action probabilities of the same shape.

    Args:
        records: One record for each run.

    Returns:
        The numbers of observations K and of actions A.

    Raises:
        ValueError: If there are no records, one has no probabilities, or the runs
            disagree in K or A.
    """
    hint = "record them with Recorder(observations=...)"
    check_records(records, "action_probabilities", hint)
    shapes = [record.action_probabilities.shape[1:] for record in records]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"all runs must have the same observations and actions, got [K, A] of "
            f"{shapes}"
        )
    n_observations, n_actions = shapes[0]
    return n_observations, n_actions


def resolve_names(
    names: Sequence[str] | None, n_needed: int, what: str
) -> Sequence[str]:
    """The given names, checked; numbered ones where none are given.

    Args:
        names: The names, or None.
        n_needed: How many there have to be.
        what: What they name, in the singular, such as ``"observation"``.

    Returns:
        ``n_needed`` names.

    Raises:
        ValueError: If there are more or fewer names than needed.
    """
    if names is None:
        return [f"{what} {number}" for number in range(n_needed)]
    if isinstance(names, str) or len(names) != n_needed:
        raise ValueError(
            f"{n_needed} {what} names are needed, one for each {what} of the record, "
            f"got {names!r}"
        )
    return names
