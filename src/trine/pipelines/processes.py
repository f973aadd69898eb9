"""The process executor: each attempt in a fresh Python process of its own, which can be killed.

The process gets the step by name and its inputs as stored values, and answers with the outcome. It holds a pipe from the
process that started it, and ends with it: nothing is left running when that one is killed. What it prints, programs it
starts included, goes to the step's log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import InvalidInput
from trine.pipelines import places
from trine.pipelines.calls import Outcome, StepCall
from trine.pipelines.executors import Done
from trine.pipelines.graph import GraphStep
from trine.pipelines.logs import StepLog
from trine.pipelines.records import StepError
from trine.pipelines.steps import Step
from trine.pipelines.values import Value

PATIENCE_S = 5.0
"""Between asking a process to end and killing it."""


class Request(msgspec.Struct):
    """What the process is asked to do."""

    run: str
    module: str
    step: str
    node: GraphStep
    stored: dict[str, list[Value]]
    pickled: list[str]
    log: str
    path: list[str]


class ProcessExecutor:
    """A Python process for each attempt: costs its start (imports), can be killed, shares nothing."""

    name = "process"

    def check(self, step: Step[..., Any]) -> None:
        _module_of(step)

    def start(self, call: StepCall, done: Done) -> _Process:
        return _Process(call, done)

    def close(self) -> None:
        pass


class _Process:
    def __init__(self, call: StepCall, done: Done) -> None:
        self._stopping = False
        self._ended = threading.Event()
        request = Request(
            run=call.run,
            module=_module_of(call.step),
            step=call.step.name,
            node=call.node,
            stored=call.stored,
            pickled=sorted(call.pickled),
            log=str(call.log.path),
            path=sys.path,
        )
        reading, writing = os.pipe()
        call.log.path.parent.mkdir(parents=True, exist_ok=True)
        with call.log.path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trine.pipelines.processes", str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                env=_environment(call),
                start_new_session=True,
            )
        os.close(writing)
        threading.Thread(
            target=self._attend, args=(call, done, reading, msgspec.json.encode(request)), daemon=True
        ).start()

    def _attend(self, call: StepCall, done: Done, reading: int, request: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already: the answer says so
            self._process.stdin.write(len(request).to_bytes(8, "little") + request)
            self._process.stdin.flush()
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        code = self._process.wait()
        self._ended.set()
        self._process.stdin.close()
        if answer:
            done(msgspec.json.decode(answer, type=Outcome))
        elif self._stopping:
            done(Outcome(stopped=True))
        else:
            how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            hint = ". Was there too little memory?" if code == -signal.SIGKILL else ""
            error = StepError("ChildProcessError", f"the step's process {how}{hint}")
            retryable = any(issubclass(ChildProcessError, one) for one in call.step.retry_on)
            done(Outcome(error=error, retryable=retryable))

    def stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._signal(signal.SIGTERM)
            threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        if not self._ended.wait(PATIENCE_S):
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _module_of(step: Step[..., Any]) -> str:
    """The module that a step is found in by its name."""
    module = sys.modules.get(step.function.__module__)
    if module is None or step not in [one for one in vars(module).values() if isinstance(one, Step)]:
        raise InvalidInput(
            f'Step "{step.name}" is not at the top level of a file, so another process cannot find it. '
            'Move it there, or use executor="thread".'
        )
    return places.module_name(module.__name__)


def _environment(call: StepCall) -> dict[str, str]:
    """How the process finds the workspace; secrets go this way because others cannot read it."""
    ws = call.ws
    place = str(ws.root) if ws.root is not None else ws.location
    token = {"TRINE_TOKEN": ws.remote.token} if ws.remote is not None and ws.remote.token else {}
    own = {"TRINE_WORKSPACE": place, "TRINE_PROJECT": ws.project, "PYTHONUNBUFFERED": "1", **token}
    return {**os.environ, **own}


def _end_with_parent() -> None:
    """Wait until the pipe from the process that started this one closes, and end with all that was started here."""
    while os.read(0, 1 << 16):  # not sys.stdin: a thread that waits in it would disturb the end of the interpreter
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _read(size: int) -> bytes:
    found = b""
    while len(found) < size and (more := os.read(0, size - len(found))):
        found += more
    return found


def main() -> None:
    """The process: read the request, run the step, answer."""
    from trine.workspace import connect

    answering = int(sys.argv[1])
    request = msgspec.json.decode(_read(int.from_bytes(_read(8), "little")), type=Request)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.path[:] = list(dict.fromkeys([*request.path, *sys.path]))
    module = places.import_named(request.module)
    step = next(one for one in vars(module).values() if isinstance(one, Step) and one.name == request.step)
    with connect() as ws:
        call = StepCall(
            ws=ws,
            run=request.run,
            step=step,
            node=request.node,
            stored=request.stored,
            log=StepLog(Path(request.log)),
            pickled=frozenset(request.pickled),
        )
        outcome = call.execute()
    with os.fdopen(answering, "wb") as pipe:
        pipe.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
