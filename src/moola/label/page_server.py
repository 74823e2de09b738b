"""The application behind the page: its requests, what guards them, and the loopback port it is served on."""

from __future__ import annotations

import json
import mimetypes
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moola import __version__
from moola.errors import InvalidData, LabelConflict, MoolaError, OperationFailed, UntrustedFile, WrongUsage
from moola.label.page_chart import make_chart_router
from moola.label.page_fields import REFUSALS, Annotator, AskedAnnotator, ClassName
from moola.label.page_state import PageState
from moola.labels.label_positions import Mark

# Checks before every request: this machine's own page and nobody else, and no body that could fill memory.


MAX_BODY_BYTES = 1_000_000
HEADERS = {
    b"content-security-policy": b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"object-src 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class TooLarge(Exception):
    """A body above the limit."""


class Guard:
    """Refuses a foreign Host or Origin (403), a large body (413) and a body that is not JSON by its type (415).

    A page of another site that a browser has open can reach loopback too, by its own name for it (DNS rebinding) or
    by a form: the Host and the Origin give both away, and a form cannot send JSON.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        # Browsers leave the port of http out.
        self.hosts |= {"127.0.0.1", "localhost"} if port == 80 else set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head, read the body up to the limit, then pass the request on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in HEADERS]
                message = {**message, "headers": [*kept, *HEADERS.items()]}
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            try:
                body = await _read(receive)
            except TooLarge:
                refused = (413, f"a body must have at most {MAX_BODY_BYTES:,} bytes. Send less.")
        if refused is not None:
            await _answer(guarded, *refused)
            return
        await self.app(scope, _once(body, receive), guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = headers.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return 403, "the Host must be this machine's loopback address and port. Open the address that was printed."
        for origin in headers.get("origin", []):
            if origin.lower() not in {f"http://{name}" for name in self.hosts}:
                return 403, "the Origin must be this page's own. Open the address that was printed."
        length = headers.get("content-length", ["0"])[0]
        if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > MAX_BODY_BYTES:
            return 413, f"a body must have at most {MAX_BODY_BYTES:,} bytes. Send less."
        kind = headers.get("content-type", [""])[0].split(";")[0].strip().lower()
        if scope["method"] in ("PUT", "POST", "PATCH") and kind != "application/json":
            return 415, "a body must be application/json. Set Content-Type."
        return None


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, status: int, error: str) -> None:
    content: dict[str, Any] = {"error": error}
    body = json.dumps(content).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


# The requests of the page: JSON in, JSON out, bar positions instead of times.


MAX_MARKS = 20


class MarkIn(BaseModel):
    """One expansion: inclusive bar positions inside the window."""

    model_config = ConfigDict(extra="forbid", strict=True)
    start: Annotated[int, Field(ge=0, le=100_000)]
    end: Annotated[int, Field(ge=0, le=100_000)]
    label: ClassName


class LabelIn(BaseModel):
    """A person's label of a window, and the revision that it was based on."""

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


def make_router(page_state: PageState) -> APIRouter:
    """Return the requests over one page; ids may hold any character, a slash included."""
    router = APIRouter(prefix="/api", responses=REFUSALS)

    def known(window_id: str) -> str:
        if not page_state.knows(window_id):
            raise HTTPException(404, f"there is no window {window_id[:100]!r} here. Load the page again.")
        return window_id

    @router.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "n_windows": len(page_state.window_list)}

    @router.get("/settings")
    async def settings() -> dict[str, Any]:
        return page_state.settings()

    @router.get("/next")
    async def next_window(
        annotator: AskedAnnotator,
        queue: Annotated[str, Query(max_length=40)] = "time",
        after: Annotated[str | None, Query(max_length=400)] = None,
        assist: bool = False,
    ) -> JSONResponse:
        # Some hundred bars: without a response of its own each number would be walked over twice.
        return JSONResponse(page_state.next(queue, annotator, after, assist))

    @router.get("/progress")
    async def progress(annotator: AskedAnnotator) -> dict[str, Any]:
        return page_state.progress(annotator)

    @router.get("/window/{window_id:path}")
    async def window(window_id: str, annotator: AskedAnnotator, assist: bool = False) -> JSONResponse:
        return JSONResponse(page_state.window(known(window_id), annotator, assist))

    @router.get("/review")
    async def review(annotator: AskedAnnotator) -> dict[str, Any]:
        return page_state.review.of(annotator)

    @router.get("/opinions/{window_id:path}")
    async def opinions(window_id: str, annotator: AskedAnnotator) -> dict[str, Any]:
        return {"opinions": page_state.review.opinions(known(window_id), annotator)}

    @router.put("/label/{window_id:path}")
    async def save(window_id: str, label: LabelIn) -> dict[str, Any]:
        marks = [Mark(mark.start, mark.end, mark.label) for mark in label.expansions]
        texts = {"grade": label.grade, "reason": label.reason, "note": label.note}
        saved = page_state.save(known(window_id), label.annotator, label.status, marks, texts, label.expected_revision)
        return {"label": saved, "warnings": page_state.warnings(marks)}

    @router.post("/undo/{window_id:path}")
    async def undo(window_id: str, asked: UndoIn) -> dict[str, Any]:
        return {"label": page_state.undo(known(window_id), asked.annotator, asked.expected_revision)}

    return router


