"""Demonstrations, and policies that are fitted to them before they learn."""
