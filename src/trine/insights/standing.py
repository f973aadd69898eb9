"""The rungs that a workspace shows for one model: each function looks for one thing and says what shows it."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import NamedTuple

from trine.insights.rungs import Rung, Standing, missing, reached
from trine.ledger.origins import Origin, find_origin
from trine.loop import operations as loops
from trine.loop.definition import LoopInfo
from trine.loop.triggers import OnVerdict
from trine.models import operations as models
from trine.models.versions import ModelInfo, ModelVersion
from trine.monitoring import operations as monitoring
from trine.monitoring.monitors import Monitor
from trine.operations import every
from trine.serving import moves
from trine.serving import operations as serving
from trine.serving.parts import list_label_parts
from trine.serving.routing import EndpointInfo, Route
from trine.workspace import Workspace

ALIAS = "production"


class Survey(NamedTuple):
    """What is looked at: the model, the version that counts and its origin, and what is around the model."""

    ws: Workspace
    model: ModelInfo
    version: ModelVersion | None
    origin: Origin
    loops: list[LoopInfo]
    endpoints: list[EndpointInfo]
    monitors: list[Monitor]

    @property
    def endpoint(self) -> str:
        """An endpoint's name for a command."""
        return self.endpoints[0].name if self.endpoints else self.model.name


def standing_of(ws: Workspace, model: ModelInfo) -> Standing:
    """Every rung from the foundation up, each with what shows it."""
    number = model.aliases.get(ALIAS) or model.newest
    version = models.get_version(ws, name=model.name, ref=str(number)) if number else None
    endpoints = [one for one in every(serving.list_endpoints, ws) if one.route and _serves(one.route, model.name)]
    survey = Survey(
        ws=ws,
        model=model,
        version=version,
        origin=find_origin(ws.tx.connection, ws.project, version.node) if version else Origin(),
        loops=[one for one in every(loops.list_loops, ws, model=model.name) if one.definition.triggers],
        endpoints=endpoints,
        monitors=_monitors(ws, model.name, endpoints),
    )
    return Standing(model=model.name, version=number, rungs=[look(survey) for look in LOOKS])


def _serves(route: Route, model: str) -> bool:
    return any(one.model.partition("@")[0] == model for one in route.live)


def _monitors(ws: Workspace, model: str, endpoints: list[EndpointInfo]) -> list[Monitor]:
    """Monitors of the endpoints that serve the model, and of anything against the model."""
    served = {one.node for one in endpoints}
    return [
        one
        for one in every(monitoring.list_monitors, ws)
        if one.subject in served or one.reference.partition("@")[0] == f"model:{model}"
    ]


def _registry(on: Survey) -> Rung:
    if on.version is None:
        return missing("foundation", "registry", f'trine.models.register(model, "{on.model.name}", inputs=rows)')
    count = f"{on.model.versions} version{'s' if on.model.versions > 1 else ''}"
    return reached("foundation", "registry", count, on.version.node)


def _runs(on: Survey) -> Rung:
    if on.version is None or not on.version.run:
        return missing("foundation", "runs", "with trine.run(): …  # train and register inside")
    return reached("foundation", "runs", f"made by run {on.version.run[:12]}", f"run:{on.version.run}")


def _data(on: Survey) -> Rung:
    node = (on.version.data if on.version else "") or next(iter(on.origin.sources), "")
    if not node:
        return missing("foundation", "data versions", "trine data add PATH --name NAME")
    return reached("foundation", "data versions", f"trained on {node.removeprefix('dataset:')}", node)


def _code(on: Survey) -> Rung:
    if not on.origin.code:
        return missing(
            "foundation", "code version", "git init && git add . && git commit -m 'Train'  # then train again"
        )
    dirty = ", with changes that are in no commit" if on.origin.is_dirty else ""
    return reached("foundation", "code version", f"commit {on.origin.commit[:12]}{dirty}", on.origin.code)


def _alias(on: Survey) -> Rung:
    if on.version is None or ALIAS not in on.version.aliases:
        newest = on.model.newest or "VERSION"
        return missing("foundation", "production alias", f"trine models promote {quote(f'{on.model.name}@{newest}')}")
    return reached("foundation", "production alias", f"{on.version.ref} is {ALIAS}", on.version.node)


def _pipeline(on: Survey) -> Rung:
    if not on.origin.steps:
        return missing("automation", "pipeline", "trine pipeline run FILE.py:NAME")
    step = on.origin.steps[0]
    return reached("automation", "pipeline", f"made by step {step.partition('/')[2]}", step)


