"""The command `pgtoy`."""
