"""The event log as server-sent events, for as many readers as there are, each from its own place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trine.access.audit import list_events
from trine.errors import InvalidInput, TrineError
from trine.ledger.events import Event, checkpoint
from trine.workspace import Workspace

log = logging.getLogger("trine.server")

POLL_S = 0.25
"""How long another process's event may take to be seen; this process's own are seen at once."""

KEEP_ALIVE_S = 15.0
BATCH = 500


class Stream:
    """One look at the head of the log for all readers together."""

    def __init__(self, ws: Workspace, allowed: Callable[[Request, str], Awaitable[Workspace]]) -> None:
        self.ws = ws
        self.allowed = allowed
        self.head = 0
        self.moved = asyncio.Condition()
        self.stopping = False

    async def watch(self) -> None:
        """Tell readers when the log grows, until cancelled."""
        while True:
            try:
                head = await to_thread.run_sync(self._read_head)
            except TrineError as error:
                log.warning("the event log cannot be read: %s", error)
                head = self.head
            if head != self.head:
                self.head = head
                await self._wake()
            await to_thread.run_sync(self.ws.ledger.wait_for_change, POLL_S, abandon_on_cancel=True)

    def _read_head(self) -> int:
        with self.ws.ledger.transaction(write=False) as connection:
            return checkpoint(connection).seq

    async def _wake(self) -> None:
        async with self.moved:
            self.moved.notify_all()

    async def stop(self) -> None:
        """Let every reader go: the server is leaving, and they come back to the next one with their place."""
        self.stopping = True
        await self._wake()

    async def follow(self, request: Request) -> Response:
        """Events after a sequence number (`after`, or `Last-Event-ID` on coming back), as long as the reader may see them."""
        await self.allowed(request, "access.read")
        asked = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        if not (asked.isascii() and asked.isdigit() and len(asked) < 19):
            raise InvalidInput(f"{asked[:40]!r} is no sequence number of an event.")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(request, int(asked)), media_type="text/event-stream", headers=headers)

    async def _events(self, request: Request, after: int) -> AsyncIterator[bytes]:
        while not self.stopping and not await request.is_disconnected():
            seen = self.head
            try:
                ws = await self.allowed(request, "access.read")
            except TrineError:
                return  # a token that was revoked meanwhile
            batch = await to_thread.run_sync(_read, ws, after)
            for one in batch:
                yield _frame(one)
                after = one.seq
            if len(batch) < BATCH:
                async with self.moved:
                    try:
                        await asyncio.wait_for(
                            self.moved.wait_for(lambda seen=seen: self.head != seen or self.stopping), KEEP_ALIVE_S
                        )
                    except TimeoutError:
                        yield b": still here\n\n"


def _read(ws: Workspace, after: int) -> list[Event]:
    return list_events(ws, after=after, limit=BATCH).items


def _frame(one: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (one.seq, one.operation.encode(), msgspec.json.encode(one))
