"""Search everywhere: any name, id or the beginning of a digest, from every page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec
from starlette.responses import Response

from trine.access import operations as access
from trine.data import operations as data
from trine.errors import InvalidInput, NotFound
from trine.features import operations as features
from trine.loop import operations as loops
from trine.models import operations as models
from trine.monitoring import operations as monitors
from trine.pipelines import operations as pipelines
from trine.server.ui.lineage import known
from trine.server.ui.links import href, path, shown, with_query
from trine.server.ui.pages import Asked, page
from trine.serving import moves
from trine.serving import operations as serving
from trine.tracking import operations as runs

MOST = 20
SCANNED = 1000
"""Names of one kind that are looked through."""


class Found(msgspec.Struct, frozen=True):
    kind: str
    name: str
    address: str


@page("/search")
def search(asked: Asked) -> Response:
    """What is called like that."""
    query = asked.text("q").strip()
    return asked.show("search.html", q=query, found=_find(asked, query, 100) if query else [])


@page("/search/found")
def found(asked: Asked) -> Response:
    """The same as a piece of a page, for the field at the top."""
    query = asked.text("q").strip()
    return asked.show("found.html", q=query, found=_find(asked, query, MOST) if query else [])


def _find(asked: Asked, query: str, most: int) -> list[Found]:
    hits: list[Found] = []
    for one in (*_by_id(asked, query), *_by_name(asked, query)):
        if one not in hits:
            hits.append(one)
        if len(hits) >= most:
            break
    return hits


def _by_id(asked: Asked, query: str) -> Iterator[Found]:
    """What has that id, or an id that begins so."""
    ws = asked.ws
    if ":" in query and known(asked, query):
        kind, name = shown(query)
        yield Found(kind, name, href(query))
    if not re.fullmatch(r"[0-9a-f]{6,64}", query):
        return
    for kind, find in _BY_ID.items():
        try:
            yield Found(kind, query, find(asked, query))
        except (NotFound, InvalidInput):
            continue
    for one in data.list_datasets(ws, limit=200).items:
        try:
            commit = data.get_commit(ws, name=one.name, ref=query)
        except (NotFound, InvalidInput):
            continue
        yield Found("commit", commit.ref, href(commit.node))


def _run(asked: Asked, query: str) -> str:
    return path("runs", runs.find_run(asked.ws, name=query).id)


def _pipeline_run(asked: Asked, query: str) -> str:
    return path("pipelines", pipelines.get_pipeline_run(asked.ws, id=query).id)


def _verdict(asked: Asked, query: str) -> str:
    return path("verdicts", monitors.get_verdict(asked.ws, verdict_id=query).id)


def _rollout(asked: Asked, query: str) -> str:
    return path("rollouts", moves.get_rollout(asked.ws, id=query).id)


def _approval(asked: Asked, query: str) -> str:
    return path("approvals", access.get_approval(asked.ws, id=query).id)


def _prediction(asked: Asked, query: str) -> str:
    from trine.serving import find_prediction

    return path("predictions", find_prediction(query, ws=asked.ws).id)


_BY_ID: dict[str, Callable[[Asked, str], str]] = {
    "run": _run,
    "pipeline run": _pipeline_run,
    "verdict": _verdict,
    "rollout": _rollout,
    "approval": _approval,
    "prediction": _prediction,
}


def _by_name(asked: Asked, query: str) -> Iterator[Found]:
    """Everything whose name holds the words; what begins with them first."""
    wanted = query.lower()
    hits = [one for one in _names(asked) if wanted in one.name.lower()]
    hits.sort(key=lambda one: not one.name.lower().startswith(wanted))
    yield from hits
    text = query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("'", "''")[:200]
    for one in runs.search_runs(asked.ws, expression=f"name ilike '%{text}%'", limit=MOST).items:
        yield Found("run", one.name, path("runs", one.id))


def _names(asked: Asked) -> Iterator[Found]:
    ws = asked.ws
    for one in models.list_models(ws, limit=SCANNED).items:
        yield Found("model", one.name, path("models", one.name))
    for one in data.list_datasets(ws, limit=SCANNED).items:
        yield Found("dataset", one.name, path("data", one.name))
    for one in runs.list_experiments(ws, limit=SCANNED).items:
        yield Found("experiment", one.name, with_query("/runs", experiment=one.name))
    for one in serving.list_endpoints(ws, limit=SCANNED).items:
        yield Found("endpoint", one.name, path("endpoints", one.name))
    for one in monitors.list_monitors(ws, limit=SCANNED).items:
        yield Found("monitor", one.name, path("monitors", one.name))
    for one in features.list_views(ws, limit=SCANNED).items:
        yield Found("feature view", one.name, path("features", "views", one.name, one.version))
    for one in features.list_services(ws, limit=SCANNED).items:
        yield Found("feature service", one.name, path("features", "services", one.name, one.version))
    for one in loops.list_loops(ws, limit=SCANNED).items:
        yield Found("loop", one.name, path("loops", one.name))
    for name in dict.fromkeys(one.pipeline for one in pipelines.list_pipeline_runs(ws, limit=200).items):
        yield Found("pipeline", name, with_query("/pipelines", pipeline=name))
