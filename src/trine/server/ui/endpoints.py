"""Endpoints: traffic, latency and errors, predictions and their way back, rollouts; roll back, move on, abort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from trine import serving
from trine.errors import InvalidInput
from trine.models import operations as models
from trine.monitoring import operations as monitors
from trine.operations import every
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page
from trine.server.ui.rendering import compressed
from trine.server.ui.series import Line, Lines
from trine.serving import moves
from trine.serving import operations as door
from trine.serving.parts import list_label_parts, list_log_parts
from trine.serving.routing import Route, Variant
from trine.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

RECENT = 5_000
"""Predictions that an endpoint's page looks at: the newest."""

SHOWN = 50
BUCKETS = 120


class Part(msgspec.Struct, frozen=True):
    """One variant's piece of the traffic bar, in percent."""

    variant: Variant
    x: float
    share: float


@page("/endpoints")
def endpoints(asked: Asked) -> Response:
    """Endpoints and what they serve."""
    found = door.list_endpoints(asked.ws, limit=100, page=asked.text("page"))
    return asked.show(
        "endpoints.html", found=found, split={one.name: split(one.route) for one in found.items if one.route}
    )


def split(route: Route) -> list[Part]:
    """The live variants with their shares of the traffic."""
    total, at = sum(one.weight for one in route.live), 0.0
    parts: list[Part] = []
    for one in route.live:
        share = one.weight / total * 100
        parts.append(Part(one, at, share))
        at += share
    return parts


@page("/endpoints/{name}")
def endpoint(asked: Asked) -> Response:
    """One endpoint."""
    found = door.get_endpoint(asked.ws, name=asked.path["name"])
    frame = _recent(asked.ws, found.name)
    query = asked.text("q").strip()
    rows = _matching(frame, query)
    rollouts = moves.list_rollouts(asked.ws, endpoint=found.name, limit=20).items
    return asked.show(
        "endpoint.html",
        endpoint=found,
        parts_of=split(found.route) if found.route else [],
        routes=door.list_routes(asked.ws, name=found.name, limit=30).items,
        rollouts=rollouts,
        monitors=[
            one
            for one in monitors.list_monitors(asked.ws, limit=200).items
            if one.subject_kind == "endpoint" and one.subject_name == found.name
        ],
        labels=sum(one.rows for one in list_label_parts(asked.ws, endpoint=found.name, limit=1000).items),
        looked_at=frame.height,
        errors=int((frame["status"] == "error").sum()) if frame.height else 0,
        latency=_quantiles(frame),
        predictions=rows.reverse().head(SHOWN).to_dicts(),
        has_probability="probability" in frame.columns,
        query=query,
        versions=_versions(asked, found.route),
    )


def _versions(asked: Asked, route: Route | None) -> list[str]:
    """What could be deployed: the versions of the model that is served."""
    if route is None or not route.live:
        return []
    name = route.live[0].model.rpartition("@")[0]
    return [one.ref for one in models.list_versions(asked.ws, name=name, limit=30).items]


def _recent(ws: Workspace, name: str) -> pl.DataFrame:
    """The newest predictions, oldest first: only the parts of the log that hold them are read."""
    parts = sorted(every(list_log_parts, ws, endpoint=name), key=lambda one: one.last_us, reverse=True)
    rows, since = 0, 0
    for one in parts:
        rows, since = rows + one.rows, one.first_us
        if rows >= RECENT:
            break
    else:
        since = 0
    return serving.predictions(name, since or None, rejected=True, ws=ws).tail(RECENT)


def _matching(frame: pl.DataFrame, query: str) -> pl.DataFrame:
    """Rows whose id, key, status, variant or model is (or begins with) what was asked for."""
    import polars as pl

    if not query or not frame.height:
        return frame
    columns = ("prediction_id", "key", "status", "variant", "model_version")
    return frame.filter(pl.any_horizontal([pl.col(name).cast(pl.String).str.starts_with(query) for name in columns]))


def _quantiles(frame: pl.DataFrame) -> dict[str, float]:
    if not frame.height:
        return {}
    latency = frame["latency_us"] / 1000
    return {f"p{at}": float(latency.quantile(at / 100) or 0) for at in (50, 95, 99)}


