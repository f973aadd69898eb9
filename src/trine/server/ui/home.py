"""The first page: each model's loop, stage by stage, and what waits for somebody."""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec
from starlette.responses import Response

from trine import data, evaluation, loop, models, serving
from trine.access import operations as access
from trine.access.audit import list_events
from trine.access.graph import lineage
from trine.data import operations as datasets
from trine.errors import NotFound, TrineError
from trine.evaluation import operations as gates
from trine.insights import operations as insights
from trine.ledger.origins import Origin, origin_of
from trine.loop import operations as loops
from trine.models import operations as registry
from trine.monitoring import operations as monitors
from trine.server.ui.happenings import told
from trine.server.ui.links import href, path
from trine.server.ui.pages import Asked, page
from trine.server.ui.wording import plural
from trine.serving import operations as endpoints
from trine.tracking import operations as runs
from trine.workspace import Workspace

State = Literal["good", "bad", "busy", "warn", "none"]
MOST_MODELS = 12
DEEPEST = 8
"""Steps of lineage that the first page follows back from a model."""


class Stage(msgspec.Struct, frozen=True):
    """One stage of the loop: where it stands, since when, and where to read on."""

    name: str
    state: State = "none"
    told: str = ""
    at_us: int | None = None
    address: str = ""
    hint: str = ""


class Turning(msgspec.Struct, frozen=True):
    """One model's loop."""

    model: models.ModelInfo
    version: models.ModelVersion | None
    stages: list[Stage]
    next: str
    cycle: loop.Cycle | None
    loops: list[loop.LoopInfo]
    traffic: list[tuple[str, serving.Route]]


@page("/")
def home(asked: Asked) -> Response:
    """The loop."""
    ws = asked.ws
    standings = {one.model: one.next for one in insights.get_standing(ws)}
    found = registry.list_models(ws, limit=MOST_MODELS)
    return asked.show(
        "home.html",
        turning=[_turning(ws, one, standings.get(one.name, "")) for one in found.items],
        more=bool(found.next),
        approvals=access.list_approvals(ws, state="pending", limit=5).items,
        alerts=monitors.list_alerts(ws, state="firing", limit=20).items,
        events=told(list_events(ws, newest_first=True, limit=200).items)[:12],
        running=runs.search_runs(ws, expression="state = 'running'", limit=5).items,
        datasets=len(datasets.list_datasets(ws, limit=10).items) if not found.items else 0,
        some_runs=bool(runs.search_runs(ws, limit=1).items) if not found.items else True,
    )


def _turning(ws: Workspace, model: models.ModelInfo, following: str) -> Turning:
    version = _serving_version(ws, model)
    origin = _origin(ws, version)
    served = [
        (one, one.route)
        for one in endpoints.list_endpoints(ws, limit=200).items
        if one.route and any(variant.model.rpartition("@")[0] == model.name for variant in one.route.variants)
    ]
    mine = loops.list_loops(ws, model=model.name, limit=20).items
    cycles = [cycle for one in mine for cycle in loops.list_cycles(ws, name=one.name, open_only=True, limit=1).items]
    stages = [
        _data(ws, version),
        _features(origin),
        _train(ws, version),
        _evaluate(ws, model),
        _register(ws, model, version),
        _deploy(model, served),
        _monitor(ws, model, [one.name for one, _ in served]),
    ]
    traffic = [(one.name, route) for one, route in served]
    return Turning(model, version, stages, following, cycles[0] if cycles else None, mine, traffic)


def _serving_version(ws: Workspace, model: models.ModelInfo) -> models.ModelVersion | None:
    ref = str(model.aliases.get("production") or "latest")
    try:
        return registry.get_version(ws, name=model.name, ref=ref)
    except NotFound:
        return None


def _origin(ws: Workspace, version: models.ModelVersion | None) -> Origin:
    if version is None:
        return Origin()
    try:
        return origin_of(lineage(ws, node=version.node, direction="up", depth=DEEPEST))
    except NotFound:
        return Origin()


