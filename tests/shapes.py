"""What every test run checks that mypy cannot see: shapes and kinds of arrays, in each call that states them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from beartype import beartype

STATED = re.compile(r"\[(np\.ndarray|ndarray|Tensor)\b|\b(Weights|Values|Sets|Mask)\b")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arrays; other types are mypy's to check."""
    stated = {name: hint for name, hint in function.__annotations__.items() if STATED.search(str(hint))}
    if not stated:
        return function
    function.__annotations__ = stated
    return beartype(function)
