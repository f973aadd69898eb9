"""What a card says of how a version was judged, and of what was decided: evaluations, gates, aliases, approvals."""

from __future__ import annotations

from shlex import quote

from trine.access import operations as access
from trine.evaluation import operations as evaluation
from trine.evaluation.gate import GateReport
from trine.evaluation.metrics import metric_of
from trine.evaluation.reports import Evaluation, MetricValue
from trine.governance.document import Section, Table, evidenced, missing, moment, tables_of
from trine.models import operations as models
from trine.models.versions import ModelVersion
from trine.operations import every
from trine.serving import operations as serving
from trine.workspace import Workspace


def evaluations(ws: Workspace, version: ModelVersion) -> Section:
    """Every evaluation of the version, with intervals and slices; the weakest slice of the last one is named."""
    found = [one for one in every(evaluation.list_evaluations, ws, model=version.name) if one.model == version.ref]
    if not found:
        hint = f"trine models evaluate {quote(version.ref)} DATASET --label COLUMN --slice COLUMN"
        return Section(title="Evaluation", values=(missing("evaluation", hint),))
    newest = found[0]
    weakest = _weakest(newest)
    hint = f"trine models evaluate {quote(version.ref)} {newest.dataset or 'DATASET'} --label {newest.label} --slice COLUMN"
    told = evidenced("weakest slice", weakest, newest.node) if weakest else missing("slices", hint)
    return Section(title="Evaluation", values=(told,), tables=tuple(_evaluation(one) for one in reversed(found)))


def _evaluation(one: Evaluation) -> Table:
    where = f"{one.rows:,} rows of {one.dataset}" if one.dataset else f"{one.rows:,} rows that are no dataset commit"
    rows = [(metric.name, "all", f"{one.rows:,}", *_interval(metric)) for metric in one.metrics]
    for part in one.slices:
        rows += [
            (each.name, f"{part.column} is {part.value}", f"{part.rows:,}", *_interval(each)) for each in part.metrics
        ]
    title = f"Evaluation on {where}, label {one.label}, {moment(one.created_us)}"
    header = ("metric", "where", "rows", "value", f"{one.confidence * 100:.4g} % interval")
    return Table(title=title, header=header, rows=tuple(rows), evidence=one.node)


def _interval(one: MetricValue) -> tuple[str, str]:
    if one.value is None:
        return "undefined", "–"
    if one.low is None or one.high is None:
        return f"{one.value:.4f}", "–"
    return f"{one.value:.4f}", f"{one.low:.4f} to {one.high:.4f}"


def _weakest(one: Evaluation) -> str:
    """The slice where the first metric is worst."""
    if not one.metrics:
        return ""
    name = one.metrics[0].name
    sign = -1 if metric_of(name).loss else 1
    known = [
        (sign * each.value, f"{part.column} is {part.value}: {name} {each.value:.4f} on {part.rows:,} rows")
        for part in one.slices
        for each in part.metrics
        if each.name == name and each.value is not None
    ]
    return min(known)[1] if known else ""


def gates(ws: Workspace, version: ModelVersion) -> Section:
    """Every gate the version went through, with the slices that were judged."""
    found = list(every(evaluation.list_gates, ws, model=version.ref))
    if not found:
        hint = f"trine models gate {quote(version.ref)} DATASET --label COLUMN"
        return Section(title="Gates", values=(missing("gate", hint),))
    newest = found[0]
    header = ("outcome", "metric", "difference", "bounds", "p", "rows", "holdout", "baseline", "evidence")
    return Section(
        title="Gates",
        values=(evidenced("last gate", f"{newest.outcome}: {newest.reason}", newest.node),),
        tables=(
            *tables_of("Gate reports", header, [_report(one) for one in reversed(found)]),
            *(table for one in reversed(found) for table in _slices(one)),
        ),
    )


def _report(one: GateReport) -> tuple[str, ...]:
    return (
        one.outcome,
        one.metric,
        _number(one.difference),
        f"{_number(one.low)} to {_number(one.high)}",
        "–" if one.p is None else f"{one.p:.2g}",
        f"{one.rows:,}",
        one.holdout or "rows that are no dataset commit",
        one.baseline or "the base rate",
        one.node,
    )


def _slices(one: GateReport) -> tuple[Table, ...]:
    rows = [
        (
            f"{part.column} is {part.value}",
            f"{part.rows:,}",
            _number(part.candidate),
            _number(part.baseline),
            _number(part.difference),
            part.outcome,
        )
        for part in one.slices
    ]
    header = ("where", "rows", one.candidate, one.baseline or "base rate", "difference", "outcome")
    return tables_of(
        f"Slices of the gate on {one.holdout or 'rows that are no dataset commit'}", header, rows, one.node
    )


def production(ws: Workspace, version: ModelVersion) -> Section:
    """Where it points and serves: aliases, their moves, approvals, endpoints."""
    events = [
        one
        for one in every(models.list_alias_events, ws, name=version.name)
        if version.version in (one.version, one.before)
    ]
    hint = f"trine models promote {quote(version.ref)}"
    names = ", ".join(sorted(version.aliases))
    values = [evidenced("aliases now", names, version.node) if names else missing("aliases now", hint)]
    served = [
        evidenced("served by", f"endpoint {one.name}, {variant.weight:g} % ({variant.role})", one.route.node)
        for one in every(serving.list_endpoints, ws)
        if one.route
        for variant in one.route.variants
        if variant.model == version.ref
    ]
    hint = f"trine endpoints create NAME --model {version.ref}"
    values += served or [missing("served by", hint)]
    moves = [
        (
            moment(one.time_us),
            one.alias,
            one.kind.replace("_", " "),
            f"{one.before or 'nothing'} → {one.version or 'nothing'}",
            one.author,
            one.reason,
            one.gate or "–",
        )
        for one in reversed(events)
    ]
    header = ("time", "alias", "what", "version", "by", "reason", "gate")
    return Section(
        title="Production",
        values=tuple(values),
        tables=(*tables_of("Moves of aliases", header, moves, version.node), *_approvals(ws, version)),
    )


def _approvals(ws: Workspace, version: ModelVersion) -> tuple[Table, ...]:
    """What others decided on letting the version through, oldest first."""
    asked = (version.name, version.version)
    found = [
        one
        for one in every(access.list_approvals, ws)
        if one.operation == "models.promote_model"
        and (one.arguments.get("name"), one.arguments.get("version")) == asked
    ]
    rows = [
        (
            moment(one.created_us),
            one.requester,
            "rejected" if one.state == "rejected" else f"approved ({len(one.decided_by)} of {one.needed})",
            ", ".join(one.decided_by),
            one.reason,
            f"approval:{one.id}",
        )
        for one in reversed(found)
        if one.decided_by
    ]
    return tables_of("Approvals", ("asked", "by", "decision", "decided by", "reason", "evidence"), rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
