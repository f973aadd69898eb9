"""What can be taken from earlier runs: finished steps by cache key, while the names they read stand for the same versions."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, select

from trine.errors import TrineError
from trine.pipelines.records import Hit, Lookup, Parts
from trine.pipelines.tables import step_run
from trine.pipelines.values import Value
from trine.workspace import Workspace

TRIED = 5
"""Step runs of one key that are looked at, newest first: they differ in what the names stood for."""

_HITS = (
    select(step_run)
    .where(
        step_run.c.project == bindparam("b_project"),
        step_run.c.state == "succeeded",
        step_run.c.cache_key.in_(bindparam("b_keys", expanding=True)),
    )
    .order_by(step_run.c.ended_us.desc())
)
_LATEST = (
    select(step_run.c.parts)
    .where(
        step_run.c.project == bindparam("b_project"),
        step_run.c.key == bindparam("b_key"),
        step_run.c.state == "succeeded",
    )
    .order_by(step_run.c.ended_us.desc())
    .limit(1)
)


def look_up(ws: Workspace, keys: list[str], steps: list[str]) -> list[Lookup]:
    """For each cache key a hit; or what has moved since; or the parts of the latest success of the step with that key."""
    found: dict[str, list[Row[Any]]] = {}
    for row in ws.tx.execute(_HITS, {"b_project": ws.project, "b_keys": keys}):
        found.setdefault(row.cache_key, []).append(row)
    meaning: dict[str, str] = {}
    return [_lookup(ws, found.get(key, [])[:TRIED], step, meaning) for key, step in zip(keys, steps, strict=True)]


def _lookup(ws: Workspace, rows: list[Row[Any]], step: str, meaning: dict[str, str]) -> Lookup:
    moved = ""
    for row in rows:
        stale = _moved(ws, msgspec.json.decode(row.resolved), meaning)
        if not stale:
            outputs = msgspec.json.decode(row.outputs, type=list[Value])
            return Lookup(hit=Hit(f"step_run:{row.run}/{row.key}", outputs, row.log, row.log_object))
        moved = moved or stale
    if moved:
        return Lookup(moved=moved)
    latest = ws.tx.execute(_LATEST, {"b_project": ws.project, "b_key": step}).first()
    if latest is None or not latest.parts:
        return Lookup()
    return Lookup(latest=msgspec.json.decode(latest.parts, type=Parts))


def _moved(ws: Workspace, resolved: dict[str, str], meaning: dict[str, str]) -> str:
    """The first of the names that stands for something else by now, in words."""
    for asked, node in resolved.items():
        if asked not in meaning:
            meaning[asked] = _meaning(ws, asked)
        if meaning[asked] != node:
            kind, _, name = asked.partition(":")
            before, now = node.rpartition("@")[2] or "nothing", meaning[asked].rpartition("@")[2] or "gone"
            return f"{kind} {name} was {before}, is {now}"
    return ""


def _meaning(ws: Workspace, asked: str) -> str:
    """The node that a name stands for now; nothing when there is no such thing any more."""
    kind, _, ref = asked.partition(":")
    try:
        if kind == "dataset":
            from trine import data

            return data.resolve(ref, ws=ws).node
        if kind == "model":
            from trine import models

            return models.resolve(ref, ws=ws).node
    except TrineError:  # gone, or no longer ours to read: then nothing can be taken that was made from it
        return ""
    return ""
