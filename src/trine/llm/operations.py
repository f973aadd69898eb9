"""The door's part on traces: taken in, told, read, tagged, linked to runs, deleted."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, select, update

from trine.errors import InvalidInput, NotFound
from trine.ledger import upsert
from trine.ledger.tables import node
from trine.llm import ledger_traces
from trine.llm.assessment import Assessment
from trine.llm.assessments import add_assessment
from trine.llm.assessments import create_assessment as create_assessment
from trine.llm.assessments import delete_assessment as delete_assessment
from trine.llm.assessments import get_assessment as get_assessment
from trine.llm.assessments import update_assessment as update_assessment
from trine.llm.ledger_traces import experiment_number
from trine.llm.recording import blank, find, link_run, take_in, write_texts
from trine.llm.searching import count, find_traces
from trine.llm.spans import Span, TraceId, unpack
from trine.llm.sums import list_sessions as list_sessions
from trine.llm.sums import span_totals as span_totals
from trine.llm.tables import assessment, trace, trace_file, trace_part, trace_run, trace_span, trace_text
from trine.llm.traces import LongText, State, Trace, TraceInfo, preview
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.tracking import ledger_runs
from trine.tracking.artifact_files import check_path
from trine.tracking.recording import experiment_of
from trine.tracking.runs import Artifact, Key, Natural, TagText, Title
from trine.types import Micros
from trine.workspace import Workspace

MOST_TRACES = 10_000
"""Traces that one call deletes."""
Short = Annotated[str, msgspec.Meta(max_length=250, pattern=r"^[^\x00]*$(?!\n)")]
Named = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*$(?!\n)")]


class Taken(msgspec.Struct, frozen=True):
    """The traces that spans were taken into, and how many spans there were."""

    traces: list[str]
    spans: int


class Deleted(msgspec.Struct, frozen=True):
    """How many traces are gone, and the bytes of their spans; `more` when others would have been to delete too."""

    traces: int
    size_bytes: int
    more: bool = False


@operation("POST /traces/spans", allows="llm.write", keeps=False)
def record_spans(ws: Workspace, *, spans: bytes, experiment_name: Title | None = None, run: str = "") -> Taken:
    """Take in spans (packed), of any traces, finished or not, in any order; one that is there already is replaced.

    A new trace is of the experiment that is named, of its run's, or of `default`; on disk when this returns.
    """
    by_trace: dict[str, list[Span]] = {}
    found = unpack(spans)
    for one in found:
        by_trace.setdefault(one.trace, []).append(one)
    group, of = _place(ws, experiment_name, run)
    rows = take_in(ws, by_trace, group)
    if of:
        link_run(ws, rows, of)
    ids = list(by_trace)
    ws.tx.touch(f"trace:{ids[0]}" if len(ids) == 1 else "traces", after=ids)
    ws.tx.note(traces=len(ids), spans=len(found))
    return Taken(ids, len(found))


def _place(ws: Workspace, experiment_name: str | None, run: str) -> tuple[int, str]:
    """The experiment (made when it is new) and the run, whole, that traces belong to."""
    row = ledger_runs.row_of(ws, run) if run else None
    if row is not None and experiment_name in (None, row.experiment_name):
        return row.experiment, row.id
    return experiment_of(ws, experiment_name or "default"), row.id if row is not None else ""


@operation("PUT /traces/{id}", allows="llm.write")
def record_trace(
    ws: Workspace,
    *,
    id: TraceId,
    experiment_name: Title = "default",
    state: State = "ok",
    started_us: Micros,
    duration_us: Natural | None = None,
    name: Named = "",
    request: LongText | None = None,
    response: LongText | None = None,
    client_request: Named = "",
    session: Short = "",
    user: Short = "",
    input_tokens: Natural | None = None,
    output_tokens: Natural | None = None,
    total_tokens: Natural | None = None,
    cost: float | None = None,
    run: str = "",
    metadata: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
    tags: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
    assessments: list[Assessment] = [],  # noqa: B006 (copied by the door)
) -> TraceInfo:
    """Say what a trace is as a whole, as its client knows it; its spans come before or after, and do not change that."""
    group = experiment_of(ws, experiment_name)
    row = find(ws, id)
    told: dict[str, Any] = {
        "experiment": group, "state": state, "told": True, "started_us": started_us, "duration_us": duration_us,
        "client_request": client_request,
    }  # fmt: skip
    if name:
        told["name"] = name
    shown = {"request": None if request is None else preview(request)} | {
        "response": None if response is None else preview(response)
    }
    counted = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total_tokens, "cost": cost}
    told |= {key: value for key, value in (shown | counted).items() if value is not None}
    told |= {key: value for key, value in (("session", session), ("user", user)) if value}
    if row is None:
        ws.tx.execute(trace.insert().values(**(blank(ws, id, group, started_us) | told)))
        row = find(ws, id)
    else:
        ws.tx.execute(update(trace).where(trace.c.row == row.row).values(**told))
    write_texts(ws, row.row, "metadata", metadata)
    write_texts(ws, row.row, "tag", tags)
    for one in assessments:
        add_assessment(ws, row, one)
    if run and (of := _known_run(ws, run)):
        link_run(ws, [row], of)
    if made := _logged_model(ws, metadata.get("mlflow.modelId", "")):
        ws.tx.link(f"trace:{id}", "used", made)
    after = get_trace_info(ws, id=id)
    ws.tx.touch(f"trace:{id}", after=after)
    return after


def _known_run(ws: Workspace, run: str) -> str:
    """The run's id, when there is one: a trace may outlive its run, and arrive after it."""
    try:
        return ledger_runs.row_of(ws, run).id
    except (NotFound, InvalidInput):
        return ""


