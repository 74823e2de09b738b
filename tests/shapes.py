"""What checks types and shapes in every test run: each call of moola, against its own annotations."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# An int is a float to Python's typing, as it is to mypy.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
