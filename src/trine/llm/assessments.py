"""The door's part on assessments: said, overridden, changed, taken back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from trine.errors import InvalidInput, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.llm.assessment import LONGEST_VALUE, Assessment, AssessmentName, Kind, Problem, Source
from trine.llm.ledger_traces import assessment_of, row_of
from trine.llm.recording import number_in
from trine.llm.tables import assessment
from trine.llm.traces import LongText
from trine.operations import Done, operation
from trine.tracking.runs import Key, TagText
from trine.workspace import Workspace


class Said(msgspec.Struct, frozen=True):
    """A value to say instead, or the problem there was in finding it."""

    value: Any = None
    problem: Problem | None = None


@operation("POST /traces/{trace}/assessments", allows="llm.write")
def create_assessment(
    ws: Workspace,
    *,
    trace: str,
    name: AssessmentName,
    value: Any = None,
    kind: Kind = "feedback",
    problem: Problem | None = None,
    rationale: LongText = "",
    source: Source = "human",
    source_id: str = "",
    span: str = "",
    run: str = "",
    metadata: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
    overrides: str = "",
) -> Assessment:
    """Say something of a trace, or of one of its spans. What it overrides is no longer valid; nobody's word is lost."""
    row = row_of(ws, trace)
    made = add_assessment(
        ws,
        row,
        Assessment(
            id="",
            trace=row.id,
            kind=kind,
            name=name,
            value=value,
            problem=problem,
            rationale=rationale,
            source=source,
            source_id=source_id or (ws.on_behalf_of or ws.principal.name),
            span=span,
            run=run,
            metadata=metadata,
            overrides=overrides,
        ),
    )
    ws.tx.touch(f"trace:{row.id}", after=made)
    ws.tx.note(assessment=made.id, name=name, kind=kind)
    return made


def add_assessment(ws: Workspace, row: Any, one: Assessment) -> Assessment:
    """Keep an assessment with a trace that is there; with the id of one that is there, it replaces that. Inside an operation."""
    tx = ws.tx
    if one.kind == "expectation" and one.value is None:
        raise InvalidInput(f'The expectation "{one.name}" needs a value.')
    if one.overrides:
        _find(ws, row, one.overrides)
        tx.execute(update(assessment).where(*_is(row, one.overrides)).values(valid=False))
    made = msgspec.structs.replace(
        one,
        id=one.id or f"a-{new_id()}",
        trace=row.id,
        created_us=one.created_us or tx.now_us,
        updated_us=one.updated_us or tx.now_us,
    )
    tx.execute(delete(assessment).where(*_is(row, made.id)))
    tx.execute(insert(assessment).values(trace=row.row, id=made.id, valid=made.valid, **_columns(made)))
    return made


def _columns(one: Assessment) -> dict[str, Any]:
    body = canonical_json(one)
    if len(body) > LONGEST_VALUE:
        raise InvalidInput(f'The assessment "{one.name}" has {len(body):,} bytes: at most {LONGEST_VALUE:,} are kept.')
    value = one.value if isinstance(one.value, str) else canonical_json(one.value).decode()
    return {
        "kind": one.kind,
        "name": one.name,
        "value": value[:8_000],
        "number": None if isinstance(one.value, (str, bool)) else number_in(value),
        "body": body.decode(),
    }


def _is(row: Any, id: str) -> tuple[Any, Any]:
    return assessment.c.trace == row.row, assessment.c.id == id


def _find(ws: Workspace, row: Any, id: str) -> Assessment:
    found = ws.tx.first(select(assessment).where(*_is(row, id)))
    if found is None:
        known = [one.id for one in ws.tx.all(select(assessment.c.id).where(assessment.c.trace == row.row).limit(500))]
        raise NotFound(f'Trace {row.id} has no assessment "{id}".{nearest(id, known)}')
    return assessment_of(found)


@operation("GET /traces/{trace}/assessments/{id}", allows="llm.read")
def get_assessment(ws: Workspace, *, trace: str, id: str) -> Assessment:
    """One assessment of a trace."""
    return _find(ws, row_of(ws, trace), id)


@operation("PATCH /traces/{trace}/assessments/{id}", allows="llm.write")
def update_assessment(
    ws: Workspace,
    *,
    trace: str,
    id: str,
    name: AssessmentName | None = None,
    said: Said | None = None,
    rationale: LongText | None = None,
    metadata: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
) -> Assessment:
    """Change what was said: its name, its value (with the problem there was in finding it), its rationale; metadata is added to.
    Whose word it is, and of which span, stays."""
    row = row_of(ws, trace)
    before = _find(ws, row, id)
    changes: dict[str, Any] = {"updated_us": ws.tx.now_us, "metadata": before.metadata | metadata}
    if name is not None:
        changes["name"] = name
    if said is not None:
        changes |= {"value": said.value, "problem": said.problem}
    if rationale is not None:
        changes["rationale"] = rationale
    after = msgspec.structs.replace(before, **changes)
    if after.kind == "expectation" and after.value is None:
        raise InvalidInput(f'The expectation "{after.name}" needs a value.')
    ws.tx.execute(update(assessment).where(*_is(row, id)).values(**_columns(after)))
    ws.tx.touch(f"trace:{row.id}", before=before, after=after)
    ws.tx.note(assessment=id)
    return after


@operation("DELETE /traces/{trace}/assessments/{id}", allows="llm.write")
def delete_assessment(ws: Workspace, *, trace: str, id: str) -> Done:
    """Take an assessment back; what it overrode is valid again. One that is not there is gone already."""
    row = row_of(ws, trace)
    found = ws.tx.first(select(assessment).where(*_is(row, id)))
    ws.tx.touch(f"trace:{row.id}", before=found and found.body)
    if found is None:
        return Done(f"trace:{row.id}", False)
    if overridden := assessment_of(found).overrides:
        ws.tx.execute(update(assessment).where(*_is(row, overridden)).values(valid=True))
    ws.tx.execute(delete(assessment).where(*_is(row, id)))
    ws.tx.note(assessment=id)
    return Done(f"trace:{row.id}")
