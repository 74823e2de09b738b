"""The application behind the page, and the loopback port it is served on."""

from __future__ import annotations

import json
import mimetypes
import socket
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from moola import __version__
from moola.errors import InvalidData, LabelConflict, MoolaError, OperationFailed, UntrustedFile, WrongUsage
from moola.label.api import make_router
from moola.label.desk import Desk
from moola.label.guard import Guard

LOOPBACK = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
STATUS = {WrongUsage: 422, InvalidData: 422, UntrustedFile: 503, OperationFailed: 503}
# Some systems call scripts plain text, and then no browser runs them.
SCRIPT_ENDINGS = (".js", ".mjs")


def make_app(desk: Desk, port: int) -> FastAPI:
    """Return the application for one desk, which answers under this port of loopback alone.

    Errors are JSON `{"error": ...}`: 400 for what is no JSON, 403 foreign Host or Origin, 404 no such window, 409
    another save was first (with `current`, the label that stands), 413 too large, 415 not JSON by its type, 422 a
    broken rule, 503 the store could not be written and nothing was changed.
    """
    for ending in SCRIPT_ENDINGS:
        mimetypes.add_type("text/javascript", ending)
    # The documentation pages would load scripts from elsewhere.
    app = FastAPI(title="moola label", version=__version__, docs_url=None, redoc_url=None)
    app.state.desk = desk
    app.add_middleware(Guard, port=port)
    app.include_router(make_router(desk))
    app.mount("/", StaticFiles(directory=STATIC, html=True))

    @app.exception_handler(LabelConflict)
    async def conflict(_: Request, error: LabelConflict) -> JSONResponse:
        return JSONResponse({"error": str(error), "current": desk.told(error.current)}, 409)

    @app.exception_handler(MoolaError)
    async def failed(_: Request, error: MoolaError) -> JSONResponse:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        malformed = any(problem["type"] == "json_invalid" for problem in problems)
        told = "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in problems[:5])
        return JSONResponse({"error": f"a request must obey its schema, but {told}."}, 400 if malformed else 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
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
        # From now on, so that whoever reads the printed address may connect at once.
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise OperationFailed(
            f"port {port} of {LOOPBACK} must be free, but {error.strerror or error}. Give another --port, or 0 for any."
        ) from error
    return taken


def serve(desk: Desk, place: socket.socket) -> None:
    """Serve until interrupted; a request that is being answered is answered first."""
    port = int(place.getsockname()[1])
    config = uvicorn.Config(
        make_app(desk, port), log_config=None, log_level="warning", access_log=False, server_header=False, ws="none"
    )
    uvicorn.Server(config).run(sockets=[place])


def described(desk: Desk, port: int) -> dict[str, Any]:
    """Return what the command prints when the page is up."""
    told = {"url": f"http://{LOOPBACK}:{port}/", "store": str(desk.store.path)}
    return json.loads(json.dumps(told | desk.settings()))
