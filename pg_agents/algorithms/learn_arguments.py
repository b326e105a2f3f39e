"""Refusals of arguments of `learn`, which SB3 would trip over later or not at all."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.common.checks import check_bool, check_count


def check_learn(
    *,
    callback: object,
    log_interval: object,
    tb_log_name: object,
    reset_num_timesteps: object,
    progress_bar: object,
) -> None:
    """Raises a ValueError or TypeError naming the first argument that won't do."""
    for each in callback if isinstance(callback, list) else [callback]:
        # A class can be called too, and would be taken for a function.
        is_function = callable(each) and not isinstance(each, type)
        if not (isinstance(each, BaseCallback | None) or is_function):
            raise TypeError(
                "callback must be an SB3 callback (an instance), a function of locals "
                f"and globals, a list of these, or None, got {callback!r}"
            )
    if log_interval is not None:
        check_count("log_interval", log_interval)
    if not isinstance(tb_log_name, str | None):
        raise TypeError(f"tb_log_name must be a name or None, got {tb_log_name!r}")
    check_bool("reset_num_timesteps", reset_num_timesteps)
    check_bool("progress_bar", progress_bar)
