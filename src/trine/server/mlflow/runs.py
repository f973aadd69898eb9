"""Runs: begun, changed, found, searched. What a client logs into them is in `logging`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from trine.errors import NotFound, TrineError
from trine.server.mlflow import filters, limits
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import WireError, invalid, missing, needed, wrong_type
from trine.server.mlflow.experiments import by_id, number_of
from trine.server.mlflow.filters import Clause
from trine.server.mlflow.paging import offset_of, token_of
from trine.tracking import logged_models as logged
from trine.tracking import operations as door
from trine.tracking.experiment import ExperimentInfo
from trine.tracking.logged_models import RunInput, RunLinks, RunModel
from trine.tracking.runs import RunInfo, State
from trine.workspace import Workspace

STATES: dict[Any, State] = {
    "RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "finished", "FAILED": "failed", "KILLED": "killed",
    1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed",
}  # fmt: skip
NAME, PARENT, COMMIT, USER = "mlflow.runName", "mlflow.parentRunId", "mlflow.source.git.commit", "mlflow.user"
MOST_AT_ONCE = 1_000


def run_of(call: Call, id: str = "") -> RunInfo:
    """The run that a call is about, whole. Raises WireError."""
    id = id or call.text("run_id", "") or call.text("run_uuid", "") or call.text("run_id")
    if not limits.is_run_id(id):
        limits.check_run_id(id)
        raise missing(f"Run with id={id} not found")
    call.deliver(id)
    try:
        return door.get_run(call.ws, id=id)
    except NotFound:
        raise missing(f"Run with id={id} not found") from None


def active_run(call: Call, id: str = "") -> RunInfo:
    """A run that may be written. Raises WireError."""
    one = run_of(call, id)
    if one.deleted_us is not None:
        raise not_active(one.id)
    return one


def not_active(id: str) -> Exception:
    return invalid(f"The run {id} must be in the 'active' state. Current state is deleted.")


# -- as MLflow says it ----------------------------------------------------------------------------------------------------


def number(value: float) -> float | str:
    """A float as proto-JSON writes it."""
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def tags_of(one: RunInfo) -> dict[str, str]:
    """A run's tags, with those by which MLflow knows what Trine keeps apart: name, parent, user, commit."""
    found = {**one.tags, NAME: one.name}
    if one.parent:
        found[PARENT] = one.parent
    if one.author:
        found.setdefault(USER, one.author.removeprefix("user:"))
    if one.code and (commit := re.match(r"code:([0-9a-f]{40})", one.code)):
        found.setdefault(COMMIT, commit[1])
    return found


def info_of(one: RunInfo, experiment: str) -> Json:
    found: Json = {
        "run_uuid": one.id,
        "run_id": one.id,
        "experiment_id": experiment,
        "run_name": one.name,
        "user_id": one.tags.get(USER) or one.author.removeprefix("user:"),
        "status": one.state.upper(),
        "start_time": one.started_us // 1_000,
        "artifact_uri": f"mlflow-artifacts:/{experiment}/{one.id}/artifacts",
        "lifecycle_stage": "active" if one.deleted_us is None else "deleted",
    }
    if one.ended_us is not None:
        found["end_time"] = one.ended_us // 1_000
    return found