LOOPBACK = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
STATUS = {WrongUsage: 422, InvalidData: 422, UntrustedFile: 503, OperationFailed: 503}
# Some systems call scripts plain text, and then no browser runs them.
SCRIPT_ENDINGS = (".js", ".mjs")


def make_app(page_state: PageState, port: int) -> FastAPI:
    """Return the application for one page, which answers under this port of loopback alone.

    Errors are JSON `{"error": ...}`: 400 for what is no JSON, 403 foreign Host or Origin, 404 no such window, 409
    another save was first (with `current`, the current label), 413 too large, 415 not JSON by its type, 422 a
    broken rule, 503 the store could not be written and nothing was changed.
    """
    for ending in SCRIPT_ENDINGS:
        mimetypes.add_type("text/javascript", ending)
    # The documentation pages would load scripts from elsewhere.
    app = FastAPI(title="moola label", version=__version__, docs_url=None, redoc_url=None)
    app.state.page_state = page_state
    app.add_middleware(Guard, port=port)
    app.include_router(make_router(page_state))
    app.include_router(make_chart_router(page_state))
    app.mount("/", StaticFiles(directory=STATIC, html=True))

    @app.exception_handler(LabelConflict)
    async def conflict(_: Request, error: LabelConflict) -> JSONResponse:
        return JSONResponse({"error": str(error), "current": page_state.label_content(error.current)}, 409)

    @app.exception_handler(MoolaError)
    async def failed(_: Request, error: MoolaError) -> JSONResponse:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        malformed = any(problem["type"] == "json_invalid" for problem in problems)
        found = "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in problems[:5])
        return JSONResponse({"error": f"a request must obey its schema, but {found}."}, 400 if malformed else 422)

    @app.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    return app


def bind(port: int) -> socket.socket:
    """Take a port of loopback, never of another address; 0 takes any that is free.

    Raises
    ------
    WrongUsage
        There is no such port.
    OperationFailed
        The port is taken.
    """
    if not 0 <= port <= 65535:
        raise WrongUsage(f"--port must be 0 to 65535, but it is {port}. Leave it out for 8765.")
    # Named as TCP: asyncio sends small answers at once only then, and a window would wait 40 ms for its last bytes.
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((LOOPBACK, port))
        # From now on, so that the printed address can be opened at once.
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise OperationFailed(
            f"port {port} of {LOOPBACK} must be free, but {error.strerror or error}. Give another --port, or 0 for any."
        ) from error
    return taken


def serve(page_state: PageState, place: socket.socket) -> None:
    """Serve until interrupted; a request that is being answered is answered first."""
    port = int(place.getsockname()[1])
    config = uvicorn.Config(
        make_app(page_state, port),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[place])


def described(page_state: PageState, port: int) -> dict[str, Any]:
    """Return what the command prints when the page is up."""
    where = {"url": f"http://{LOOPBACK}:{port}/", "store": str(page_state.store.path)}
    return json.loads(json.dumps(where | page_state.settings()))
