"""Answers of students: right ones in several styles, and typical wrong ones.

Each module belongs to one exercise. `RIGHT` are right answers; `WRONG` are wrong ones by
the key of the hint that they must get. They were written by the author of the checker;
those in `tests/pg_agents/exercises/unseen` by another one, who saw instructions and stubs
alone.
"""