@page("/endpoints/{name}/traffic")
def traffic(asked: Asked) -> Response:
    """Latency, errors or requests over time, by variant."""
    import polars as pl

    what = asked.text("what", "latency")
    if what not in ("latency", "errors", "requests"):
        raise InvalidInput('what is "latency", "errors" or "requests".')
    frame = _recent(asked.ws, asked.path["name"])
    lines: list[Line] = []
    if frame.height:
        first, last = frame["time_us"].min(), frame["time_us"].max()
        width = max(1_000_000, (int(last) - int(first)) // BUCKETS + 1)  # type: ignore[arg-type]
        measure = {
            "latency": (pl.col("latency_us") / 1000).quantile(0.95),
            "errors": (pl.col("status") == "error").mean(),
            "requests": pl.len() / (width / 1e6),
        }[what]
        by = (
            frame.group_by("variant", at=pl.col("time_us") // width * width)
            .agg(value=measure.cast(pl.Float64))
            .sort("at")
        )
        for (variant,), part in by.group_by("variant", maintain_order=True):
            label = str(variant or "rejected")
            lines.append(Line(label, [at / 1e6 for at in part["at"].to_list()], part["value"].to_list()))
        lines.sort(key=lambda one: one.label)
    return compressed(asked.request, msgspec.json.encode(Lines(lines, True)), "application/json")


@page("/predictions/{id}")
def prediction(asked: Asked) -> Response:
    """One prediction: what was asked, what was answered, and everything that is behind it."""
    found = serving.trace(asked.path["id"], ws=asked.ws)
    return asked.show("prediction.html", trace=found, one=found.prediction, label=_label(asked, found.prediction))


def _label(asked: Asked, one: serving.Prediction) -> Any:
    import polars as pl

    frame = serving.labels(one.endpoint, ws=asked.ws)
    rows = frame.filter(pl.col("prediction_id") == one.id).to_dicts() if frame.height else []
    return rows[-1] if rows else None


@page("/rollouts/{id}")
def rollout(asked: Asked) -> Response:
    """One rollout: its steps, its moves, what the guards saw."""
    found = moves.get_rollout(asked.ws, id=asked.path["id"])
    return asked.show("rollout.html", rollout=found)


# -- changes ----------------------------------------------------------------------------------------------------------


@action("/endpoints/{name}/rollback")
def roll_back(asked: Asked) -> Response:
    name = asked.path["name"]
    route = door.roll_back(asked.ws, name=name, reason=asked.form.get("reason", ""))
    return asked.back(path("endpoints", name), f"Rolled back: route {route.number} serves now.")


@action("/endpoints/{name}/deploy")
def deploy(asked: Asked) -> Response:
    name, model = asked.path["name"], asked.form.get("model", "")
    route = serving.deploy(name, model, reason=asked.form.get("reason", ""), ws=asked.ws)
    return asked.back(path("endpoints", name), f"Deployed: route {route.number} serves {model}.")


@action("/endpoints/{name}/rollout")
def start_rollout(asked: Asked) -> Response:
    name, model = asked.path["name"], asked.form.get("model", "")
    begun = moves.start_rollout(asked.ws, endpoint=name, model=model, reason=asked.form.get("reason", ""))
    return asked.back(path("rollouts", begun.id), f"{model} takes {begun.share} % of the traffic.")


@action("/rollouts/{id}/advance")
def advance(asked: Asked) -> Response:
    """Judge the step that is running: on, back, or wait."""
    before = moves.get_rollout(asked.ws, id=asked.path["id"])
    after = serving.advance_rollout(before.id, ws=asked.ws)
    told = (
        "It waits: not enough is known yet."
        if after.epoch == before.epoch
        else f"It moved: {after.state}, {after.share} %."
    )
    return asked.back(path("rollouts", before.id), told)


@action("/rollouts/{id}/abort")
def abort(asked: Asked) -> Response:
    done = serving.abort_rollout(asked.path["id"], reason=asked.form.get("reason", ""), ws=asked.ws)
    return asked.back(path("rollouts", done.id), "Aborted: the traffic is back where it was.")