def shown(one: RunInfo, experiment: str, links: RunLinks | None = None) -> Json:
    """A run as MLflow says it."""
    data: Json = {}
    if one.metrics:
        data["metrics"] = [
            {"key": key, "value": number(it.last), "timestamp": it.last_us // 1_000, "step": it.last_step}
            for key, it in one.metrics.items()
        ]
    if one.params:
        data["params"] = [{"key": key, "value": value} for key, value in one.params.items()]
    data["tags"] = [{"key": key, "value": value} for key, value in tags_of(one).items()]
    found: Json = {"info": info_of(one, experiment), "data": data}
    found["inputs"] = _inputs(links) if links else {}
    made = [{"model_id": it.model, "step": it.step} for it in (links.models if links else ()) if it.role == "output"]
    if made:
        found["outputs"] = {"model_outputs": made}
    return found


def _inputs(links: RunLinks) -> Json:
    found: Json = {}
    if links.inputs:
        found["dataset_inputs"] = [
            {
                "tags": [{"key": key, "value": value} for key, value in one.tags.items()],
                "dataset": {
                    name: value
                    for name, value in (
                        ("name", one.name),
                        ("digest", one.digest),
                        ("source_type", one.source_type),
                        ("source", one.source),
                        ("schema", one.schema),
                        ("profile", one.profile),
                    )
                    if value
                },
            }
            for one in links.inputs
        ]
    if read := [{"model_id": one.model} for one in links.models if one.role == "input"]:
        found["model_inputs"] = read
    return found


def whole(ws: Workspace, runs: list[RunInfo]) -> list[Json]:
    """Runs as MLflow says them, with their data and models."""
    links = {one.run: one for one in logged.list_links(ws, runs=[one.id for one in runs])} if runs else {}
    if len({one.experiment for one in runs}) == 1:
        numbers = {runs[0].experiment: number_of(door.find_experiment(ws, name=runs[0].experiment))}
    else:
        numbers = {one.name: number_of(one) for one in door.all_experiments(ws)} if runs else {}
    return [shown(one, numbers[one.experiment], links.get(one.id)) for one in runs]


# -- one run --------------------------------------------------------------------------------------------------------------


@route("POST runs/create")
def create(call: Call) -> Json:
    """Begin a run; its parent, name and commit are in tags."""
    group = by_id(call.ws, call.text("experiment_id", "0"))
    if group.deleted_us is not None:
        raise invalid(f"The experiment {number_of(group)} must be in the 'active' state. Current state is deleted.")
    started = call.whole("start_time")
    tags = {
        limits.check_length("key", limits.LONGEST_KEY, key): limits.check_length("value", limits.LONGEST_TAG, value)
        for key, value in call.pairs("tags").items()
    }
    named, told = call.text("run_name", ""), tags.pop(NAME, "")
    if named and told and named != told:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{named}', mlflow.runName='{told}')."
        )
    if user := call.text("user_id", ""):
        tags.setdefault(USER, user)
    above = tags.get(PARENT, "")
    if above and _is_there(call.ws, above):
        del tags[PARENT]
    else:
        above = ""
    commit = tags.get(COMMIT, "")
    made = door.create_run(
        call.ws,
        experiment_name=group.name,
        name=_line(named or told),
        tags=tags,
        parent=above,
        code=f"code:{commit}" if re.fullmatch(r"[0-9a-f]{40}", commit) else "",
        started_us=None if not started or started < 0 else started * 1_000,
    )
    return {"run": shown(made, number_of(group))}


def _is_there(ws: Workspace, id: str) -> bool:
    try:
        return limits.is_run_id(id) and door.get_run(ws, id=id).id == id
    except TrineError:
        return False


