"""Checks a whole training script, without any edit."""
