"""Fields that several of the page's requests have, and how each of them may be refused."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, StringConstraints

Annotator = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
]
AskedAnnotator = Annotated[Annotator, Query()]
ClassName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")
]


class Refusal(BaseModel):
    """Why a request was refused, and what to do."""

    error: str


class Conflict(Refusal):
    """Another save came first: the current label."""

    current: dict[str, Any] | None


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Refusal, "description": description}
    for code, description in {
        400: "The body is not JSON",
        403: "A foreign Host or Origin",
        404: "No such window",
        413: "The body is too large",
        415: "The body is not JSON by its type",
        422: "A rule is broken",
        503: "The store could not be written; nothing was changed",
    }.items()
}
REFUSALS[409] = {"model": Conflict, "description": "Another save was first"}
