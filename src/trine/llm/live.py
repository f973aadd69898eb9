"""Spans that are open: what the code inside them says of itself."""

from __future__ import annotations

import contextvars
import time
from typing import Any

import msgspec

from trine.ids import new_id
from trine.llm.spans import Span, SpanEvent, SpanState
from trine.llm.traces import TAG, USES

LONGEST = 1_000_000
"""Bytes of one value (as JSON) that a span keeps; of a longer one it keeps the beginning."""

innermost: contextvars.ContextVar[LiveSpan | None] = contextvars.ContextVar("trine_span", default=None)
"""The span that is open here."""


def active_span() -> LiveSpan | None:
    """The innermost span that is open here, or None."""
    return innermost.get()


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
        self.events.append(SpanEvent(name, time.time_ns(), plain_value(attributes)))

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
        self.message = error if isinstance(error, str) else f"{name_of(error)}: {error}"
        if isinstance(error, BaseException):
            self.event("exception", **{"exception.type": name_of(error), "exception.message": str(error)})

    def ended(self) -> Span:
        """The span as it is kept."""
        attributes = {key: shortened(plain_value(value)) for key, value in self.attributes.items()}
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


def name_of(error: BaseException) -> str:
    return type(error).__name__


def plain_value(value: Any) -> Any:
    """A value as JSON can say it; what it cannot say is its `repr`."""
    try:
        found = msgspec.json.decode(msgspec.json.encode(value, enc_hook=repr))
        msgspec.msgpack.encode(found)  # which whole numbers of more than 64 bits do not pass
        return found
    except Exception:  # whatever a value of somebody's may do when it is looked at
        try:
            return repr(value)
        except Exception as error:
            return f"<{type(value).__name__}: {name_of(error)} in its repr>"


def shortened(value: Any) -> Any:
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= LONGEST else text[:LONGEST] + f"… ({len(text):,} characters)"
