"""Refusals: what was given, what is accepted."""
