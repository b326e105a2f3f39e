"""Returns, advantages, losses and the update."""
