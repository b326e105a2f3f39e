"""Rollouts: the loop over environment steps, and the buffer it fills."""
