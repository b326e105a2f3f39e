"""Checkpoints: training state, files, weights."""
