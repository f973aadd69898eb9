"""How much two filters of traces go together, as MLflow's pages and clients ask: normalised pointwise mutual information.

Bouma (2009), "Normalized (pointwise) mutual information in collocation extraction", from the counts of traces; smoothed with
Jeffreys' prior (half a trace in every cell).
"""

from __future__ import annotations

import math

from trine.llm import operations as door
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import needed
from trine.server.mlflow.experiments import number_of
from trine.server.mlflow.runs import number
from trine.server.mlflow.trace_filters import trace_expression
from trine.tracking import operations as tracking


@route("POST traces/calculate-filter-correlation")
def correlation(call: Call) -> Json:
    """Whether traces for which one filter is true are those for which another is."""
    ids = set(call.texts("experiment_ids"))
    if not ids:
        raise needed("experiment_ids")
    names = [one.name for one in tracking.all_experiments(call.ws) if number_of(one) in ids]
    base = trace_expression(call.text("base_filter", ""))
    first, second = (trace_expression(call.text(name)) for name in ("filter_string1", "filter_string2"))

    def count(*parts: str) -> int:
        joined = " and ".join(f"({part})" for part in (base, *parts) if part)
        return door.count_traces(call.ws, expression=joined, experiments=names) if names else 0

    both, one, other, total = count(first, second), count(first), count(second), count()
    return {
        "npmi": number(mutual_information(both, one, other, total)),
        "npmi_smoothed": number(mutual_information(both, one, other, total, smoothing=0.5)),
        "filter1_count": one,
        "filter2_count": other,
        "joint_count": both,
        "total_count": total,
    }


def mutual_information(both: int, one: int, other: int, total: int, *, smoothing: float = 0.0) -> float:
    """From -1 (never together) by 0 (independent) to 1 (always together); NaN when one of them never is."""
    if not one or not other or not total:
        return math.nan
    if not both and not smoothing:
        return -1.0
    if both == one == other == total:
        return 1.0
    n, n1, n2, n12 = total + 4 * smoothing, one + 2 * smoothing, other + 2 * smoothing, both + smoothing
    found = (math.log(n12) + math.log(n) - math.log(n1) - math.log(n2)) / (math.log(n) - math.log(n12))
    return max(-1.0, min(1.0, found))
