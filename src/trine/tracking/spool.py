"""The spool: the segments in which processes keep what they log until the ledger has it.

    <spool>/tracking/<run>-<segment>.seg     written by one process, which holds a lock on it as long as it lives
    <spool>/tracking/….new                   one that is being made

What is in a segment is in the page cache of the machine, so kill -9 of its writer loses nothing. Whoever comes next folds
it into the ledger: the ledger remembers how far each segment was taken (`fold_segment`), so a frame counts exactly once,
whoever sends it and however often. A segment is deleted when its writer is gone and all of it is in the ledger; a run that
its process left open is marked killed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from trine.errors import Damaged, NotFound, Refused, TrineError
from trine.ids import new_id
from trine.storage.places import no_space
from trine.storage.segments import SegmentWriter, read_header
from trine.tracking.frames import KIND, Meta, Reader, read_meta
from trine.workspace import Workspace

log = logging.getLogger("trine.tracking")


def spool_of(ws: Workspace) -> Path:
    """The folder of a workspace's run segments on this machine."""
    return ws.spool / "tracking"


def segment_id(path: Path) -> str:
    """A segment's id, which is in its name."""
    return path.stem.rpartition("-")[2]


def new_segment(ws: Workspace, meta: Meta) -> tuple[SegmentWriter, int]:
    """A fresh segment and its lock: it gets its name when it is locked, so nobody ever takes it for left over.

    Raises NoSpace or Failure.
    """
    path = spool_of(ws) / f"{meta.run}-{new_id()}.seg"
    draft = path.with_suffix(".new")
    try:
        writer = SegmentWriter(draft, kind=KIND, meta=msgspec.to_builtins(meta))
        lock = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft.rename(path)
    except OSError as error:
        raise no_space(str(path.parent), error) from error
    writer.path = path
    return writer, lock


@contextmanager
def _abandoned(path: Path) -> Generator[bool]:
    """Whether nobody writes a segment any more; while the block runs, nobody else finds it abandoned."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(lock).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def send(ws: Workspace, reader: Reader, *, final: bool = False) -> None:
    """Bring what a segment holds beyond `reader.at` into the ledger.

    Raises what the door raises; what was sent before stays sent, and the rest is sent by the next call.
    """
    from trine.tracking import operations as door

    meta = read_meta(reader.path)
    there = ws.for_project(meta.project)
    complete = False
    while not complete:
        complete = True
        for batch in reader.batches(final=final):
            at = door.fold_segment(
                there,
                id=meta.run,
                segment=segment_id(reader.path),
                start=batch.start,
                stop=batch.stop,
                points=batch.series,
                uses=batch.uses,
                lost=batch.lost,
                ending=batch.ending,
                session=meta.session if meta.owner else "",
            )
            if at != batch.stop:  # somebody else sent a part of it
                reader.forward(at)
                complete = False
                break


def collect(ws: Workspace, run: str = "", *, living: bool = True, own: bool = True) -> None:
    """Bring what the segments of this machine hold (of one run, or all) into the ledger.

    Reads call this first, so they see every point that was acknowledged here. `living=False` looks only at what was left
    over by processes that are gone; `own=False` leaves out what this process writes, whose threads bring it in themselves. Does
    nothing inside an operation, which is one transaction.
    """
    if ws.transaction is not None:
        return
    from trine.tracking.outbox import own_segments

    mine = set[Path]() if own else own_segments()
    for path in sorted(set(spool_of(ws).glob(f"{run}*.seg")) - mine):
        with _abandoned(path) as abandoned:
            try:
                if abandoned:
                    _recover(ws, path)
                elif living:
                    _send_living(ws, path)
            except NotFound:
                pass  # its writer finished it just now
            except Damaged as error:
                log.warning("%s It is kept as %s.damaged.", error.message, path.name)
                path.rename(path.with_suffix(".damaged"))
            except Refused:
                pass  # somebody with more rights will send it
            except (TrineError, OSError) as error:  # a file of another user, for instance
                log.warning("What %s holds is not in the ledger yet: %s", path, error)
    for draft in spool_of(ws).glob("*.new"):
        with _abandoned(draft) as abandoned:
            if abandoned and time.time() - draft.stat().st_mtime > 60:  # a moment passes between making and locking one
                draft.unlink(missing_ok=True)


def _send_living(ws: Workspace, path: Path) -> None:
    from trine.tracking import operations as door
    from trine.tracking.outbox import outbox_at

    if own := outbox_at(path):
        own.deliver()
        return
    reader = Reader(path)
    reader.forward(door.segment_offset(ws, segment=segment_id(path)))
    send(ws, reader)


def _recover(ws: Workspace, path: Path) -> None:
    """Take in the segment of a process that is gone, end its run when that process kept it open, and delete the segment."""
    from trine.tracking import operations as door

    meta, reader = read_meta(path), Reader(path)
    there = ws.for_project(meta.project)
    try:
        door.get_run(there, id=meta.run)
    except NotFound:
        _set_aside(path)
        return
    reader.forward(door.segment_offset(there, segment=segment_id(path)))
    send(ws, reader, final=True)
    if meta.owner and not reader.has_ended:
        header = read_header(path)[0]
        torn = f" {reader.torn} bytes of a record it was writing were cut off." if reader.torn else ""
        door.end_run(
            there,
            id=meta.run,
            state="killed",
            reason=f"Its process ({header.pid}) ended without finishing the run.{torn}",
            session=meta.session,
            ended_us=max(header.created_us, path.stat().st_mtime_ns // 1_000),
        )
    path.unlink(missing_ok=True)


def _set_aside(path: Path) -> None:
    """A segment whose run is not in the workspace: its process died while it made the run, or the ledger was replaced."""
    if next(Reader(path).batches(final=True), None) is None:
        path.unlink(missing_ok=True)
        return
    log.warning(
        "%s belongs to a run that is not in this workspace; it is kept as %s.", path, path.with_suffix(".orphan")
    )
    path.rename(path.with_suffix(".orphan"))
