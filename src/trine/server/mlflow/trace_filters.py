"""MLflow's filters of traces in Trine's grammar, into which they are translated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trine.errors import InvalidInput
from trine.llm.expression import TraceBuilder
from trine.server.mlflow.errors import WireError, invalid
from trine.server.mlflow.filters import Clause, moment, named, parse, parse_order, quoted, textual
from trine.server.mlflow.trace_words import NAME, PREFIX, PROMPTS, RUN, SESSION, STATES, USER
from trine.tracking.expression import parse_search

_TEXTUAL = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_NUMERIC = ("=", "!=", ">", ">=", "<", "<=")
_TEXTS = {
    "request_id": "id", "trace_id": "id", "status": "state", "state": "state", "client_request_id": "client_request",
    "name": "name", "run_id": "run",
}  # fmt: skip
_TIMES = {"timestamp": "started", "timestamp_ms": "started", "end_time": "ended", "end_time_ms": "ended"}
_SPANS = {"name": "name", "type": "type", "status": "state", "content": "text"}
_SPAN_STATES = {"OK": "ok", "ERROR": "error", "UNSET": "unknown"}
VALID = (
    "timestamp", "timestamp_ms", "execution_time", "execution_time_ms", "end_time", "end_time_ms", "status", "name",
    "run_id", "request_id", "client_request_id", "prompt", "text",
)  # fmt: skip


def trace_expression(text: str) -> str:
    """The same search in Trine's grammar; what MLflow cannot say may be said as Trine says it. Raises WireError."""
    try:
        return " and ".join(_clause(one) for one in parse(text))
    except WireError as error:
        try:
            parse_search(text, TraceBuilder)
        except InvalidInput as ours:
            raise invalid(f"{error.message} {ours.message}") from None
        return text


def _clause(one: Clause) -> str:
    kind, key, comparator, value = one
    if comparator == "RLIKE":
        raise invalid("RLIKE is not known here: use LIKE or ILIKE.")
    if kind == "tag" and key == NAME:
        kind, key = "attribute", "name"
    if kind == "metadata" and key in (SESSION, USER, RUN):
        return _text({SESSION: "session", USER: "user", RUN: "run"}[key], comparator, value)
    if kind in ("tag", "metadata"):
        return _text(named("tags" if kind == "tag" else "metadata", key), comparator, value)
    if kind in ("feedback", "expectation"):
        field = named(kind, key)
        if isinstance(value, (int, float)):
            return f"{field} {comparator} {value!r}"
        return _text(field, comparator, value)
    if kind == "span":
        return _span(key, comparator, value)
    if kind != "attribute":
        raise invalid(
            f"Invalid entity type '{kind}'. Valid values are ['tag', 'metadata', 'attribute', 'span', 'feedback', 'expectation']"
        )
    return _attribute(key, comparator, value)


def _attribute(key: str, comparator: str, value: Any) -> str:
    if key in _TIMES or key in ("execution_time", "execution_time_ms"):
        if comparator not in _NUMERIC or not isinstance(value, (int, float)):
            raise invalid(f"Expected numeric value type for numeric attribute: {key}. Found {value!r}")
        return moment(_TIMES[key], comparator, int(value)) if key in _TIMES else _duration(comparator, int(value))
    if key == "text":
        return _span("content", comparator, value)
    if key == "prompt":
        name, _, version = str(value).partition("/")
        if comparator != "=" or not version:
            raise invalid(f"Invalid prompts filter value '{value}'. Expected format: prompt = \"name/version\"")
        like = f'%"name": "{name}", "version": "{version}"%'.replace("\\", "\\\\").replace("_", "\\_")
        return f"{named('tags', PROMPTS)} like {quoted(like)}"
    field = _TEXTS.get(key)
    if field is None:
        raise invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{set(VALID)}'")
    if field == "state":
        value = _each(value, lambda text: STATES.get(text.upper(), text.lower()))
    if field == "id":
        value = _each(value, lambda text: text.removeprefix(PREFIX))
    return _text(field, comparator, value)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [change(str(one)) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return change(value) if isinstance(value, str) else value


def _span(key: str, comparator: str, value: Any) -> str:
    if key.startswith("attributes."):
        return _text(f"span.{named('attributes', key.removeprefix('attributes.').strip('`'))}", comparator, value)
    field = _SPANS.get(key)
    if field is None:
        raise invalid(
            f"Invalid span attribute '{key}'. Supported attributes: name, status, type, attributes.<attribute_name>."
        )
    if field == "type":
        value = _each(value, str.lower)
    if field == "state":
        value = _each(value, lambda text: _SPAN_STATES.get(text.upper(), text.lower()))
    return _text(f"span.{field}", comparator, value)


def _duration(comparator: str, ms: int) -> str:
    """A comparison with a millisecond, of which there are a thousand durations."""
    first, following = ms / 1_000, (ms + 1) / 1_000
    match comparator:
        case "=":
            return f"(duration >= {first!r} and duration < {following!r})"
        case "!=":
            return f"(duration < {first!r} or duration >= {following!r})"
        case ">":
            return f"duration >= {following!r}"
        case "<=":
            return f"duration < {following!r}"
        case _:
            return f"duration {comparator} {first!r}"


def _text(field: str, comparator: str, value: Any) -> str:
    if not comparator.startswith("IS ") and comparator not in _TEXTUAL:
        raise invalid(f"Invalid comparator '{comparator}' not one of '{set(_TEXTUAL)}'")
    return textual(field, comparator, value)


_ORDERS = {
    **_TIMES, "execution_time": "duration", "execution_time_ms": "duration", "status": "state", "name": "name",
    "request_id": "id", "trace_id": "id", "experiment_id": "experiment", "run_id": f'metadata."{RUN}"',
}  # fmt: skip


def trace_order(terms: Iterable[str]) -> str:
    """An order of traces in Trine's grammar."""
    found: list[str] = []
    for kind, key, descending in parse_order(terms):
        if kind == "attribute":
            if key not in _ORDERS:
                raise invalid(f"Invalid order_by key '{key}' specified. Valid keys are '{set(_ORDERS)}'")
            field = _ORDERS[key]
        elif kind in ("tag", "metadata"):
            field = "name" if key == NAME else named("tags" if kind == "tag" else "metadata", key)
        else:
            raise invalid(f"Invalid order_by entity type '{kind}'")
        found.append(f"{field} {'desc' if descending else 'asc'}")
    return ", ".join(found)
