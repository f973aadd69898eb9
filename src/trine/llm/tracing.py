"""Tracing one's own code: `@trine.trace` on a function, or `with trine.trace("answer") as span:`.

A trace is kept when its outermost span ends: on disk (or on the server) when that returns. Of one that goes on, calls that ended are
kept every few seconds, so a long one can be watched, and a killed program leaves what it did. What cannot be kept then, because a
server is away or a disk full, waits in the spool and goes with the next one; tracing never raises into the code it traces.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar, cast, overload

from trine.llm.live import LiveSpan, innermost, plain_value
from trine.llm.spans import Span
from trine.llm.spool import keep
from trine.llm.traces import TAG
from trine.workspace import Workspace, active_producer, current_workspace, recording_uses

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_S = 5.0
MOST_UNKEPT = 500
"""Of a trace that goes on, calls that ended are kept after so many seconds, or when there are so many."""


@overload
def trace(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace(
    name: str = "",
    *,
    type: str = "",
    inputs: Any = None,
    attributes: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    experiment: str = "",
    session: str = "",
    user: str = "",
    ws: Workspace | None = None,
) -> Tracing: ...
def trace(
    name: Any = "",
    *,
    type: str = "",
    inputs: Any = None,
    attributes: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    experiment: str = "",
    session: str = "",
    user: str = "",
    ws: Workspace | None = None,
) -> Any:
    """A span around a block or a function. The outermost one is a trace, and what opens inside it is below it.

    `type` is what kind of call it is: llm, tool, retriever, embedding, agent, chain. A trace belongs to the run that is active, or
    to `experiment`; `session` and `user` say whose conversation it is part of.

        @trine.trace
        def answer(question): ...

        with trine.trace("ask the model", type="llm", inputs=messages) as span:
            span.outputs = client.chat(messages)
            span.tokens(input=812, output=64, model="gpt-4o")

    On a function, arguments and result are kept; of a generator, all it yields; `async` functions are awaited.
    """
    if callable(name):
        return Tracing("")(name)
    told = {"session.id": session, "user.id": user}
    marks = {f"{TAG}{key}": str(value) for key, value in (tags or {}).items()}
    known = (attributes or {}) | {key: value for key, value in told.items() if value}
    return Tracing(name, type=type, inputs=inputs, attributes=known, marks=marks, experiment=experiment, ws=ws)


class Tracing:
    """What `trace` gives: opens a span when a block is entered, or around each call of a function that it decorates."""

    def __init__(
        self,
        name: str,
        *,
        type: str = "",
        inputs: Any = None,
        attributes: dict[str, Any] | None = None,
        marks: dict[str, str] | None = None,
        experiment: str = "",
        ws: Workspace | None = None,
    ) -> None:
        self._name = name
        self._type = type
        self._inputs = inputs
        self._attributes = attributes or {}
        self._marks = marks or {}
        self._experiment = experiment
        self._ws = ws
        self._open: list[tuple[LiveSpan, ExitStack]] = []

    def __enter__(self) -> LiveSpan:
        span, stack = self._start(self._name or "trace")
        self._open.append((span, stack))
        return span

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._end(*self._open.pop(), error)

    def _start(self, name: str) -> tuple[LiveSpan, ExitStack]:
        span = LiveSpan(name, type=self._type, parent=innermost.get())
        if self._inputs is not None:
            span.inputs = self._inputs
        span.attributes |= self._attributes
        span.root.attributes |= self._marks
        stack = ExitStack()
        if span.parent is None:
            stack.enter_context(recording_uses(span.use))
        mark = innermost.set(span)
        stack.callback(_leave, mark, span.parent)
        return span, stack

    def _end(self, span: LiveSpan, stack: ExitStack, error: BaseException | None = None) -> None:
        if error is not None:
            span.fail(error)
        stack.close()
        root = span.root
        root.done.append(span.ended())
        if span is root:
            _keep(self._ws, root.done, self._experiment)
        elif time.monotonic() - root.kept_s > PATIENCE_S or len(root.done) >= MOST_UNKEPT:
            done, root.done, root.kept_s = root.done, [], time.monotonic()
            _keep(self._ws, done, self._experiment)

    # -- on functions -------------------------------------------------------------------------------------------------------

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, traced."""
        signature = inspect.signature(function)
        name = self._name or getattr(function, "__name__", "call")

        def start(args: Any, kwargs: Any) -> tuple[LiveSpan, ExitStack]:
            span, stack = self._start(name)
            try:
                bound = signature.bind(*args, **kwargs)
                span.inputs = {key: plain_value(one) for key, one in bound.arguments.items() if key != "self"}
            except TypeError:
                pass  # the call itself will say so
            return span, stack

        if inspect.iscoroutinefunction(function):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                span, stack = start(args, kwargs)
                try:
                    span.outputs = result = await cast(Any, function)(*args, **kwargs)
                except BaseException as error:
                    self._end(span, stack, error)
                    raise
                self._end(span, stack)
                return result

            return cast(Any, functools.wraps(function)(awaited))
        if inspect.isgeneratorfunction(function):

            def yielded(*args: Any, **kwargs: Any) -> Iterator[Any]:
                return self._pieces(start, cast(Any, function), args, kwargs)

            return cast(Any, functools.wraps(function)(yielded))
        if inspect.isasyncgenfunction(function):

            async def streamed(*args: Any, **kwargs: Any) -> Any:
                span, stack = start(args, kwargs)
                stack.close()  # between pieces other code runs, which is not inside this span
                pieces: list[Any] = []
                span.outputs = pieces
                source = cast(Any, function)(*args, **kwargs)
                try:
                    while True:
                        with _inside(span):
                            try:
                                piece = await anext(source)
                            except StopAsyncIteration:
                                break
                        pieces.append(piece)
                        yield piece
                except BaseException as error:
                    await source.aclose()
                    self._end(span, stack, None if isinstance(error, GeneratorExit) else error)
                    raise
                self._end(span, stack)

            return cast(Any, functools.wraps(function)(streamed))

        def called(*args: Any, **kwargs: Any) -> Any:
            span, stack = start(args, kwargs)
            try:
                result = cast(Any, function)(*args, **kwargs)
                span.outputs = result
            except BaseException as error:
                self._end(span, stack, error)
                raise
            self._end(span, stack)
            return result

        return cast(Any, functools.wraps(function)(called))

    def _pieces(self, start: Any, function: Any, args: Any, kwargs: Any) -> Iterator[Any]:
        """What a generator yields, its span open until it ends; between pieces the caller's code is not inside it."""
        span, stack = start(args, kwargs)
        stack.close()
        pieces: list[Any] = []
        span.outputs = pieces
        source = function(*args, **kwargs)
        try:
            while True:
                with _inside(span):
                    try:
                        piece = next(source)
                    except StopIteration:
                        break
                pieces.append(piece)
                yield piece
        except BaseException as error:
            source.close()
            self._end(span, stack, None if isinstance(error, GeneratorExit) else error)
            raise
        self._end(span, stack)


@contextmanager
def _inside(span: LiveSpan) -> Generator[None]:
    mark = innermost.set(span)
    try:
        yield
    finally:
        _leave(mark, None)


def _leave(mark: contextvars.Token[LiveSpan | None], parent: LiveSpan | None) -> None:
    try:
        innermost.reset(mark)
    except ValueError:  # a generator that is closed in another context
        innermost.set(parent)


def _keep(ws: Workspace | None, spans: list[Span], experiment: str) -> None:
    """Keep a trace that has ended, and those that waited. Never raises."""
    try:
        ws = ws or current_workspace()
    except Exception as error:
        warnings.warn(f"A trace was lost: there is no workspace to keep it in ({error}).", stacklevel=2)
        return
    producer = active_producer()
    run = producer.removeprefix("run:") if producer.startswith("run:") else ""
    keep(ws, spans, experiment, run)
