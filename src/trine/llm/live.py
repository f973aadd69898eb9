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

import msgspec

from trine.ids import new_id
from trine.llm.spans import Span, SpanEvent, SpanState
from trine.llm.spool import keep
from trine.llm.traces import TAG, USES
from trine.workspace import Workspace, active_producer, current_workspace, recording_uses

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 1_000_000
"""Bytes of one value (as JSON) that a span keeps; of a longer one it keeps the beginning."""

PATIENCE_S = 5.0
MOST_UNKEPT = 500
"""Of a trace that goes on, calls that ended are kept after so many seconds, or when there are so many."""

_active: contextvars.ContextVar[LiveSpan | None] = contextvars.ContextVar("trine_span", default=None)


def active_span() -> LiveSpan | None:
    """The innermost span that is open here, or None."""
    return _active.get()


class LiveSpan:
    """A span that is open: say what it was given and gave, and anything else worth knowing."""

    def __init__(self, name: str, *, type: str = "", parent: LiveSpan | None = None) -> None:
        self.name = name
        self.type = type
        self.id = new_id()[-16:]
        self.parent = parent
        self.root: LiveSpan = parent.root if parent else self
        self.trace_id: str = parent.trace_id if parent else new_id()
        self.attributes: dict[str, Any] = {}
        self.events: list[SpanEvent] = []
        self.state: SpanState = "unknown"
        self.message = ""
        self.start_ns = time.time_ns()
        self.done: list[Span] = []
        """Of the root: the spans of its trace that have ended and are not kept yet."""
        self.kept_s = time.monotonic()

    def set(self, **attributes: Any) -> None:
        """Set attributes; a name that Python cannot spell: `span.attributes["gen_ai.request.model"] = …`."""
        self.attributes |= attributes

    @property
    def inputs(self) -> Any:
        """What the call was given."""
        return self.attributes.get("input.value")

    @inputs.setter
    def inputs(self, value: Any) -> None:
        self.attributes["input.value"] = value

    @property
    def outputs(self) -> Any:
        """What the call gave."""
        return self.attributes.get("output.value")

    @outputs.setter
    def outputs(self, value: Any) -> None:
        self.attributes["output.value"] = value

    def tokens(self, input: int, output: int, *, model: str = "", cost: float | None = None) -> None:
        """Say how many tokens a call to a language model took, of which model, and its price in USD."""
        self.attributes |= {"gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": output}
        if model:
            self.attributes["gen_ai.request.model"] = model
        if cost is not None:
            self.attributes["gen_ai.usage.cost"] = cost

    def event(self, name: str, **attributes: Any) -> None:
        """Something that happened now."""
        self.events.append(SpanEvent(name, time.time_ns(), _plain(attributes)))

    def tag(self, **tags: str) -> None:
        """Set tags of the whole trace."""
        self.root.attributes |= {f"{TAG}{key}": str(value) for key, value in tags.items()}

    def use(self, node: str) -> None:
        """Say that the trace used something versioned: `model:delays@3`. What Trine itself loads inside a trace is said already."""
        used = self.root.attributes.setdefault(USES, [])
        if node not in used:
            used.append(node)

    def fail(self, error: BaseException | str) -> None:
        """Say that the call failed, and how."""
        self.state = "error"
        self.message = error if isinstance(error, str) else f"{_named(error)}: {error}"
        if isinstance(error, BaseException):
            self.event("exception", **{"exception.type": _named(error), "exception.message": str(error)})

    def ended(self) -> Span:
        """The span as it is kept."""
        attributes = {key: _short(_plain(value)) for key, value in self.attributes.items()}
        if self.type:
            attributes.setdefault("openinference.span.kind", self.type.upper())
        return Span(
            trace=self.trace_id,
            id=self.id,
            parent=self.parent.id if self.parent else "",
            name=self.name,
            start_ns=self.start_ns,
            end_ns=max(time.time_ns(), self.start_ns + 1),
            state="ok" if self.state == "unknown" else self.state,
            message=self.message,
            attributes=attributes,
            events=self.events,
        )


def _named(error: BaseException) -> str:
    return type(error).__name__


def _plain(value: Any) -> Any:
    """A value as JSON can say it; what it cannot say is its `repr`."""
    try:
        found = msgspec.json.decode(msgspec.json.encode(value, enc_hook=repr))
        msgspec.msgpack.encode(found)  # which whole numbers of more than 64 bits do not pass
        return found
    except Exception:  # whatever a value of somebody's may do when it is looked at
        try:
            return repr(value)
        except Exception as error:
            return f"<{type(value).__name__}: {_named(error)} in its repr>"


def _short(value: Any) -> Any:
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= LONGEST else text[:LONGEST] + f"… ({len(text):,} characters)"


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
        span = LiveSpan(name, type=self._type, parent=_active.get())
        if self._inputs is not None:
            span.inputs = self._inputs
        span.attributes |= self._attributes
        span.root.attributes |= self._marks
        stack = ExitStack()
        if span.parent is None:
            stack.enter_context(recording_uses(span.use))
        mark = _active.set(span)
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
                span.inputs = {key: _plain(one) for key, one in bound.arguments.items() if key != "self"}
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
    mark = _active.set(span)
    try:
        yield
    finally:
        _leave(mark, None)


def _leave(mark: contextvars.Token[LiveSpan | None], parent: LiveSpan | None) -> None:
    try:
        _active.reset(mark)
    except ValueError:  # a generator that is closed in another context
        _active.set(parent)


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
