"""Folding: what other processes on the server's own machine log is in the ledger soon, whoever asks for it."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from anyio import to_thread

from trine.workspace import Workspace

log = logging.getLogger("trine.server")

EVERY_S = 1.0
"""Seconds between looks into the spool; a look at an empty one is one listing of a folder."""

JUDGE_S = 60.0
"""Seconds between looks for runs of other machines whose process is not heard of any more."""


def _end_silent(ws: Workspace) -> None:
    from trine.tracking.liveness import end_silent_runs, silent_projects

    for project in silent_projects(ws):
        for run in end_silent_runs(ws.for_project(project)):
            log.info("Run %s ended: nothing was heard of its process.", run)


async def fold_spool(ws: Workspace) -> None:
    """Bring what runs log on this machine into the ledger, for as long as the server runs; those whose process died end."""
    from trine.tracking.outbox import own_segments
    from trine.tracking.spool import collect, spool_of

    judged = time.monotonic()
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            if set(spool_of(ws).glob("*.seg")) - own_segments():
                await to_thread.run_sync(partial(collect, ws, own=False), abandon_on_cancel=True)
            if time.monotonic() - judged > JUDGE_S:
                judged = time.monotonic()
                await to_thread.run_sync(_end_silent, ws, abandon_on_cancel=True)
        except Exception:  # the next look tries again
            log.warning("The spool could not be read.", exc_info=True)