def _data(ws: Workspace, version: models.ModelVersion | None) -> Stage:
    if version is None or not version.data.startswith("dataset:"):
        return Stage("Data", hint="trine data add FILE --name NAME")
    try:
        commit = data.resolve(version.data.removeprefix("dataset:"), ws=ws)
    except TrineError:
        return Stage("Data", "warn", version.data.removeprefix("dataset:"), None, href(version.data))
    failed = [one for one in commit.checks if not one.passed]
    told = f"{commit.dataset}" + (f", {plural(len(failed), 'check')} failed" if failed else "")
    return Stage("Data", "warn" if failed else "good", told, commit.created_us, href(commit.node))


def _features(origin: Origin) -> Stage:
    if not origin.features:
        return Stage("Features", hint="trine.features.training_set(…)")
    node = origin.features[0]
    return Stage("Features", "good", node.partition(":")[2], None, href(node))


def _train(ws: Workspace, version: models.ModelVersion | None) -> Stage:
    if version is None or not version.run:
        return Stage("Train", hint="with trine.run(…): trine.models.register(…)")
    try:
        run = runs.get_run(ws, id=version.run.removeprefix("run:"))
    except TrineError:
        return Stage("Train", "warn", "its run is gone")
    states: dict[str, State] = {"finished": "good", "running": "busy"}
    return Stage("Train", states.get(run.state, "bad"), run.name, run.started_us, href(run.node))


def _evaluate(ws: Workspace, model: models.ModelInfo) -> Stage:
    newest: evaluation.GateReport | None = next(iter(gates.list_gates(ws, model=model.name, limit=1).items), None)
    if newest is None:
        return Stage("Evaluate", hint="trine models gate CANDIDATE HOLDOUT --label COLUMN")
    states: dict[str, State] = {"pass": "good", "fail": "bad"}
    told = f"{newest.candidate.rpartition('@')[2]} {newest.outcome}: {newest.metric}"
    return Stage("Evaluate", states.get(newest.outcome, "warn"), f"v{told}", newest.created_us, href(newest.node))


def _register(ws: Workspace, model: models.ModelInfo, version: models.ModelVersion | None) -> Stage:
    told = f"v{model.aliases['production']} is production" if "production" in model.aliases else f"v{model.newest}"
    state: State = "good" if "production" in model.aliases else "warn"
    at = version.created_us if version else None
    return Stage("Register", state, told, at, path("models", model.name))


def _deploy(model: models.ModelInfo, served: list[tuple[serving.EndpointInfo, serving.Route]]) -> Stage:
    if not served:
        return Stage("Deploy", hint=f"trine endpoints create {model.name} --model {shlex.quote(model.name)}@production")
    one, route = served[0]
    state: State = "warn" if route.problem else "busy" if len(route.live) > 1 else "good"
    total = sum(variant.weight for variant in route.live)
    parts = [f"v{variant.model.rpartition('@')[2]} {variant.weight / total:.0%}" for variant in route.live]
    return Stage("Deploy", state, " · ".join(parts), route.created_us, path("endpoints", one.name))


def _monitor(ws: Workspace, model: models.ModelInfo, names: list[str]) -> Stage:
    for one in monitors.list_monitors(ws, limit=200).items:
        if one.subject_kind == "endpoint" and one.subject_name in names:
            newest = monitors.list_verdicts(ws, name=one.name, limit=1).items
            if not newest:
                return Stage("Monitor", "warn", "no verdict yet", None, path("monitors", one.name))
            verdict = newest[0]
            states: dict[str, State] = {"ok": "good", "drift": "bad", "degraded": "bad", "quality": "bad"}
            told = f"{verdict.outcome}" + (f": {', '.join(verdict.moved[:2])}" if verdict.moved else "")
            return Stage(
                "Monitor", states.get(verdict.outcome, "warn"), told, verdict.created_us, href(f"verdict:{verdict.id}")
            )
    subject = names[0] if names else "ENDPOINT"
    return Stage(
        "Monitor",
        hint=f"trine monitor create {subject} --subject endpoint:{subject} --reference {shlex.quote(f'model:{model.name}@production')}",
    )
