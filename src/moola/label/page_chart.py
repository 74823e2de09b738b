"""The requests of the page's chart: bars at a level of detail, spans and stretches in and out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from moola.core.expansions import PRIOR_BARS
from moola.label.chart_state import BarSpan, Change
from moola.label.page_fields import REFUSALS, Annotator, AskedAnnotator, ClassName
from moola.label.page_state import PageState

MOST_CHANGES = 500
Bar = Annotated[int, Field(ge=0, le=2**40)]
Symbol = Annotated[str, StringConstraints(max_length=100)]
AskedBar = Annotated[int, Query(ge=0, le=2**40)]
AskedSymbol = Annotated[str, Query(max_length=100)]
PieceIn = tuple[Bar, Bar]
Pieces = Annotated[list[PieceIn], Field(max_length=MOST_CHANGES)]


class SpanIn(BaseModel):
    """One span: inclusive bars of its symbol."""

    model_config = ConfigDict(extra="forbid", strict=True)
    start: Bar
    end: Bar
    label: ClassName
    note: Annotated[str, StringConstraints(max_length=4000)] = ""
    source: Literal["", "accepted", "corrected"] = ""

    def span(self) -> BarSpan:
        """Return it as the page knows it."""
        return BarSpan(self.start, self.end, self.label, self.note, self.source)


Spans = Annotated[list[SpanIn], Field(max_length=MOST_CHANGES)]


class ChangeIn(BaseModel):
    """What one save takes away and adds, and the revision that it was based on."""

    model_config = ConfigDict(extra="forbid")
    annotator: Annotator
    symbol: Symbol
    expected_revision: Annotated[int, Field(ge=0, le=2**53)]
    remove: Pieces = []
    add: Spans = []
    unsee: Pieces = []
    see: Pieces = []
    unreject: Pieces = []
    reject: Spans = []

    def change(self) -> Change:
        """Return it as the page knows it."""
        return Change(
            tuple(self.remove),
            tuple(one.span() for one in self.add),
            tuple(self.unsee),
            tuple(self.see),
            tuple(self.unreject),
            tuple(one.span() for one in self.reject),
        )


class RenameIn(BaseModel):
    """Another name for a class of one's own spans."""

    model_config = ConfigDict(extra="forbid", strict=True)
    annotator: Annotator
    old: ClassName
    new: ClassName


class FilesIn(BaseModel):
    """What to write, of whose labels."""

    model_config = ConfigDict(extra="forbid", strict=True)
    annotator: Annotator
    what: Literal["spans", "windows", "label-studio", "train"]


def make_chart_router(page_state: PageState) -> APIRouter:
    """Return the requests of the chart over one page."""
    router = APIRouter(prefix="/api/chart", responses=REFUSALS)
    _add_labels(router, page_state)
    _add_proposals(router, page_state)
    return router


def _add_labels(router: APIRouter, page_state: PageState) -> None:
    @router.get("")
    async def chart() -> dict[str, Any]:
        classes = list(dict.fromkeys([*page_state.classes, *page_state.chart.classes()]))
        has_volume = page_state.volume is not None
        symbols = page_state.chart.bars.symbols()
        return {"symbols": symbols, "classes": classes, "has_volume": has_volume, "prior_bars": PRIOR_BARS}

    @router.get("/bars")
    def bars(
        first: AskedBar, last: AskedBar, symbol: AskedSymbol = "", each: Annotated[int, Query(ge=1, le=2**40)] = 1
    ) -> JSONResponse:
        return JSONResponse(page_state.chart.bars.piece(symbol, first, last, each))

    @router.get("/place")
    def place(time_us: Annotated[int, Query(ge=-(2**62), le=2**62)], symbol: AskedSymbol = "") -> dict[str, int]:
        return {"bar": page_state.chart.bars.bar_at(symbol, time_us)}

    @router.get("/labels")
    def labels(annotator: AskedAnnotator, symbol: AskedSymbol = "") -> JSONResponse:
        return JSONResponse(page_state.chart.labels(symbol, annotator))

    @router.post("/labels")
    def change(asked: ChangeIn) -> JSONResponse:
        found = page_state.chart.change(asked.symbol, asked.annotator, asked.expected_revision, asked.change())
        return JSONResponse(found)

    @router.post("/rename")
    def rename(asked: RenameIn) -> dict[str, int]:
        return {"renamed": page_state.chart.rename(asked.annotator, asked.old, asked.new)}

    @router.get("/all")
    def everything() -> JSONResponse:
        return JSONResponse({"spans": page_state.chart.all()})


def _add_proposals(router: APIRouter, page_state: PageState) -> None:
    @router.get("/proposals")
    def proposals(
        annotator: AskedAnnotator,
        symbol: AskedSymbol = "",
        around: AskedBar = 0,
        version: Annotated[int, Query(ge=-1, le=2**53)] = -1,
    ) -> JSONResponse:
        return JSONResponse(page_state.learner.status(symbol, annotator, around, version))

    @router.get("/next")
    def next_place(
        annotator: AskedAnnotator,
        queue: Literal["mixed", "unsure", "different", "errors", "annotators", "unseen"],
        symbol: AskedSymbol = "",
        after: Annotated[int, Query(ge=-(2**40), le=2**40)] = 0,
    ) -> JSONResponse:
        return JSONResponse(page_state.learner.next(symbol, annotator, queue, after))

    @router.get("/similar")
    def similar(
        start: AskedBar, end: AskedBar, label: Annotated[ClassName, Query()], symbol: AskedSymbol = ""
    ) -> JSONResponse:
        return JSONResponse(page_state.learner.like(symbol, start, end, label))

    @router.post("/files")
    def write(asked: FilesIn) -> JSONResponse:
        return JSONResponse(page_state.files.start(asked.what, asked.annotator))

    @router.get("/files")
    def written() -> JSONResponse:
        return JSONResponse(page_state.files.status())
