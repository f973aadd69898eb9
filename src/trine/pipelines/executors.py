"""Executors: where attempts of steps run. Packages add their own through the entry points `trine.executors`."""

from __future__ import annotations

import contextvars
import ctypes
import functools
import importlib.metadata
import threading
from collections.abc import Callable
from typing import Any, Protocol

from trine.errors import InvalidInput, nearest
from trine.pipelines.calls import Outcome, StepCall, Stopped
from trine.pipelines.steps import Step

Done = Callable[[Outcome], None]


class Attempt(Protocol):
    """An attempt that was started."""

    def stop(self) -> None:
        """Make it end, soon; its outcome is reported all the same, when there is one."""
        ...


class Executor(Protocol):
    """Runs attempts.

    `start` returns at once; `done` is called once, from any thread, with the outcome. An executor keeps no state that a
    resumed run would need, and never touches the ledger: the engine that drives the run writes what came of an attempt.
    """

    name: str

    def check(self, step: Step[..., Any]) -> None:
        """Raise InvalidInput for a step that cannot run here; asked before a run begins."""
        ...

    def start(self, call: StepCall, done: Done) -> Attempt: ...

    def close(self) -> None:
        """No more attempts will come."""
        ...


class ThreadExecutor:
    """One thread of this process for each attempt: no copying, nothing to start, whatever the process has loaded is there.

    A thread cannot be killed. `stop` raises Stopped at the next line of Python that the step runs; a step inside one long
    call into a library ends when that call returns.
    """

    name = "thread"

    def check(self, step: Step[..., Any]) -> None:
        pass

    def start(self, call: StepCall, done: Done) -> Attempt:
        return _Thread(call, done)

    def close(self) -> None:
        pass


class _Thread:
    def __init__(self, call: StepCall, done: Done) -> None:
        self._lock = threading.Lock()
        self._ended = False
        context = contextvars.copy_context()
        # a daemon: a step that does not end must not keep the process from ending
        self._thread = threading.Thread(
            target=context.run, args=(self._work, call, done), daemon=True, name=f"trine step {call.node.key}"
        )
        self._thread.start()

    def _work(self, call: StepCall, done: Done) -> None:
        outcome = Outcome(stopped=True)
        try:
            outcome = call.execute()
            with self._lock:
                self._ended = True
        except Stopped:  # it came between two lines of ours
            outcome = Outcome(stopped=True)
        done(outcome)

    def stop(self) -> None:
        with self._lock:
            if not self._ended and self._thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident), ctypes.py_object(Stopped)
                )


def _process() -> Any:
    from trine.pipelines.processes import ProcessExecutor

    return ProcessExecutor()


@functools.cache
def _known() -> dict[str, Callable[[], Executor]]:
    found: dict[str, Callable[[], Executor]] = {"thread": ThreadExecutor, "process": _process}
    for entry in importlib.metadata.entry_points(group="trine.executors"):
        found.setdefault(entry.name, entry.load())
    return found


def executor(name: str) -> Executor:
    """A fresh executor by name. Raises InvalidInput for one that is not there."""
    known = _known()
    if name not in known:
        raise InvalidInput(f'There is no executor "{name}".{nearest(name, known)} There is: {", ".join(known)}.')
    return known[name]()
