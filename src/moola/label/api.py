"""The requests of the page: JSON in, JSON out, bar positions instead of times."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from moola import __version__
from moola.label.desk import Desk
from moola.pipeline.labels.places import Mark

Annotator = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
]
ClassName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")
]
MAX_MARKS = 20


class MarkIn(BaseModel):
    """One expansion: inclusive bar positions inside the window."""

    model_config = ConfigDict(extra="forbid", strict=True)
    start: Annotated[int, Field(ge=0, le=100_000)]
    end: Annotated[int, Field(ge=0, le=100_000)]
    label: ClassName


class LabelIn(BaseModel):
    """What a person says of a window, and the revision it was said on."""

    model_config = ConfigDict(extra="forbid", strict=True)
    annotator: Annotator
    expected_revision: Annotated[int, Field(ge=0, le=2**53)]
    status: Literal["labelled", "rejected", "skipped"]
    grade: Literal["", "A", "B", "C", "D"] = ""
    reason: Annotated[str, StringConstraints(max_length=200)] = ""
    note: Annotated[str, StringConstraints(max_length=4000)] = ""
    expansions: Annotated[list[MarkIn], Field(max_length=MAX_MARKS)] = []


class UndoIn(BaseModel):
    """Whose last save to take back, and the revision it was."""

    model_config = ConfigDict(extra="forbid", strict=True)
    annotator: Annotator
    expected_revision: Annotated[int, Field(ge=0, le=2**53)]


class Refusal(BaseModel):
    """Why a request was refused, and what to do."""

    error: str


class Conflict(Refusal):
    """Another save was first: the label that stands."""

    current: dict[str, Any] | None


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Refusal, "description": description}
    for code, description in {
        400: "The body is no JSON",
        403: "A foreign Host or Origin",
        404: "No such window",
        413: "The body is too large",
        415: "The body is not JSON by its type",
        422: "A rule is broken",
        503: "The store could not be written; nothing was changed",
    }.items()
}
REFUSALS[409] = {"model": Conflict, "description": "Another save was first"}


def make_router(desk: Desk) -> APIRouter:
    """Return the requests over one desk; ids may hold any character, a slash included."""
    router = APIRouter(prefix="/api", responses=REFUSALS)

    def known(window_id: str) -> str:
        if not desk.knows(window_id):
            raise HTTPException(404, f"there is no window {window_id[:100]!r} here. Load the page again.")
        return window_id

    @router.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "n_windows": len(desk.shelf)}

    @router.get("/settings")
    async def settings() -> dict[str, Any]:
        return desk.settings()

    @router.get("/next")
    async def next_window(
        annotator: Annotated[Annotator, Query()],
        queue: Annotated[str, Query(max_length=40)] = "time",
        after: Annotated[str | None, Query(max_length=400)] = None,
        assist: bool = False,
    ) -> JSONResponse:
        # Some hundred bars: without a response of its own each number would be walked over twice.
        return JSONResponse(desk.next(queue, annotator, after, assist))

    @router.get("/progress")
    async def progress(annotator: Annotated[Annotator, Query()]) -> dict[str, Any]:
        return desk.progress(annotator)

    @router.get("/window/{window_id:path}")
    async def window(window_id: str, annotator: Annotated[Annotator, Query()], assist: bool = False) -> JSONResponse:
        return JSONResponse(desk.window(known(window_id), annotator, assist))

    @router.get("/review")
    async def review(annotator: Annotated[Annotator, Query()]) -> dict[str, Any]:
        return desk.review.of(annotator)

    @router.get("/opinions/{window_id:path}")
    async def opinions(window_id: str, annotator: Annotated[Annotator, Query()]) -> dict[str, Any]:
        return {"opinions": desk.review.opinions(known(window_id), annotator)}

    @router.put("/label/{window_id:path}")
    async def save(window_id: str, label: LabelIn) -> dict[str, Any]:
        marks = [Mark(mark.start, mark.end, mark.label) for mark in label.expansions]
        texts = {"grade": label.grade, "reason": label.reason, "note": label.note}
        saved = desk.save(known(window_id), label.annotator, label.status, marks, texts, label.expected_revision)
        return {"label": saved, "warnings": desk.warnings(marks)}

    @router.post("/undo/{window_id:path}")
    async def undo(window_id: str, asked: UndoIn) -> dict[str, Any]:
        return {"label": desk.undo(known(window_id), asked.annotator, asked.expected_revision)}

    return router
