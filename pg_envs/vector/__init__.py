"""Vector environments: one batched base class, on NumPy or on torch."""
