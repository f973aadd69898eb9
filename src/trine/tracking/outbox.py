"""Outbox: how one process writes one run. Appending never waits; a thread brings what was written into the ledger."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trine.errors import Conflict, Failure, NoSpace, TrineError
from trine.ids import new_id, now_us
from trine.storage.segments import SegmentWriter
from trine.tracking.frames import (
    POINT,
    Ending,
    Meta,
    Reader,
    pack_batch,
    pack_ending,
    pack_key,
    pack_lost,
    pack_point,
    pack_row,
)
from trine.tracking.runs import check_key
from trine.tracking.spool import collect, new_segment, send
from trine.workspace import Workspace

log = logging.getLogger("trine.tracking")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 5.0
"""How long after a point it is in the ledger: soon at the start of a run, later in a long one."""

LARGEST_SEGMENT = 4 << 20
"""Bytes after which a process goes on in a new segment, so that a long run keeps little on disk."""


ALIVE_S = 300.0
"""How long a run may log nothing until its process says that it is still there."""

LARGEST_BACKLOG = 1 << 30
"""Bytes that one process keeps of one run while the ledger cannot be reached; then points are dropped and counted, until it
can. So training never waits, and never fills a disk."""

PAUSE_S = 1.0
"""How long points are dropped, when there is no space, before it is tried again."""


class Sink:
    """One open segment as the hot path sees it: where frames go, and number and next step of each key."""

    __slots__ = ("append", "keys", "numbers")

    def __init__(self, append: Callable[[bytes], int]) -> None:
        self.append = append
        self.keys: dict[Any, list[int]] = {}
        self.numbers = itertools.count()  # gives no number twice, even where a signal handler comes in between


def _nowhere(_: bytes) -> int:
    raise Failure("No segment is open.")


def _pause(sink: Sink, error: TrineError, seconds: float) -> None:
    """Refuse what comes next without trying, for a while: asking a full disk for space takes long."""
    append, until = sink.append, time.monotonic() + seconds

    def refuse(frame: bytes) -> int:
        if time.monotonic() < until:
            raise error.with_traceback(None)
        sink.append = append
        return append(frame)

    sink.append = refuse


class Outbox:
    """The frames of one run on their way from this process to the ledger. Threads may share it; a forked child goes on in
    a segment of its own, and never ends the run."""

    def __init__(self, ws: Workspace, run: str, *, session: str, owner: bool, steps: dict[str, int]) -> None:
        self.ws = ws
        self.run = run
        self.session = session
        self.owner = owner
        self._steps = steps
        self._has_ended = False
        self._begin()
        _outboxes.add(self)

    def _begin(self) -> None:
        self.sink = Sink(_nowhere)
        self.lost = 0
        self._writer: SegmentWriter | None = None
        self._reader: Reader | None = None
        self._lock_file = -1
        self._lock = threading.RLock()
        self._delivering = threading.RLock()
        self._is_delivering = False
        self._stop = threading.Event()
        self._told: set[str] = set()

    @property
    def path(self) -> Path | None:
        """The segment that is written now."""
        return self._writer.path if self._writer else None

    def forget(self) -> None:
        """In a forked child: leave the parent's segment, lock and thread alone."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
        self._steps |= {key: entry[1] for key, entry in self.sink.keys.items()}
        self.owner, self.session = False, new_id()
        self._begin()

    def open(self) -> None:
        """Make this process's segment, and start the thread that empties it. Raises NoSpace."""
        with self._lock:
            if self._has_ended:
                raise Conflict(f"Run {self.run} has ended here. Go on with it: trine.run(resume={self.run!r})")
            if self._writer is None:
                self._switch(*self._new_segment())
                _keep_synced(self)
                threading.Thread(target=self._work, args=(self._stop,), name="trine-tracking", daemon=True).start()

    def _new_segment(self) -> tuple[SegmentWriter, int]:
        return new_segment(self.ws, Meta(self.run, self.ws.project, self.session, self.owner))

    def _switch(self, writer: SegmentWriter, lock_file: int) -> None:
        self._steps |= {key: entry[1] for key, entry in self.sink.keys.items()}
        self._writer, self._lock_file, self._reader = writer, lock_file, Reader(writer.path)
        self.sink = Sink(writer.append)  # last: from here on points go to the new segment

    def count_on(self, steps: dict[str, int]) -> None:
        """From which step each metric counts its own, where it has none yet here."""
        self._steps |= steps

    def entry(self, key: str) -> tuple[Sink, list[int]]:
        """The segment to write to, and number and next step of a key in it. Raises NoSpace, or InvalidInput for the key."""
        check_key(key)
        with self._lock:
            self.open()
            sink = self.sink
            if key not in sink.keys:
                number = next(sink.numbers)
                sink.append(pack_key(number, key))
                sink.keys[key] = [number, self._steps.get(key, 0)]
            return sink, sink.keys[key]

    def log(self, points: Sequence[tuple[str, int, int, float]]) -> None:
        """Append points (metric, step, microseconds, value), all of them or none. Raises NoSpace, Conflict when it was closed."""
        with self._lock:
            self.open()
            keys = self.sink.keys
            if len(points) == 1:
                key, step, us, value = points[0]
                entry = keys.get(key) or self.entry(key)[1]
                self.sink.append(pack_point(POINT, entry[0], step, us, value))
                return
            self.sink.append(
                pack_batch(
                    [
                        pack_row((keys.get(key) or self.entry(key)[1])[0], step, us, value)
                        for key, step, us, value in points
                    ]
                )
            )

    def write(self, frame: bytes) -> None:
        """Append a frame that belongs to no key. Raises NoSpace."""
        with self._lock:  # so that the segment is not changed for another meanwhile
            self.open()
            self.sink.append(frame)

    def lose(self, points: int, error: TrineError) -> None:
        """Count points that could not be written; the first time, say so. Training goes on."""
        with self._lock:
            self.lost += points
            if self._writer is not None and self.sink.append == self._writer.append:
                _pause(self.sink, error, PAUSE_S)
        self.tell(error, f"Points of run {self.run} are lost until that is mended; training goes on.")

    def tell(self, error: TrineError, more: str = "") -> None:
        """Say what went wrong in the background, once per kind."""
        if error.code not in self._told:
            self._told.add(error.code)
            log.warning("%s %s", error.message, more)

    def sync(self) -> None:
        """Make what was logged survive a power cut."""
        if (writer := self._writer) is not None:
            try:
                writer.sync()
            except (TrineError, OSError) as error:  # closed meanwhile, or a disk that fails: the next delivery says so
                log.debug("%s was not synced: %s", writer.path, error)

    def deliver(self) -> None:
        """Bring all that is written into the ledger; on disk there when this returns. Raises what the door raises.

        In a signal handler that interrupted just that, it returns at once, and what was interrupted goes on.
        """
        with self._delivering:
            if not self._is_delivering:
                self._deliver()

    def _deliver(self) -> None:
        self._is_delivering = True
        try:
            self._write_lost()
            if self._reader is not None and self._writer is not None and self._writer.end != self._reader.at:
                send(self.ws, self._reader)
        finally:
            self._is_delivering = False

    def _write_lost(self) -> None:
        with self._lock:
            if self.lost and self._writer is not None:
                try:
                    self._writer.append(pack_lost(self.lost))
                    self.lost = 0
                except Failure:
                    pass  # there is still no space; the number is kept

    def _work(self, stop: threading.Event) -> None:
        collect(self.ws, living=False)
        wait, heard, sent = FIRST_WAIT_S, time.monotonic(), self._position()
        while not stop.wait(wait):
            wait = min(wait * 1.5, LONGEST_WAIT_S)
            with self._delivering:
                if stop.is_set():
                    return
                try:
                    self._deliver()
                    if self._position() != sent:
                        heard, sent = time.monotonic(), self._position()
                    elif self.owner and time.monotonic() - heard > ALIVE_S:
                        heard = time.monotonic()
                        self._say_alive()
                    if self._writer is not None and self._writer.end > LARGEST_SEGMENT:
                        self._rotate(self._writer)
                except TrineError as error:
                    self.tell(error, f"What run {self.run} logs stays in {self.path} and is sent later.")
                    if self._writer is not None and self._writer.end > LARGEST_BACKLOG:
                        full = NoSpace(f"{LARGEST_BACKLOG >> 30} GiB of run {self.run} wait to be sent.")
                        _pause(self.sink, full, 2 * LONGEST_WAIT_S)
                except Exception:  # not one of ours: nobody hears it in a thread, and `finish` tries again
                    log.exception("What run %s logs stays in %s.", self.run, self.path)
                    return

    def _say_alive(self) -> None:
        from trine.tracking import operations as door

        door.keep_open(self.ws, id=self.run, session=self.session)

    def _position(self) -> tuple[Path | None, int]:
        """How far the ledger has what is written here."""
        return self.path, self._reader.at if self._reader is not None else 0

    def _rotate(self, old: SegmentWriter) -> None:
        reader, lock_file = self._reader, self._lock_file
        assert reader is not None
        writer, fresh_lock = self._new_segment()
        with self._lock:
            try:
                old.append(pack_ending(Ending()))
            except Failure:
                writer.close()
                writer.path.unlink()
                os.close(fresh_lock)
                raise
            self._switch(writer, fresh_lock)
        try:
            old.close()  # an append that is under way comes before this, or is refused and repeated in the new segment
            send(self.ws, reader)
            old.path.unlink(missing_ok=True)
        finally:
            os.close(lock_file)  # what could not be sent is left over now, for the next who looks

    def abandon(self) -> None:
        """Let go of the segment as if the process had died here: for a run that could not be made, or perhaps was."""
        with self._lock:
            self._has_ended = True
        self._stop.set()
        with self._delivering:
            _outboxes.discard(self)
            self.sink = Sink(_nowhere)
            if self._writer is not None:
                self._writer.close()
                os.close(self._lock_file)
                self._lock_file, self._reader, self._writer = -1, None, None

    def close(self, ending: Ending) -> None:
        """Write the last frame and bring everything into the ledger. When the ledger cannot be reached the segment stays,
        and whoever uses the workspace next on this machine sends it."""
        with self._lock:
            if self._has_ended or self._is_delivering_here():
                return
            if ending.state:
                self.open()
            self._has_ended = True
        self._stop.set()
        with self._delivering:
            writer, reader = self._writer, self._reader
            _outboxes.discard(self)
            if writer is None or reader is None:
                return
            try:
                self._send_last(writer, reader, ending)
            except TrineError as error:
                log.warning(
                    "%s What run %s logged is in %s and is sent when the workspace is next used on this machine.",
                    error.message,
                    self.run,
                    writer.path,
                )
            finally:
                os.close(self._lock_file)
                self._lock_file, self._reader, self._writer = -1, None, None

    def _is_delivering_here(self) -> bool:
        """Whether this is a signal handler that interrupted a delivery of its own thread, which must come to its end first."""
        if not self._is_delivering or not self._delivering.acquire(blocking=False):
            return False
        self._delivering.release()
        return self._is_delivering

    def _send_last(self, writer: SegmentWriter, reader: Reader, ending: Ending) -> None:
        self._write_lost()
        has_space = True
        try:
            writer.append(pack_ending(ending))
        except Failure as error:
            has_space = False
            self.tell(error)
        self.sink = Sink(_nowhere)
        writer.close()
        send(self.ws, reader)
        if not has_space:
            self._end_directly(ending)
        writer.path.unlink(missing_ok=True)

    def _end_directly(self, ending: Ending) -> None:
        """The way round a full spool: the end of the run, and how much was lost, straight through the door."""
        from trine.tracking import operations as door

        if ending.state:
            session = self.session if self.owner else ""
            door.end_run(
                self.ws, id=self.run, state=ending.state, reason=ending.reason, session=session, lost=self.lost
            )