def _line(name: str) -> str:
    """A run's name, which in Trine is one line of at most 250 characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", name).strip()[:250]


@route("POST runs/update")
def update(call: Call) -> Json:
    """Say where a run stands, or give it another name."""
    one = active_run(call)
    state = call.get("status")
    if state is not None and state not in STATES:
        raise wrong_type("status", state)
    ended, name = call.whole("end_time"), _line(call.text("run_name", ""))
    door.update_run(
        call.ws,
        id=one.id,
        name=name or None,
        state=None if state is None else STATES[state],
        ended_us=None if ended is None or ended < 0 else ended * 1_000,
    )
    after = door.get_run(call.ws, id=one.id)
    return {"run_info": info_of(after, number_of(door.find_experiment(call.ws, name=after.experiment)))}


@route("POST runs/delete")
def delete(call: Call) -> Json:
    """Hide a run."""
    door.delete_run(call.ws, id=run_of(call).id)
    return {}


@route("POST runs/restore")
def restore(call: Call) -> Json:
    """Bring a hidden run back."""
    door.restore_run(call.ws, id=run_of(call).id)
    return {}


@route("GET runs/get")
def get(call: Call) -> Json:
    """A run."""
    return {"run": whole(call.ws, [run_of(call)])[0]}


@route("POST runs/delete-tag")
def delete_tag(call: Call) -> Json:
    """Remove a tag."""
    one, key = active_run(call), call.text("key")
    if key not in one.tags:
        raise missing(f"No tag with name: {key} in run with id {one.id}")
    door.delete_tag(call.ws, id=one.id, tag=key)
    return {}


# -- data and models --------------------------------------------------------------------------------------------------------


@route("POST runs/log-inputs")
def log_inputs(call: Call) -> Json:
    """Say what data and models a run read."""
    one = active_run(call)
    inputs = [_input(index, it) for index, it in enumerate(call.list("datasets"))]
    models = [RunModel(str(it.get("model_id") or ""), "input") for it in call.list("models")]
    _link(call, one.id, inputs, models)
    return {}


@route("POST runs/outputs")
def log_outputs(call: Call) -> Json:
    """Say what models a run made."""
    one = active_run(call)
    models = [
        RunModel(str(it.get("model_id") or ""), "output", limits.check_whole(it.get("step") or 0, "step"))
        for it in call.list("models")
    ]
    _link(call, one.id, [], models)
    return {}


def _link(call: Call, id: str, inputs: list[RunInput], models: list[RunModel]) -> None:
    try:
        logged.record_links(call.ws, id=id, inputs=inputs, models=models)
    except NotFound as error:
        raise missing(error.message) from None


def _input(index: int, one: Any) -> RunInput:
    if not isinstance(one, dict) or not isinstance(one.get("dataset"), dict):  # pyright: ignore[reportUnknownMemberType]
        raise invalid("Dataset cannot be None")
    told: Json = one["dataset"]
    values: dict[str, str] = {}
    for name, most in (("name", 500), ("digest", 36), ("source_type", 500), ("source", 65_535), ("schema", 1_048_575)):
        value = told.get(name)
        if value is None and name != "schema":
            raise invalid(f"Dataset {name} cannot be None")
        values[name] = limits.check_length(name, most, str(value or ""))
    values["profile"] = limits.check_length("profile", 16_777_215, str(told.get("profile") or ""))
    tags = {str(tag.get("key") or ""): str(tag.get("value") or "") for tag in one.get("tags") or ()}  # pyright: ignore
    for key, value in tags.items():
        limits.check_length("key", 255, key)
        limits.check_length("value", 500, value)
    return RunInput(**values, tags=tags)


# -- many ---------------------------------------------------------------------------------------------------------------------


@route("POST runs/search", "GET runs/search")
def search(call: Call) -> Json:
    """A page of runs, the newest first unless an order is given."""
    limit = call.results(1_000)
    view = str(call.get("run_view_type") or "ACTIVE_ONLY")
    ids = call.texts("experiment_ids")
    call.deliver("")
    groups = [group for id in dict.fromkeys(ids) if (group := _group(call.ws, id))]
    if not groups:
        return {}
    expression = filters.run_expression(call.text("filter", ""), lambda clauses: _with_data(call, groups, clauses))
    one = groups[0].name if len(groups) == 1 else ""
    if len(groups) > 1:
        names = ", ".join("'" + group.name.replace("'", "''") + "'" for group in groups)
        expression = f"experiment in ({names})" + (f" and ({expression})" if expression else "")
    order = filters.run_order(call.texts("order_by"))
    found: list[RunInfo] = []
    token = call.text("page_token", "")
    while len(found) < limit:
        page = door.search_runs(
            call.ws,
            expression=expression,
            experiment_name=one,
            order_by=order,
            deleted=view in ("DELETED_ONLY", "2"),
            with_deleted=view in ("ALL", "3"),
            limit=min(limit - len(found), MOST_AT_ONCE),
            page=token,
        )
        found += page.items
        token = page.next
        if not token:
            break
    answer: Json = {}
    if found:
        starts = range(0, len(found), MOST_AT_ONCE)
        answer["runs"] = [told for start in starts for told in whole(call.ws, found[start : start + MOST_AT_ONCE])]
    return answer | ({"next_page_token": token} if token else {})


def _group(ws: Workspace, id: str) -> ExperimentInfo | None:
    try:
        return by_id(ws, id)
    except WireError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _with_data(call: Call, groups: Iterable[ExperimentInfo], clauses: list[Clause]) -> list[str]:
    """The runs that read data for which all comparisons are true."""
    return [
        one.run
        for one in logged.list_inputs(call.ws, experiments=[group.id for group in groups])
        if any(all(filters.holds(clause, _of_input(it, clause.key)) for clause in clauses) for it in one.inputs)
    ]


def _of_input(one: RunInput, key: str) -> str | None:
    if key == "context":
        return one.tags.get("mlflow.data.context")
    if key not in ("name", "digest"):
        raise invalid(f"Invalid dataset key '{key}' specified. Valid keys are '{{'name', 'digest', 'context'}}'")
    return one.name if key == "name" else one.digest


@route("POST experiments/search-datasets", "POST runs/search-datasets")
def search_datasets(call: Call) -> Json:
    """The datasets that runs of experiments read, each with what it was for."""
    groups = [by_id(call.ws, id) for id in call.texts("experiment_ids")]
    numbers = {group.id: number_of(group) for group in groups}
    found: dict[tuple[str, str, str, str], Json] = {}
    for group in groups:
        for one in logged.list_inputs(call.ws, experiments=[group.id]):
            for it in one.inputs:
                context = it.tags.get("mlflow.data.context", "")
                said: Json = {"experiment_id": numbers[group.id], "name": it.name, "digest": it.digest}
                found[numbers[group.id], it.name, it.digest, context] = said | ({"context": context} if context else {})
    return {"dataset_summaries": list(found.values())[:1_000]}


@route("GET metrics/get-history")
def history(call: Call) -> Json:
    """The points of a metric by time, then step; all of them unless a page is asked for."""
    id, key = call.text("run_id", "") or call.text("run_uuid", "") or call.text("run_id"), call.text("metric_key")
    limit, token = call.whole("max_results"), call.text("page_token", "")
    points = points_of(call, run_of(call, id).id, key)
    start = offset_of(token)
    stop = len(points) if not limit else start + limit
    answer: Json = {}
    if points[start:stop]:
        answer["metrics"] = [{"key": key, **one} for one in points[start:stop]]
    return answer | ({"next_page_token": token_of(stop)} if stop < len(points) else {})


@route("GET metrics/get-history-bulk")
def history_of_many(call: Call) -> Json:
    """The points of a metric in several runs."""
    key, most = call.text("metric_key"), call.results(25_000, 25_000)
    found: list[Json] = []
    for id in call.texts("run_id"):
        found += [{"key": key, "run_id": id, **one} for one in points_of(call, run_of(call, id).id, key)]
    return {"metrics": found[:most]}


@route("GET metrics/get-history-bulk-interval")
def history_between(call: Call) -> Json:
    """The points of a metric in several runs between two steps, of each run at most so many, evenly spaced; the ends always."""
    ids, key = call.texts("run_ids"), call.text("metric_key")
    if not ids:
        raise needed("run_ids")
    if len(ids) > 100:
        raise invalid(
            f"GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received {len(ids)} run_ids."
        )
    first, last, most = call.whole("start_step"), call.whole("end_step"), call.whole("max_results", 2_500) or 0
    if not 1 <= most <= 2_500:
        raise invalid("max_results must be between 1 and 2500.")
    if (first is None) != (last is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise invalid(f"end_step must be greater than start_step. Found start_step={first} and end_step={last}.")
    found: list[Json] = []
    for id in ids:
        points = sorted(points_of(call, run_of(call, id).id, key), key=lambda one: (one["step"], one["timestamp"]))
        if first is not None and last is not None:
            points = [one for one in points if first <= one["step"] <= last]
        chosen = _spaced(sorted({one["step"] for one in points}), most)
        found += [{"key": key, "run_id": id, **one} for one in points if one["step"] in chosen][:2_500]
    return {"metrics": found} if found else {}


def _spaced(steps: list[int], most: int) -> set[int]:
    """At most so many of some steps, evenly spaced, the first and the last among them."""
    if len(steps) <= most:
        return set(steps)
    apart = (len(steps) - 1) / max(1, most - 1)
    return {steps[round(at * apart)] for at in range(most)} if most > 1 else {steps[-1]}


def points_of(call: Call, id: str, key: str) -> list[Json]:
    """All points of a metric, in MLflow's order."""
    rows: list[tuple[int, int, float]] = []
    start: int | None = 0
    try:
        while start is not None:
            page = door.read_points(call.ws, id=id, key=key, start=start, limit=100_000)
            rows += zip((us // 1_000 for us in page.times_us), page.steps, page.values, strict=True)
            start = page.next
    except NotFound:
        return []
    rows.sort(key=lambda row: (row[0], row[1], row[2] if row[2] == row[2] else 0.0))
    return [{"value": number(value), "timestamp": time, "step": step} for time, step, value in rows]
