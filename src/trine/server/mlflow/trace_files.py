"""The files of a trace: `traces.json`, which is its spans, and what those refer to."""

from __future__ import annotations

from trine.llm import operations as door
from trine.llm.spans import pack
from trine.server.mlflow.span_forms import spans_in, spans_json
from trine.tracking.runs import Artifact
from trine.workspace import Workspace

SPANS = "traces.json"


def files_of(ws: Workspace, trace: str) -> list[Artifact]:
    """The files of a trace, the one of its spans among them when there are any. Raises NotFound."""
    found = door.list_trace_files(ws, id=trace)
    if spans := door.get_trace(ws, id=trace).spans:
        data = spans_json(spans)
        found.append(Artifact(SPANS, ws.store.put(data), len(data)))
    return found


def keep(ws: Workspace, trace: str, files: list[Artifact]) -> None:
    """Take in spans that come as a file, and keep other files with the trace. Raises NotFound."""
    group = door.get_trace_info(ws, id=trace).experiment
    others = [one for one in files if one.path != SPANS]
    for one in files:
        if one.path == SPANS and (spans := spans_in(ws.store.get(one.hash), trace)):
            door.record_spans(ws, spans=pack(spans), experiment_name=group)
    if others:
        door.record_trace_files(ws, id=trace, files=others)
