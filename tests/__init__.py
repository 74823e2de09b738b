"""Tests of moola. The checker of shapes is here so that pytest's option finds it (pyproject.toml)."""

from tests import shapes as shapes
