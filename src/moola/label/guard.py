"""What stands before every request: this machine's own page and nobody else, and no body that could fill memory."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        """Judge the head, read the body up to the limit, then hand on."""
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
            return 415, "a body must be application/json. Say so in Content-Type."
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