def _logged_model(ws: Workspace, id: str) -> str:
    """The node of a model that a run wrote, when the graph has it."""
    wanted = f"logged_model:{id}"
    mine = node.c.project == ws.project
    return (ws.tx.scalar(select(node.c.ref).where(mine, node.c.ref == wanted)) or "") if id else ""


@operation("GET /traces/{id}/info", allows="llm.read")
def get_trace_info(ws: Workspace, *, id: str) -> TraceInfo:
    """A trace without its spans, by its id or the beginning of it."""
    return ledger_traces.load(ws, [ledger_traces.row_of(ws, id)])[0]


@operation("GET /traces/{id}", allows="llm.read")
def get_trace(ws: Workspace, *, id: str) -> Trace:
    """A trace with its spans, by its id or the beginning of it. Raises Damaged when they cannot be read."""
    row = ledger_traces.row_of(ws, id)
    return Trace(ledger_traces.load(ws, [row])[0], ledger_traces.spans_of(ws, row))


@operation("GET /whole-traces", allows="llm.read")
def get_traces(ws: Workspace, *, ids: Annotated[list[str], msgspec.Meta(max_length=500)]) -> list[Trace]:
    """Those of some traces that are there, with their spans, in the order asked for. Raises Damaged."""
    rows = ledger_traces.rows_of(ws, ids)
    found = [rows[id] for id in dict.fromkeys(ids) if id in rows]
    return list(map(Trace, ledger_traces.load(ws, found), ledger_traces.spans_of_all(ws, found)))


@operation("GET /trace-infos", allows="llm.read")
def get_trace_infos(ws: Workspace, *, ids: list[str]) -> list[TraceInfo]:
    """Those of some traces that are there, in the order asked for."""
    if len(ids) > MOST_TRACES:
        raise InvalidInput(f"At most {MOST_TRACES:,} traces in one call.")
    rows = ledger_traces.rows_of(ws, ids)
    return ledger_traces.load(ws, [rows[id] for id in dict.fromkeys(ids) if id in rows])


@operation("GET /traces", allows="llm.read")
def list_traces(
    ws: Workspace,
    *,
    expression: str = "",
    experiments: list[str] = [],  # noqa: B006 (copied by the door)
    order_by: str = "",
    limit: Limit = 100,
    page: str = "",
) -> Page[TraceInfo]:
    """Traces for which an expression is true, of some experiments or (none named) of all; the newest first unless an order is given."""
    after = page_start(page, fields=list[Any])
    rows, keys = find_traces(ws, expression, order_by, experiments=experiments, limit=limit + 1, after=after)
    found = page_of(list(zip(rows, keys, strict=True)), limit, lambda one: one[1])
    return Page(ledger_traces.load(ws, [row for row, _ in found.items]), found.next)


@operation("GET /trace-count", allows="llm.read")
def count_traces(
    ws: Workspace,
    *,
    expression: str = "",
    experiments: list[str] = [],  # noqa: B006 (copied by the door)
) -> int:
    """For how many traces an expression is true, of some experiments or (none named) of all."""
    return count(ws, expression, experiments)


@operation("PATCH /traces/{id}/tags", allows="llm.write")
def set_trace_tags(ws: Workspace, *, id: str, tags: dict[Key, TagText | None]) -> TraceInfo:
    """Set tags; one set to null goes."""
    row = ledger_traces.row_of(ws, id)
    before = get_trace_info(ws, id=row.id)
    gone = [key for key, value in tags.items() if value is None]
    mine = trace_text.c.trace == row.row, trace_text.c.kind == "tag"
    if gone:
        ws.tx.execute(delete(trace_text).where(*mine, trace_text.c.key.in_(gone)))
    write_texts(ws, row.row, "tag", {key: value for key, value in tags.items() if value is not None})
    after = get_trace_info(ws, id=row.id)
    ws.tx.touch(f"trace:{row.id}", before=before, after=after)
    return after


