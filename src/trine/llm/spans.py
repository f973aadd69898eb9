"""Spans: what one call inside a trace did, and the compact form in which many of them are kept.

A span is OpenTelemetry's: ids as hex, times in nanoseconds, attributes of any JSON-able form. What a span was asked, what it
answered, which model and how many tokens it took stands in attributes, for which there are several conventions; the readers
here know those of OpenTelemetry's GenAI, OpenInference, OpenLLMetry and MLflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec

from trine.errors import Damaged, InvalidInput, TooLarge

SpanState = Literal["unknown", "ok", "error"]

TraceId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="32 hex digits")]
SpanId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$(?!\n)", description="16 hex digits")]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

MOST_SPANS = 50_000
"""Spans that are taken in at once."""
LARGEST_BYTES = 256 << 20
"""Bytes of spans that are taken in at once, unpacked."""


class SpanEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened at one moment of a span."""

    name: str
    time_ns: Nanoseconds
    attributes: dict[str, Any] = {}


class SpanLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another span, perhaps of another trace, that a span has to do with."""

    trace: TraceId
    span: SpanId
    attributes: dict[str, Any] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call inside a trace. `parent` is empty for the root, `end_ns` 0 while it goes on; `kind` is OpenTelemetry's number."""

    trace: TraceId
    id: SpanId
    parent: str = ""
    name: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds = 0
    state: SpanState = "unknown"
    message: str = ""
    kind: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    scope: str = ""
    attributes: dict[str, Any] = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    resource: dict[str, Any] = {}

    @property
    def duration_us(self) -> int | None:
        """Microseconds from its start to its end; None while it goes on."""
        return max(0, self.end_ns - self.start_ns) // 1_000 if self.end_ns else None

    @property
    def type(self) -> str:
        """What kind of call it is, in lower case: llm, chat_model, tool, retriever, embedding, agent, chain …"""
        found = _first(self.attributes, _TYPES)
        return str(found).lower() if isinstance(found, str) else ""

    @property
    def inputs(self) -> Any:
        """What the call was given."""
        return _first(self.attributes, _INPUTS)

    @property
    def outputs(self) -> Any:
        """What the call gave."""
        return _first(self.attributes, _OUTPUTS)

    @property
    def model(self) -> str:
        """The language model that answered, as its provider calls it."""
        return str(_first(self.attributes, _MODELS) or "")

    @property
    def usage(self) -> Usage:
        """The tokens the call took, and what it cost."""
        told = self.attributes.get("mlflow.chat.tokenUsage")
        cost = self.attributes.get("mlflow.llm.cost")
        usage = cast(dict[str, Any], told) if isinstance(told, dict) else {}
        costs = cast(dict[str, Any], cost) if isinstance(cost, dict) else {}
        given = _count(usage.get("input_tokens", _first(self.attributes, _INPUT_TOKENS)))
        made = _count(usage.get("output_tokens", _first(self.attributes, _OUTPUT_TOKENS)))
        total = _count(usage.get("total_tokens", _first(self.attributes, _TOTAL_TOKENS)))
        if total is None and (given is not None or made is not None):
            total = (given or 0) + (made or 0)
        price = costs.get("total_cost", _first(self.attributes, _COSTS))
        return Usage(given, made, total, float(price) if _is_number(price) else None)


class Usage(NamedTuple):
    """Tokens and money; None is what nobody counted."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost: float | None = None


_TYPES = ("mlflow.spanType", "openinference.span.kind", "traceloop.span.kind", "gen_ai.operation.name")
_INPUTS = (
    "mlflow.spanInputs", "input.value", "gen_ai.input.messages", "traceloop.entity.input", "gen_ai.tool.call.arguments",
    "gen_ai.prompt",
)  # fmt: skip
_OUTPUTS = (
    "mlflow.spanOutputs", "output.value", "gen_ai.output.messages", "traceloop.entity.output", "gen_ai.tool.call.result",
    "gen_ai.completion",
)  # fmt: skip
_MODELS = ("gen_ai.response.model", "gen_ai.request.model", "mlflow.llm.model", "llm.model_name")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens")
_TOTAL_TOKENS = ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens")
_COSTS = ("gen_ai.usage.cost", "llm.cost.total")
SESSIONS = ("session.id", "gen_ai.conversation.id", "mlflow.trace.session")
USERS = ("user.id", "enduser.id", "mlflow.trace.user")


def _first(attributes: dict[str, Any], names: Iterable[str]) -> Any:
    """The value of the first of some attributes that is there."""
    for name in names:
        if (found := attributes.get(name)) is not None:
            return found
    return None


def said(spans: Sequence[Span], names: Iterable[str]) -> str:
    """The first text that one of some attributes has in spans."""
    names = tuple(names)
    return next((str(found) for one in spans if (found := _first(one.attributes, names)) not in (None, "")), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0


def _count(value: Any) -> int | None:
    return int(value) if _is_number(value) and 0 <= value < 2**62 else None


# -- kept together --------------------------------------------------------------------------------------------------------

_READ = msgspec.msgpack.Decoder(list[Span])


def pack(spans: Sequence[Span]) -> bytes:
    """Spans as bytes: MessagePack in one zstandard frame with a checksum. Raises InvalidInput for numbers that do not fit."""
    import zstandard

    try:
        data = msgspec.msgpack.encode(spans, enc_hook=repr)
    except OverflowError:
        raise InvalidInput("A whole number in an attribute of a span has at most 64 bits.") from None
    return zstandard.ZstdCompressor(level=6, write_checksum=True).compress(data)


def unpack(data: bytes) -> list[Span]:
    """Spans from bytes. Raises InvalidInput when they are none, and TooLarge."""
    import zstandard

    try:
        if zstandard.frame_content_size(data) > LARGEST_BYTES:
            raise TooLarge(f"Spans of more than {LARGEST_BYTES >> 20} MB at once. Send them in parts.")
        found = _READ.decode(zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise InvalidInput(f"These bytes are no spans: {error}.") from None
    if len(found) > MOST_SPANS:
        raise TooLarge(f"{len(found):,} spans at once: at most {MOST_SPANS:,} are taken. Send them in parts.")
    return found


def read_back(data: bytes, where: str) -> list[Span]:
    """Spans that were kept. Raises Damaged naming the place when their checksum does not fit."""
    try:
        return unpack(data)
    except InvalidInput as error:
        raise Damaged(f"The spans of {where} are damaged: {error.message}", path=where) from None
