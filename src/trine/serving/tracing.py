"""From one prediction back to its causes: route, model version, run, data and code."""

from __future__ import annotations

import msgspec

from trine import models
from trine.access.graph import lineage
from trine.ledger.lineage import Edge, Lineage
from trine.ledger.origins import origin_of
from trine.serving.reading import Prediction, find_prediction
from trine.workspace import Workspace, current_workspace


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction and all it came from. The fields name the nodes on the way; `lineage` has every node and edge."""

    prediction: Prediction
    route: str
    model: str
    runs: list[str]
    data: list[str]
    code: list[str]
    lineage: Lineage


def trace(prediction_id: str, *, ws: Workspace | None = None) -> Trace:
    """What a prediction came from: the log names its route and model version, the lineage graph has the rest.

    `runs` are in the order of distance; `data` is what the model was trained on, then the source commits behind it; `code` is the
    commit of its maker. Raises NotFound for an id that is not in the log.
    """
    ws = ws or current_workspace()
    found = find_prediction(prediction_id, ws=ws)
    route = f"route:{found.endpoint}@{found.route}"
    if not found.model_version:  # a rejected request never met a model
        first = [Edge(found.node, "answered", route)]
        return Trace(
            prediction=found, route=route, model="", runs=[], data=[], code=[],
            lineage=Lineage(found.node, [found.node, route], first),
        )  # fmt: skip
    model = f"model:{found.model_version}"
    up = lineage(ws, node=model)
    origin = origin_of(up)
    trained_on = models.resolve(found.model_version, ws=ws).data
    edges = [Edge(found.node, "answered", route), Edge(route, "deployed", model), *up.edges]
    return Trace(
        prediction=found,
        route=route,
        model=model,
        runs=origin.runs,
        data=[node for node in dict.fromkeys([trained_on, *origin.sources]) if node],
        code=[origin.code] if origin.code else [],
        lineage=Lineage(found.node, [found.node, route, *up.nodes], edges),
    )