SYNC_S = 0.1
"""How often what was logged is made to survive a power cut."""


class _Syncing:
    """The one thread of this process that syncs its segments: away from training, and from a delivery that may take long."""

    thread: threading.Thread | None = None
    lock = threading.Lock()


def _keep_synced(_: Outbox) -> None:
    with _Syncing.lock:
        if _Syncing.thread is None or not _Syncing.thread.is_alive():
            _Syncing.thread = threading.Thread(target=_sync_all, name="trine-sync", daemon=True)
            _Syncing.thread.start()


def _sync_all() -> None:
    while True:
        time.sleep(SYNC_S)
        with _Syncing.lock:
            some = [one for one in list(_outboxes) if one.path is not None]
            if not some:
                _Syncing.thread = None
                return
        for one in some:
            one.sync()


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
"""Every outbox of this process that is not closed (a thread keeps an open one alive)."""


def outbox_at(path: Path) -> Outbox | None:
    """The outbox of this process that writes a segment."""
    return next((one for one in list(_outboxes) if one.path == path), None)


def own_segments() -> set[Path]:
    """The segments that this process writes now."""
    return {one.path for one in list(_outboxes) if one.path is not None}


def _after_fork() -> None:
    _Syncing.thread, _Syncing.lock = None, threading.Lock()
    for one in list(_outboxes):
        one.forget()


def _at_exit() -> None:
    """Runs that nobody finished: finished with the program, failed when it ended by an exception."""
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for one in list(_outboxes):
        state = "" if not one.owner else "failed" if error is not None else "finished"
        one.close(Ending(state, f"{type(error).__name__}: {error}" if error is not None and state else "", now_us()))


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
