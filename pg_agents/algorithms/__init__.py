"""The algorithms: one config, one base with SB3's interface, and two constructors."""
