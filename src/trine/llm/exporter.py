"""OpenTelemetry inside the program: what its SDK and the instrumentations of others record goes into the workspace, without a server.

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(trine.llm.span_exporter()))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trine.extras import need
from trine.llm.otlp import STATES
from trine.llm.spans import Span, SpanEvent, SpanLink
from trine.llm.spool import keep
from trine.workspace import Workspace, active_producer, current_workspace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter


def span_exporter(*, experiment: str = "", ws: Workspace | None = None) -> SpanExporter:
    """An exporter for OpenTelemetry's SDK. Traces belong to the run that is active where they are exported (with a
    `SimpleSpanProcessor` that is where they end), or to `experiment`.

    What cannot be kept waits, as with `trine.trace`. Raises InvalidInput when the SDK is not installed.
    """
    base = need("opentelemetry.sdk.trace.export", extra="otlp", purpose="Exporting spans of OpenTelemetry's SDK")
    there = ws or current_workspace()

    class WorkspaceExporter(base.SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            producer = active_producer()
            run = producer.removeprefix("run:") if producer.startswith("run:") else ""
            keep(there, [_span(one) for one in spans], experiment, run)
            return base.SpanExportResult.SUCCESS

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

    return WorkspaceExporter()


def _span(one: Any) -> Span:
    """A span of the SDK as ours."""
    context = one.context
    return Span(
        trace=f"{context.trace_id:032x}",
        id=f"{context.span_id:016x}",
        parent=f"{one.parent.span_id:016x}" if one.parent else "",
        name=one.name,
        start_ns=one.start_time or 0,
        end_ns=one.end_time or 0,
        state=STATES[one.status.status_code.value],
        message=one.status.description or "",
        kind=one.kind.value + 1,
        scope=one.instrumentation_scope.name if one.instrumentation_scope else "",
        attributes=_plain(one.attributes),
        events=[SpanEvent(it.name, it.timestamp, _plain(it.attributes)) for it in one.events],
        links=[
            SpanLink(f"{it.context.trace_id:032x}", f"{it.context.span_id:016x}", _plain(it.attributes))
            for it in one.links
        ],
        resource=_plain(one.resource.attributes) if one.resource else {},
    )


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes with lists where the SDK has tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in (attributes or {}).items()}
