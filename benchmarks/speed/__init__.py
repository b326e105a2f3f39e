"""How fast it is: every line of docs/speed.md, measured side by side."""
