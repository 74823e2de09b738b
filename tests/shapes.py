"""What every test run checks that mypy cannot see: shapes and kinds of arrays, in each call that states them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

STATED = re.compile(r"\[(np\.ndarray|ndarray|Tensor)\b|\b(Weights|Values|Sets|Mask)\b")
_jaxtyped = jaxtyping.jaxtyped


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arrays; other types are mypy's to check."""
    stated = {name: hint for name, hint in function.__annotations__.items() if STATED.search(str(hint))}
    if not stated:
        return function
    function.__annotations__ = stated
    return beartype(function)


def states_arrays(item: Any) -> bool:
    """Return whether a function, method or dataclass has an array among its annotations.

    Not so for functions inside functions: they would be decorated again at each call of what is around them.
    """
    if "<locals>" in getattr(item, "__qualname__", ""):
        return False
    for inner in ("__func__", "fget"):
        item = getattr(item, inner, None) or item
    return any(STATED.search(str(hint)) for hint in getattr(item, "__annotations__", {}).values())


def where_stated(*, typechecker: Any) -> Callable[[Any], Any]:
    """Decorate what states arrays, and leave the rest as it is: the decorator alone would cost every call."""
    decorate = _jaxtyped(typechecker=typechecker)
    return lambda item: decorate(item) if states_arrays(item) else item


# What the import hook puts before every function, by this name.
jaxtyping.jaxtyped = where_stated
