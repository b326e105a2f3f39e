"""Policies and distributions with SB3's interface."""
