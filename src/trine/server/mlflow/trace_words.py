"""The words by which MLflow's clients speak of traces: names of tags and metadata, ids, times, states.

MLflow's id of a trace is ours with `tr-` before it. Messages are proto-JSON: times as text, 64-bit numbers as text or numbers.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, TypeVar

import msgspec

from trine.ids import to_datetime
from trine.llm.traces import State
from trine.server.mlflow.errors import invalid, missing, needed, wrong_type

F = TypeVar("F")
PREFIX = "tr-"
NAME, LOCATION, SPANS = "mlflow.traceName", "mlflow.artifactLocation", "mlflow.trace.spansLocation"
USAGE, COST, SIZES = "mlflow.trace.tokenUsage", "mlflow.trace.cost", "mlflow.trace.sizeStats"
SESSION, USER, RUN, REQUEST = "mlflow.trace.session", "mlflow.trace.user", "mlflow.sourceRun", "mlflow.traceRequestId"
PROMPTS = "mlflow.linkedPrompts"
FIXED = frozenset({LOCATION, SPANS, "mlflow.trace.archiveLocation", "mlflow.user"})
"""Tags that nobody sets or deletes."""

STATES: dict[str, State] = {"OK": "ok", "ERROR": "error", "IN_PROGRESS": "running", "STATE_UNSPECIFIED": "unknown"}


def id_of(text: str) -> str:
    """Our id of a trace. Raises WireError when no trace can have that one."""
    found = text.removeprefix(PREFIX)
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise missing(f"Trace with ID '{text}' not found.")
    return found


def time_of(us: int) -> str:
    return to_datetime(us).isoformat().replace("+00:00", "Z")


def us_of(text: Any, where: str) -> int:
    """Microseconds of a Timestamp."""
    if text is None:
        raise needed(where)
    try:
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text)
        when = dt.datetime.fromisoformat(trimmed)
        return max(0, (when - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1))
    except (TypeError, ValueError):
        raise wrong_type(where, text) from None


def seconds_of(text: Any, where: str) -> int | None:
    """Microseconds of a Duration ("1.5s")."""
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,12}(\.\d{1,9})?s", text):
        raise wrong_type(where, text)
    return round(float(text[:-1]) * 1e6)


def read(told: Any, kind: type[F], where: str) -> F:
    """A message that a client sends. Raises WireError naming the field that is wrong."""
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid value for parameter '{where}' supplied: {error}") from None
