"""Runs side by side, what differs first: params and metrics, code, environment and data."""

from __future__ import annotations

from starlette.responses import Response

from trine import tracking
from trine.server.ui.pages import Asked, page
from trine.server.ui.runs import MOST_CHARTS, charting
from trine.tracking.comparison import different


@page("/compare")
def compare(asked: Asked) -> Response:
    """Runs side by side, what differs first."""
    names = list(dict.fromkeys(asked.texts("run")))[:20]
    if len(names) < 2:
        return asked.show("compare_none.html", names=names)
    found = tracking.compare(*names, ws=asked.ws)
    everything = asked.text("all") == "1"
    metrics = {key: [one and one.last for one in row] for key, row in found.metrics.items()}
    best = {key: [one and one.best for one in row] for key, row in found.metrics.items()}
    charted = [key for key, row in found.metrics.items() if any(one and one.count > 1 for one in row)]
    return asked.show(
        "compare.html",
        found=found,
        everything=everything,
        sections=[
            ("Params", found.params if everything else different(found.params), len(found.params)),
            ("Metrics, last", metrics if everything else different(metrics), len(metrics)),
            ("Metrics, best", {key: row for key, row in best.items() if row != metrics[key]}, 0),
            ("Tags", found.tags if everything else different(found.tags), len(found.tags)),
            ("Context", found.context | {f"{name} random state": row for name, row in found.seeds.items()}, 0),
            ("Packages", found.packages, 0),
        ],
        charted=charted[:MOST_CHARTS],
        **charting(asked),
        data=[[node for node in row if node.startswith("dataset:")] for row in found.inputs],
    )
