"""Traces as values: what is known of one as a whole, and how that follows from its spans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec

from trine.llm.assessment import Assessment
from trine.llm.spans import SESSIONS, USERS, Span, Usage, said

State = Literal["running", "ok", "error", "unknown"]
LONGEST_PREVIEW = 1_000
"""Characters of what was asked and answered that stand with the trace itself; the whole is in its spans."""

LongText = Annotated[str, msgspec.Meta(max_length=64_000, pattern=r"^[^\x00]*$(?!\n)")]

USES = "trine.uses"
"""The attribute of a span that lists the versioned things its trace used, as nodes (`model:delays@3`)."""

TAG = "mlflow.traceTag."
"""The beginning of an attribute of the root that is a tag of the trace."""

_NODE = re.compile(r"[a-z_]+:[^\s@]+@[^\s@]+")


class TraceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A trace without its spans. Times are microseconds, `request` and `response` the beginnings of what was asked and answered,
    tokens and cost sums over its spans; of `tags` anybody may change, `metadata` is what its maker said once."""

    id: str
    experiment: str
    name: str
    state: State
    started_us: int
    duration_us: int | None
    request: str
    response: str
    client_request: str
    session: str
    user: str
    spans: int
    size_bytes: int
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cost: float | None
    metadata: dict[str, str]
    tags: dict[str, str]
    runs: list[str]
    assessments: list[Assessment]

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"trace:{self.id}"


class Trace(msgspec.Struct, frozen=True):
    """A trace with its spans, by the time they started."""

    info: TraceInfo
    spans: list[Span]

    @property
    def root(self) -> Span | None:
        """The span that all others are below, when it has arrived."""
        return root_of(self.spans)


def root_of(spans: Sequence[Span]) -> Span | None:
    """The span without a parent; the first, if there are several."""
    return min((one for one in spans if not one.parent), key=lambda one: one.start_ns, default=None)


def merged(parts: Iterable[list[Span]]) -> list[Span]:
    """The spans of several parts, by the time they started; of one that came more than once, the last."""
    found = {one.id: one for part in parts for one in part}
    return sorted(found.values(), key=lambda one: (one.start_ns, one.id))


def preview(value: Any) -> str:
    """The beginning of what was asked or answered: the last message of a chat, text as it is, else JSON."""
    if value is None:
        return ""
    text = _message(value) or (value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode())
    text = text.replace("\0", "\ufffd")
    return text if len(text) <= LONGEST_PREVIEW else text[: LONGEST_PREVIEW - 3] + "..."


def _message(value: Any) -> str:
    """The text of the last message of a chat in OpenAI's form, or nothing."""
    if isinstance(value, str):
        if not value.startswith(("{", "[")):
            return ""
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return ""
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value)
        messages: Any = fields.get("messages")
        if messages is None and isinstance(fields.get("choices"), list):
            messages = [one.get("message") for one in fields["choices"][:1] if isinstance(one, dict)]
    else:
        messages = value
    if not isinstance(messages, list) or not messages:
        return ""
    last: Any = messages[-1]
    content = cast(dict[str, Any], last).get("content") if isinstance(last, dict) and "role" in last else None
    return content if isinstance(content, str) else ""


class Summary(NamedTuple):
    """What a batch of spans of one trace says of it; None is what it does not say."""

    started_us: int
    ended_us: int | None
    state: State | None
    name: str | None
    request: str
    response: str
    session: str
    user: str
    tags: dict[str, str]
    uses: list[str]


def summary_of(spans: Sequence[Span]) -> Summary:
    """What spans of one trace say of it as a whole."""
    root = root_of(spans)
    ends = [one.end_ns for one in spans if one.end_ns]
    state: State | None = None
    if root is not None:
        state = "running" if not root.end_ns else "error" if root.state == "error" else "ok"
    return Summary(
        started_us=min(one.start_ns for one in spans) // 1_000,
        ended_us=max(ends) // 1_000 if ends else None,
        state=state,
        name=root and clean(root.name),
        request=preview(root.inputs) if root else "",
        response=preview(root.outputs) if root else "",
        session=clean(said(spans, SESSIONS))[:250],
        user=clean(said(spans, USERS))[:250],
        tags=_tags(spans, root),
        uses=_uses(spans),
    )


def _tags(spans: Sequence[Span], root: Span | None) -> dict[str, str]:
    """What the resource and the root say beside: `service.name` and the like, and tags that were carried as attributes."""
    found: dict[str, str] = {}
    resource = next((one.resource for one in spans if one.resource), {})
    carried = {k.removeprefix(TAG): v for k, v in root.attributes.items() if k.startswith(TAG)} if root else {}
    told = {key: v for key, v in resource.items() if not key.startswith(("telemetry.sdk.", "mlflow."))} | carried
    for key, value in told.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()
        if 0 < len(key) <= 250 and key.isprintable() and len(text) <= 8_000 and key != "mlflow.traceName":
            found[key] = clean(text)
    return found


def _uses(spans: Sequence[Span]) -> list[str]:
    told = [one.attributes.get(USES) for one in spans]
    nodes = [node for some in told if isinstance(some, list) for node in cast(list[Any], some)]
    return [node for node in dict.fromkeys(nodes) if isinstance(node, str) and _NODE.fullmatch(node)]


def clean(text: str) -> str:
    """A text as a column keeps it: at most 500 characters, no NUL."""
    return text.replace("\0", "\ufffd")[:500]


def total(spans: Iterable[tuple[str, str, Usage]]) -> Usage:
    """The sum over a tree of (id, parent, usage): a span that counts counts for all below it."""
    of = {id: (parent, usage) for id, parent, usage in spans}
    sums: list[float | None] = [None, None, None, None]
    for at in range(4):
        for id, (parent, usage) in of.items():
            value = usage[at]
            if value is None or _is_counted_above(of, parent, at, id):
                continue
            sums[at] = (sums[at] or 0) + value
    given, made, both = (None if one is None else int(one) for one in sums[:3])
    return Usage(given, made, both, sums[3])


def _is_counted_above(of: dict[str, tuple[str, Usage]], parent: str, at: int, start: str) -> bool:
    seen = {start}
    while parent in of and parent not in seen:
        seen.add(parent)
        parent, usage = of[parent]
        if usage[at] is not None:
            return True
    return False
