"""Logs of steps: what a step prints and logs is appended to a file as it comes, and kept in the store when it ends.

Steps that run in threads of one process share its standard output: while a run is driven, a router stands in for it and
gives each step's text to its own log as well. Threads that a step starts itself are not told apart.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, TextIO

from trine.pipelines.values import readable
from trine.storage import Store

SHORT = 2_048
"""Bytes of a log that are kept in the ledger; a longer one is an object in the store."""

LONGEST = 16 << 20
"""Bytes of a log that are kept at all: of a longer one the first and the last half of that."""


Echo = Literal["plain", "labelled", "none"]
"""What is shown of a step's text beside keeping it, line by line as a terminal would: as it is, with the step's key before each
line, or nothing."""


class StepLog:
    """The file that one step's text goes to; made when the first text comes."""

    def __init__(self, path: Path, *, label: str = "", echo: Echo = "plain") -> None:
        self.path = path
        self._echo: Echo = echo
        self._head = f"{label} │ " if echo == "labelled" else ""
        self._lock = threading.Lock()
        self._file: Any = None
        self._begun: dict[TextIO, str] = {}

    def write(self, text: str) -> None:
        """Append text; another process can read it at once, and kill -9 does not lose it."""
        with self._lock:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
            self._file.write(text.encode("utf-8", "replace"))

    def show(self, stream: TextIO, text: str) -> None:
        """Echo text on a stream. A line goes there at once when it ends: steps run side by side, and print it in pieces."""
        if self._echo == "none":
            return
        with self._lock:
            *lines, self._begun[stream] = (self._begun.get(stream, "") + text).split("\n")
            if lines:
                stream.write("".join(f"{self._head}{line}\n" for line in lines))

    def flush(self, stream: TextIO) -> None:
        """Show the line that has begun, such as a progress bar; one with a label waits for its end."""
        with self._lock:
            if not self._head and (begun := self._begun.pop(stream, "")):
                stream.write(begun)

    def close(self) -> None:
        """Close the file, and show the lines that were begun."""
        for stream, begun in list(self._begun.items()):
            self.show(stream, "\n") if begun and self._head else self.flush(stream)
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def remove(self) -> None:
        """Delete the file: its text is kept elsewhere by now."""
        self.close()
        self.path.unlink(missing_ok=True)


def path_of(spool: Path, run: str, key: str) -> Path:
    """Where the text of a step that runs on this machine is."""
    return spool / "pipelines" / run / f"{key}.log"


def read_file(path: Path) -> bytes:
    """A log file's text, cut in the middle when it is too long."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= LONGEST:
                return file.read()
            head = file.read(LONGEST // 2)
            file.seek(size - LONGEST // 2)
            left_out = size - LONGEST
            return head + f"\n… {left_out:,} bytes are left out here …\n".encode() + file.read()
    except FileNotFoundError:
        return b""


def keep(store: Store, text: bytes) -> tuple[str, str]:
    """A log as the ledger keeps it: its text when it is short, else the object it was put into."""
    if len(text) <= SHORT:
        return readable(text.decode("utf-8", "replace")), ""
    return "", store.put(text)


_log: contextvars.ContextVar[StepLog | None] = contextvars.ContextVar("trine_step_log", default=None)


@contextlib.contextmanager
def capturing(log: StepLog) -> Generator[None]:
    """Give what is printed and logged in this thread to a step's log."""
    mark = _log.set(log)
    try:
        yield
    finally:
        _log.reset(mark)
        log.close()


class _Router:
    """Stands in for sys.stdout or sys.stderr."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        log = _log.get()
        if log is None:
            return self.stream.write(text)
        log.write(text)
        log.show(self.stream, text)
        return len(text)

    def flush(self) -> None:
        if log := _log.get():
            log.flush(self.stream)
        self.stream.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Records(logging.Handler):
    """Gives log records to the step's log; to standard error too when nobody else shows them, as Python itself would."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
            others = [one for one in logging.getLogger().handlers if one is not self]
            shown = any(isinstance(getattr(one, "stream", None), _Router) for one in others)
            if not others and record.levelno >= logging.WARNING:
                sys.stderr.write(line)
            elif (log := _log.get()) is not None and not shown:
                log.write(line)
        except Exception:
            self.handleError(record)


_lock = threading.Lock()
_routed = 0
_records = _Records()


@contextlib.contextmanager
def routing() -> Generator[None]:
    """Route output of steps inside the block; blocks of several runs at once share one router."""
    global _routed
    with _lock:
        _routed += 1
        if _routed == 1:
            sys.stdout, sys.stderr = _Router(sys.stdout), _Router(sys.stderr)  # type: ignore[assignment]
            logging.getLogger().addHandler(_records)
    try:
        yield
    finally:
        with _lock:
            _routed -= 1
            if _routed == 0:
                logging.getLogger().removeHandler(_records)
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if isinstance(stream, _Router):  # else somebody put another in its place meanwhile
                        setattr(sys, name, stream.stream)
