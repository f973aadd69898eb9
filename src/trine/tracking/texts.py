"""The door's part on params and tags of many runs at once: what servers that gather the calls of many clients commit."""

from __future__ import annotations

from typing import Annotated

import msgspec
from sqlalchemy import select, update

from trine.errors import InvalidInput, NotFound
from trine.operations import operation
from trine.tracking.recording import write_texts
from trine.tracking.runs import Key, ParamText, RunId, TagText
from trine.tracking.tables import run, run_param, run_tag
from trine.workspace import Workspace


class RunTexts(msgspec.Struct, frozen=True):
    """Params and tags to set on a run, and another name for it when that is not empty."""

    run: RunId
    params: dict[Key, ParamText] = {}
    tags: dict[Key, TagText] = {}
    name: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", max_length=250)] = ""


@operation("POST /run-texts", allows="tracking.write")
def set_texts(ws: Workspace, *, runs: list[RunTexts]) -> list[str]:
    """Set params and tags of many runs. Each is taken whole or not at all; the answer says of each why it was not: empty when
    it was, "missing", "deleted", or, for a param that has another value, JSON of its name and that value."""
    if len(runs) > 10_000:
        raise InvalidInput("At most 10,000 runs in one call.")
    tx = ws.tx
    ids = {one.run for one in runs}
    query = select(run.c.id, run.c.deleted_us).where(run.c.project == ws.project, run.c.id.in_(ids))
    states = {row.id: row.deleted_us for row in tx.all(query)}
    told = {one.run for one in runs if one.params}
    params: dict[str, dict[str, str]] = {}
    if told:
        known = select(run_param.c.run, run_param.c.key, run_param.c.value).where(run_param.c.run.in_(told))
        for row in tx.all(known):
            params.setdefault(row.run, {})[row.key] = row.value
    outcomes: list[str] = []
    for one in runs:
        if one.run not in states or states[one.run] is not None:
            outcomes.append("missing" if one.run not in states else "deleted")
            continue
        mine = params.setdefault(one.run, {})
        clash = next((key for key, value in one.params.items() if mine.get(key, value) != value), "")
        if clash:
            outcomes.append(msgspec.json.encode((clash, mine[clash])).decode())
            continue
        fresh = {key: value for key, value in one.params.items() if key not in mine}
        write_texts(ws, run_param, one.run, fresh)
        mine |= fresh
        write_texts(ws, run_tag, one.run, one.tags)
        if one.name:
            tx.execute(update(run).where(run.c.id == one.run).values(name=one.name))
        tx.touch(f"run:{one.run}")
        outcomes.append("")
    tx.note(runs=len(ids), params=sum(len(one.params) for one in runs), tags=sum(len(one.tags) for one in runs))
    return outcomes


@operation("GET /run-states/{id}", allows="tracking.read")
def run_state(ws: Workspace, *, id: RunId) -> str:
    """The state of a run, or "deleted": the cheapest question about one."""
    row = ws.tx.first(select(run.c.state, run.c.deleted_us).where(run.c.project == ws.project, run.c.id == id))
    if row is None:
        raise NotFound(f'No run "{id}" in project "{ws.project}".')
    return "deleted" if row.deleted_us is not None else row.state
