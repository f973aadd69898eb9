"""Live updates: a page learns in which rooms something changed, and asks for itself again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trine.access.audit import list_events
from trine.errors import TrineError
from trine.server.stream import Stream
from trine.workspace import Workspace

KEEP_ALIVE_S = 20.0
LEAST_GAP_S = 0.5
"""However much happens, a page is told twice a second at most."""


def follow(request: Request, stream: Stream, opened: Callable[[], Workspace]) -> Response:
    """Server-sent events: `change` with the rooms, from the place in the log where the reader is."""
    asked = request.headers.get("last-event-id", "")
    after = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 19 else stream.head
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_changes(request, stream, opened, after), 200, headers, "text/event-stream")


async def _changes(
    request: Request, stream: Stream, opened: Callable[[], Workspace], after: int
) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    while not stream.stopping and not await request.is_disconnected():
        seen = stream.head
        if seen > after:
            try:
                rooms = await to_thread.run_sync(_rooms, opened, after)
            except TrineError:
                return  # signed out meanwhile
            after = seen
            if rooms:
                yield b"id: %d\nevent: change\ndata: %s\n\n" % (after, msgspec.json.encode(rooms))
            await asyncio.sleep(LEAST_GAP_S)
        async with stream.moved:
            try:
                await asyncio.wait_for(
                    stream.moved.wait_for(lambda seen=seen: stream.head != seen or stream.stopping), KEEP_ALIVE_S
                )
            except TimeoutError:
                yield b": still here\n\n"


def _rooms(opened: Callable[[], Workspace], after: int) -> list[str]:
    events = list_events(opened(), after=after, limit=1000).items
    return sorted({one.operation.partition(".")[0] for one in events})
