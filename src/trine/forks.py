"""Work on very many small files, shared out to forked processes: Python threads make it slower, one processor limits it."""

from __future__ import annotations

import contextlib
import ctypes
import marshal
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 8
"""Processes that work at the same time."""


def workers() -> int:
    """How many processes can work side by side here: 1 where a fork is not safe, because this process has threads."""
    if sys.platform != "linux" or len(os.listdir("/proc/self/task")) > 1:
        return 1
    return min(MOST, len(os.sched_getaffinity(0)))


def split(items: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Runs of about the same length, none empty."""
    step = max(1, -(-len(items) // parts))
    return [items[start : start + step] for start in range(0, len(items), step)]


def share(work: Callable[[T], Any], parts: Sequence[T], *, meanwhile: Callable[[], object] | None = None) -> list[Any]:
    """`work` of every part, in order, each in a process of its own; the first in this one, unless it has `meanwhile` to do.

    Results are what `marshal` takes. A part that fails elsewhere is done again here, so its error is raised as it is:
    `work` must bear that. A process ends with this one, even when that is killed.
    """
    here = 0 if meanwhile else 1
    children = [_Child(work, part) for part in parts[here:]]
    try:
        if meanwhile:
            meanwhile()
        first = [work(part) for part in parts[:here]]
        rest = [child.result() for child in children]
    except BaseException:
        for child in children:
            child.stop()
        raise
    return first + [work(part) if told is None else told[0] for part, told in zip(parts[here:], rest, strict=True)]


class _Child:
    def __init__(self, work: Callable[[T], Any], part: T) -> None:
        parent = os.getpid()
        self._reading, writing = os.pipe()
        # an interrupt of the child waits until it has begun: one that comes while it is made would be lost
        allowed = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._process = os.fork()
        if not self._process:
            try:
                _end_with(parent)
                signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
                with open(writing, "wb") as pipe:
                    pipe.write(marshal.dumps(work(part)))
                os._exit(0)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
        os.close(writing)

    def result(self) -> tuple[Any] | None:
        """What came of it; None when it failed."""
        with open(self._reading, "rb") as pipe:
            told = pipe.read()
        self._reading = -1
        _, status = os.waitpid(self._process, 0)
        self._process = 0
        return (marshal.loads(told),) if status == 0 else None

    def stop(self) -> None:
        """Interrupt it, so that it tidies up behind itself."""
        if self._reading >= 0:
            os.close(self._reading)
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGINT)
            os.waitpid(self._process, 0)


def _end_with(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
