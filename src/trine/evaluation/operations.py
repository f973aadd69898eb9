"""The door's part on evaluation: the reports of evaluations and gates."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, insert, select

from trine.errors import InvalidInput, NotFound, Unavailable
from trine.evaluation.gate import Gate, GateReport, Outcome
from trine.evaluation.reports import Evaluation
from trine.evaluation.tables import evaluation, gate
from trine.ids import new_id
from trine.models.operations import get_version
from trine.models.versions import split_ref
from trine.operations import Limit, Page, operation, page_of, page_start
from trine.workspace import Workspace

Report = TypeVar("Report", Evaluation, GateReport)


@operation("POST /evaluations", allows="evaluation.write")
def record_evaluation(ws: Workspace, *, body: str, producer: str = "") -> Evaluation:
    """Keep an evaluation; `body` is the hash of its JSON in the store."""
    report = _given(ws, body, Evaluation)
    name = _known(ws, report.model)
    kept = _keep(ws, evaluation, report, body, model=name)
    _link(ws, kept.node, producer, report.model, report.dataset)
    ws.tx.note(model=name, version=report.model, rows=report.rows)
    return kept


@operation("GET /evaluations/{evaluation_id}", allows="evaluation.read")
def get_evaluation(ws: Workspace, *, evaluation_id: str) -> Evaluation:
    """One evaluation; a prefix of its id that only it has will do."""
    return _read(ws, _one(ws, evaluation, evaluation_id, "evaluation"), Evaluation)


@operation("GET /evaluations", allows="evaluation.read")
def list_evaluations(ws: Workspace, *, model: str = "", limit: Limit = 100, page: str = "") -> Page[Evaluation]:
    """Evaluations, newest first; of one model with `model`."""
    return _list(ws, evaluation, Evaluation, model, "", limit, page)


AT_ONCE = 2
"""Comparisons a process makes side by side; the others wait their turn."""

_turns = threading.BoundedSemaphore(AT_ONCE)


def _judged(
    ws: Workspace, *, candidate: str, baseline: str, holdout: str, label: str, gate: Gate, allow_pickle: bool, **_: Any
) -> tuple[GateReport, str]:
    """The report, worked out here and now, and the hash of its JSON in the store."""
    from trine.evaluation.comparison import judged

    if not _turns.acquire(timeout=600):
        raise Unavailable("Other gates are being judged here, and take long. Try again in a few minutes.")
    try:
        report = judged(candidate, baseline or None, holdout, label=label, gate=gate, allow_pickle=allow_pickle, ws=ws)
    finally:
        _turns.release()
    return report, ws.store.put(msgspec.json.encode(report))


@operation("POST /gates", allows="evaluation.write", prepares=_judged)
def judge_gate(
    ws: Workspace,
    *,
    candidate: str,
    baseline: str = "",
    holdout: str,
    label: str,
    gate: Gate,
    allow_pickle: bool = False,
    producer: str = "",
) -> GateReport:
    """Ask two versions about a dataset commit, judge them, and keep the report; no baseline is the best constant answer.

    Nobody tells the door what came out. When the candidate passed, the graph says that the gate approved it.
    """
    report, body = ws.tx.prepared
    kept = _keep_gate(ws, report, body, producer)
    if report.passed:
        ws.tx.link(kept.node, "approved", f"model:{report.candidate}")
    return kept


@operation("POST /gate-notes", allows="evaluation.write")
def record_gate(ws: Workspace, *, body: str, producer: str = "") -> GateReport:
    """Keep what somebody found out about rows that are no dataset commit; `body` is the hash of its JSON in the store.

    It is a note: what the caller says, which opens no protected alias and approves nothing.
    """
    report = _given(ws, body, GateReport)
    if report.holdout:
        raise InvalidInput(
            f'A report on "{report.holdout}", a dataset commit, is not told but judged here: '
            f"trine models gate {report.candidate} {report.holdout} --label COLUMN"
        )
    return _keep_gate(ws, report, body, producer)


def _keep_gate(ws: Workspace, report: GateReport, body: str, producer: str) -> GateReport:
    name = _known(ws, report.candidate)
    if report.baseline:
        _known(ws, report.baseline)
    kept = _keep(ws, gate, report, body, model=name, candidate=report.candidate, outcome=report.outcome)
    _link(ws, kept.node, producer, report.candidate, report.holdout)
    if report.baseline:
        ws.tx.link(kept.node, "used", f"model:{report.baseline}")
    ws.tx.note(
        model=name,
        candidate=report.candidate,
        baseline=report.baseline,
        outcome=report.outcome,
        metric=report.metric,
        difference=report.difference,
        reason=report.reason,
        binding=report.binding,
    )
    return kept


@operation("GET /gates/{gate_id}", allows="evaluation.read")
def get_gate(ws: Workspace, *, gate_id: str) -> GateReport:
    """One gate's report; a prefix of its id that only it has will do."""
    return _read(ws, _one(ws, gate, gate_id, "gate"), GateReport)