def _gate(on: Survey) -> Rung:
    events = every(models.list_alias_events, on.ws, name=on.model.name, alias=ALIAS)
    gate = next((one.gate for one in events if one.kind == "promoted"), "")
    if not gate:
        return missing("automation", "gate", f"trine models promote {quote(on.model.name + '@VERSION')} --gate GATE")
    return reached("automation", "gate", "the last promotion passed one", gate)


def _triggers(on: Survey) -> Rung:
    if not on.loops:
        return missing("automation", "triggers", "trine loop run FILE.py:NAME")
    one = on.loops[0]
    kinds = sorted({type(each).__name__ for each in one.definition.triggers})
    return reached("automation", "triggers", f"loop {one.name}: {', '.join(kinds)}", one.node)


def _endpoint(on: Survey) -> Rung:
    if not on.endpoints:
        name = on.model.name
        return missing("monitoring", "endpoint", f"trine endpoints create {name} --model {quote(f'{name}@{ALIAS}')}")
    return reached("monitoring", "endpoint", f"endpoint {on.endpoint} serves it", on.endpoints[0].node)


def _monitor(on: Survey) -> Rung:
    for one in on.monitors:
        for verdict in monitoring.list_verdicts(on.ws, name=one.name, limit=1).items:
            return reached("monitoring", "monitor", f"{one.name} said {verdict.outcome}", f"verdict:{verdict.id}")
    if on.monitors:
        return missing("monitoring", "monitor", f"trine monitor check {on.monitors[0].name}")
    reference = f"model:{on.model.name}@{ALIAS}"
    line = f"trine monitor create {on.endpoint} --subject endpoint:{on.endpoint} --reference {reference}"
    return missing("monitoring", "monitor", line)


def _labels(on: Survey) -> Rung:
    for one in on.endpoints:
        if list_label_parts(on.ws, endpoint=one.name, limit=1).items:
            return reached("monitoring", "labels", f"the truth of {one.name}'s predictions arrives", one.node)
    return missing("monitoring", "labels", f"trine labels add LABELS.csv --endpoint {on.endpoint}")


def _wired(on: Survey) -> Rung:
    names = {one.name for one in on.monitors}
    for loop in on.loops:
        for trigger in loop.definition.triggers:
            if isinstance(trigger, OnVerdict) and trigger.monitor in names:
                told = f"verdicts of {trigger.monitor} start loop {loop.name}"
                return reached("monitoring", "alerts start the loop", told, loop.node)
    monitor = on.monitors[0].name if on.monitors else on.endpoint
    line = f'Loop(…, triggers=[OnVerdict("{monitor}")])  # then: trine loop run FILE.py:NAME'
    return missing("monitoring", "alerts start the loop", line)


def _features(on: Survey) -> Rung:
    if not on.origin.features:
        line = 'trine.features.training_set("SPINE", service, name="NAME", time="COLUMN")'
        return missing("optimisation", "feature service", line)
    node = on.origin.features[0]
    return reached("optimisation", "feature service", f"trained with {node.partition(':')[2]}", node)


def _canary(on: Survey) -> Rung:
    for one in on.endpoints:
        for rollout in every(moves.list_rollouts, on.ws, endpoint=one.name):
            if rollout.state == "promoted" and len(rollout.moves) > 1:
                return reached("optimisation", "canary", f"{rollout.model} came by steps", rollout.node)
    return missing("optimisation", "canary", f"trine rollout start {on.endpoint} {on.model.name}@VERSION")


def _compared(on: Survey) -> Rung:
    for one in on.endpoints:
        for route in every(serving.list_routes, on.ws, name=one.name):
            if route.shadows or (len(route.live) > 1 and not route.rollout):
                told = f"route {route.number} had {len(route.variants)} variants"
                return reached("optimisation", "comparison on traffic", told, route.node)
    line = f"trine endpoints deploy {on.endpoint} {on.model.name}@{ALIAS} --shadow {on.model.name}@VERSION"
    return missing("optimisation", "comparison on traffic", line)


LOOKS: tuple[Callable[[Survey], Rung], ...] = (
    _registry, _runs, _data, _code, _alias,
    _pipeline, _gate, _triggers,
    _endpoint, _monitor, _labels, _wired,
    _features, _canary, _compared,
)  # fmt: skip
"""In the order in which they are worth having."""
