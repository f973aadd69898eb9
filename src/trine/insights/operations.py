"""The door's part on insights: what the events, the graph and the other rooms say about each model."""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select

from trine.data.operations import get_commit
from trine.errors import NotFound
from trine.insights.delivery import AliasMove, Delivery, Experiment, Promotion, Training, promotions_of
from trine.insights.rungs import Standing
from trine.insights.standing import standing_of
from trine.ledger.origins import find_origin
from trine.ledger.tables import event
from trine.loop import operations as loops
from trine.models import operations as models
from trine.models.versions import AliasEvent
from trine.operations import every, operation
from trine.tracking import operations as tracking
from trine.tracking.runs import RunInfo
from trine.workspace import Workspace


@operation("GET /insights/delivery", allows="insights.read")
def get_delivery(ws: Workspace, *, model: str = "", since_us: int = 0, alias: str = "production") -> Delivery:
    """What was trained, judged and promoted since a time, of one model or of all: what delivery metrics are computed from.

    Promotions are all there ever were: what is new in one depends on those before it.
    """
    names = [models.get_model(ws, name=model).name] if model else [one.name for one in every(models.list_models, ws)]
    first = select(func.min(event.c.time_us)).where(event.c.project == ws.project)
    moves = [_move(one) for name in names for one in every(models.list_alias_events, ws, name=name, alias=alias)]
    promotions = promotions_of(sorted(moves, key=lambda one: one.time_us))
    return Delivery(
        first_us=ws.tx.scalar(first) or ws.tx.now_us,
        now_us=ws.tx.now_us,
        trainings=[one for name in names for one in _trainings(ws, name, since_us)],
        experiments=[one for name in names for one in _experiments(ws, name, since_us)],
        promotions=[_with_origin(ws, one) for one in promotions],
    )


@operation("GET /insights/standing", allows="insights.read")
def get_standing(ws: Workspace, *, model: str = "") -> list[Standing]:
    """Where each model (or one) stands, as far as the workspace shows it; the git repository is for the caller to look at."""
    names = [model] if model else [one.name for one in every(models.list_models, ws)]
    return [standing_of(ws, models.get_model(ws, name=name)) for name in names]


def _move(one: AliasEvent) -> AliasMove:
    return AliasMove(one.name, one.version or 0, one.time_us, one.kind != "promoted")


def _with_origin(ws: Workspace, one: Promotion) -> Promotion:
    found = find_origin(ws.tx.connection, ws.project, f"model:{one.model}@{one.version}")
    times = [_committed_us(ws, source) for source in found.sources]
    newest = max((time for time in times if time is not None), default=None)
    return msgspec.structs.replace(one, data_us=newest, code=found.commit, is_dirty=found.is_dirty)


def _committed_us(ws: Workspace, node: str) -> int | None:
    name, _, ref = node.removeprefix("dataset:").partition("@")
    try:
        return get_commit(ws, name=name, ref=ref).created_us
    except NotFound:  # deleted since
        return None


def _trainings(ws: Workspace, name: str, since_us: int) -> list[Training]:
    found: list[Training] = []
    for one in every(models.list_versions, ws, name=name):  # newest first
        if one.created_us < since_us:
            break
        run = _run(ws, one.run)
        ended = run.ended_us - run.started_us if run and run.ended_us is not None else None
        found.append(Training(model=name, version=one.version, run=one.run, time_us=one.created_us, duration_us=ended))
    return found[::-1]


def _run(ws: Workspace, run: str) -> RunInfo | None:
    if not run:
        return None
    try:
        return tracking.get_run(ws, id=run)
    except NotFound:  # recorded elsewhere, under an id that this workspace does not have
        return None


def _experiments(ws: Workspace, name: str, since_us: int) -> list[Experiment]:
    """Each candidate by its last gate report, and the cycles that failed before there was one."""
    from trine.evaluation import operations as evaluation

    judged: dict[str, Experiment] = {}
    for one in every(evaluation.list_gates, ws, model=name):  # newest first
        if one.created_us >= since_us:
            passed = one.outcome == "pass"
            made = Experiment(model=name, candidate=one.candidate, time_us=one.created_us, passed=passed)
            judged.setdefault(one.candidate, made)
    failed = [
        Experiment(model=name, candidate="", time_us=cycle.updated_us, passed=False)
        for loop in every(loops.list_loops, ws, model=name)
        for cycle in every(loops.list_cycles, ws, name=loop.name)
        if cycle.outcome == "failed" and not cycle.facts.gate and cycle.updated_us >= since_us
    ]
    return sorted([*judged.values(), *failed], key=lambda one: one.time_us)