@operation("GET /gates", allows="evaluation.read")
def list_gates(
    ws: Workspace, *, model: str = "", outcome: Outcome | None = None, limit: Limit = 100, page: str = ""
) -> Page[GateReport]:
    """Reports of gates, newest first; of one model, or one version `name@3`, with `model`."""
    return _list(ws, gate, GateReport, model, outcome or "", limit, page)


def _given(ws: Workspace, body: str, kind: type[Report]) -> Report:
    try:
        return msgspec.json.decode(ws.store.get(body), type=kind)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"Object {body[:12]} holds no such report: {error}.") from None


def _known(ws: Workspace, ref: str) -> str:
    name, version = split_ref(ref)
    return get_version(ws, name=name, ref=version).name


def _keep(ws: Workspace, table: Table, report: Report, body: str, **columns: str) -> Report:
    tx = ws.tx
    stamp: dict[str, Any] = {
        "id": new_id(),
        "author": ws.on_behalf_of or ws.principal.name,
        "created_us": tx.now_us,
    }
    tx.execute(insert(table).values(project=ws.project, body=body, **columns, **stamp))
    kept = msgspec.structs.replace(report, **stamp)
    tx.touch(kept.node, after=body)
    return kept


def _link(ws: Workspace, node: str, producer: str, model: str, dataset: str) -> None:
    ws.tx.link(node, "used", f"model:{model}")
    if dataset:
        ws.tx.link(node, "used", f"dataset:{dataset}")
    if producer:
        ws.tx.link(producer, "produced", node)


def _one(ws: Workspace, table: Table, identity: str, kind: str) -> Any:
    prefix = identity.removeprefix(f"{kind}:")
    query = select(table).where(table.c.project == ws.project, table.c.id.startswith(prefix, autoescape=True)).limit(2)
    rows = ws.tx.all(query) if prefix else []
    if not rows:
        raise NotFound(f'No {kind} "{identity}" in project "{ws.project}". See: trine models {kind}s')
    if len(rows) > 1:
        raise InvalidInput(f'More than one {kind} begins with "{identity}": give more of the id.')
    return rows[0]


def _list(
    ws: Workspace, table: Table, kind: type[Report], model: str, outcome: str, limit: int, page: str
) -> Page[Report]:
    query = select(table).where(table.c.project == ws.project)
    if model:
        name, at, version = model.removeprefix("model:").partition("@")
        query = query.where(table.c.model == name)
        if at and "candidate" in table.c:
            found = get_version(ws, name=name, ref=version)
            query = query.where(table.c.candidate == found.ref)
    if outcome:
        query = query.where(table.c.outcome == outcome)
    if start := page_start(page, fields=str):
        query = query.where(table.c.id < start)
    rows = ws.tx.all(query.order_by(table.c.id.desc()).limit(limit + 1))
    found = page_of(rows, limit, lambda row: row.id)
    return Page([_read(ws, row, kind) for row in found.items], found.next)


def _read(ws: Workspace, row: Any, kind: type[Report]) -> Report:
    report = msgspec.json.decode(ws.store.get(row.body), type=kind)
    return msgspec.structs.replace(report, id=row.id, author=row.author, created_us=row.created_us)
