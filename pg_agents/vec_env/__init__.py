"""Gymnasium vector environments as SB3's."""
