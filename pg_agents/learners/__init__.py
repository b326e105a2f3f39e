"""Many independent learners as one batch of arrays."""