@operation("PATCH /traces/{id}", allows="llm.write")
def rename_trace(ws: Workspace, *, id: str, name: Named) -> TraceInfo:
    """Give a trace another name."""
    row = ledger_traces.row_of(ws, id)
    ws.tx.execute(update(trace).where(trace.c.row == row.row).values(name=name))
    ws.tx.touch(f"trace:{row.id}", before=row.name, after=name)
    return get_trace_info(ws, id=row.id)


@operation("POST /runs/{run}/traces", allows="llm.write")
def link_traces(ws: Workspace, *, run: str, traces: list[str]) -> Done:
    """Say that traces belong to a run; those that are not there are passed over."""
    of = ledger_runs.row_of(ws, run).id
    rows = ledger_traces.rows_of(ws, traces)
    link_run(ws, rows.values(), of)
    ws.tx.touch(f"run:{of}", after=sorted(rows))
    ws.tx.note(run=of, traces=len(rows))
    return Done(f"run:{of}", bool(rows))


@operation("POST /traces/{id}/uses", allows="llm.write")
def link_uses(ws: Workspace, *, id: str, nodes: list[str]) -> Done:
    """Say what a trace used: model versions, prompts, datasets, by node."""
    row = ledger_traces.row_of(ws, id)
    for one in nodes:
        if ":" not in one or "@" not in one:
            raise InvalidInput(f'"{one}" is no node: write kind:name@version, for instance model:delays@3.')
        ws.tx.link(f"trace:{row.id}", "used", one)
    ws.tx.touch(f"trace:{row.id}", after=nodes)
    return Done(f"trace:{row.id}", bool(nodes))


@operation("POST /traces/{id}/files", allows="llm.write")
def record_trace_files(ws: Workspace, *, id: str, files: list[Artifact]) -> Done:
    """Name objects that are stored already as files that a trace's spans refer to."""
    row = ledger_traces.row_of(ws, id)
    lost = {one.hash for one in files} - ws.store.has({one.hash for one in files})
    if lost:
        raise NotFound(f"There is no object {min(lost)} in the store. Store the bytes before you name them.")
    rows = [
        {"trace": row.row, "path": check_path(one.path), "object": one.hash, "size_bytes": one.size_bytes}
        for one in files
    ]
    if rows:
        ws.tx.execute(upsert(trace_file), rows)
    ws.tx.touch(f"trace:{row.id}", after=[(one.path, one.hash) for one in files])
    return Done(f"trace:{row.id}", bool(rows))


@operation("GET /traces/{id}/files", allows="llm.read")
def list_trace_files(ws: Workspace, *, id: str) -> list[Artifact]:
    """The files that a trace's spans refer to, by path."""
    mine = trace_file.c.trace == ledger_traces.row_of(ws, id).row
    rows = ws.tx.all(select(trace_file).where(mine).order_by(trace_file.c.path))
    return [Artifact(one.path, one.object, one.size_bytes) for one in rows]


_OF_A_TRACE = (trace_text, trace_span, trace_part, trace_file, trace_run, assessment)


@operation("POST /traces/delete", allows="llm.delete")
def delete_traces(
    ws: Workspace,
    *,
    ids: list[str] | None = None,
    experiment_name: str = "",
    until_us: Micros | None = None,
    most: Annotated[int, msgspec.Meta(ge=1, le=MOST_TRACES)] = MOST_TRACES,
) -> Deleted:
    """Delete traces for good, with their spans and assessments: those named, or those of an experiment that started until a
    time, the oldest first. Spans that were objects of the store go with the next `trine gc`; what is in the ledger, now."""
    if ids is None and not experiment_name:
        raise InvalidInput(
            "Say which traces go: ids, or an experiment_name (with until_us: those that started until then)."
        )
    query = select(trace.c.row, trace.c.id, trace.c.size_bytes).where(trace.c.project == ws.project)
    if experiment_name:
        query = query.where(trace.c.experiment == experiment_number(ws, experiment_name))
    if until_us is not None:
        query = query.where(trace.c.started_us <= until_us)
    if ids is None:
        rows = ws.tx.all(query.order_by(trace.c.started_us, trace.c.row).limit(most + 1))
    else:
        named = list(dict.fromkeys(ids))
        parts = [named[start : start + 500] for start in range(0, len(named), 500)]
        rows = [row for some in parts for row in ws.tx.all(query.where(trace.c.id.in_(some)))]
    rows, more = rows[:most], len(rows) > most
    numbers = [row.row for row in rows]
    for start in range(0, len(numbers), 500):
        some = numbers[start : start + 500]
        for table in _OF_A_TRACE:
            ws.tx.execute(delete(table).where(table.c.trace.in_(some)))
        ws.tx.execute(delete(trace).where(trace.c.row.in_(some)))
    ws.tx.touch(f"trace:{rows[0].id}" if len(rows) == 1 else "traces", before=[row.id for row in rows])
    size = sum(row.size_bytes or 0 for row in rows)
    ws.tx.note(traces=len(rows), size_bytes=size)
    return Deleted(len(rows), size, more)
