"""Answers of students: right ones in several styles, and typical wrong ones.

Each module belongs to one exercise. `RIGHT` are right answers, `WRONG` wrong ones by
the key of the hint that they must get. The author of the checker wrote them. Those in
`tests/pg_agents/exercises/unseen` are by another author, who saw instructions and stubs
alone, and are kept as they came.
"""
