"""`trine traces`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import (
    argument,
    command,
    counted,
    echo,
    group,
    is_json,
    moment_us,
    option,
    print_table,
    show,
    size_of,
)
from trine.cli.shell import when as at

if TYPE_CHECKING:
    from trine.llm import Assessment, Span, Trace, TraceInfo
    from trine.workspace import Workspace


@group()
def traces() -> None:
    """Traces: what calls to language models, tools and retrievers did, span by span."""


@traces.command("ls")
@argument("expression", default="")
@option("--experiment", default="", help="Only of this one.")
@option("--order", default="", help='For instance "duration desc"; default: the newest first.')
@option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000))
@command(example="trine traces ls\ntrine traces ls \"state = 'error' and span.name = 'retrieve'\" --experiment support")
def list_traces(ws: Workspace, expression: str, experiment: str, order: str, limit: int) -> None:
    """Traces for which EXPRESSION is true."""
    from trine.llm import operations as door

    experiments = [experiment] if experiment else []
    found = door.list_traces(ws, expression=expression, experiments=experiments, order_by=order, limit=limit)
    show(
        found,
        table=[
            ("trace", lambda one: one.id[:12]),
            ("started", lambda one: at(one.started_us)),
            ("name", lambda one: one.name),
            ("state", lambda one: one.state),
            ("took", lambda one: took(one.duration_us)),
            ("spans", lambda one: one.spans),
            ("tokens", lambda one: one.total_tokens),
            ("request", lambda one: _line(one.request, 40)),
            ("response", lambda one: _line(one.response, 40)),
        ],
        empty="No traces yet. Decorate a function with @trine.trace, or send OpenTelemetry's to a server's /v1/traces.",
    )


@traces.command("show")
@argument("id")
@option("--full", is_flag=True, help="Inputs, outputs and attributes of every span, whole.")
@command(example="trine traces show 019ac3d2e1f0")
def show_trace(ws: Workspace, id: str, full: bool) -> None:
    """One trace as a tree of its spans; ID may be the beginning of it."""
    from trine.llm import operations as door

    found = door.get_trace(ws, id=id)
    if is_json():
        show(found)
        return
    echo(_head(found.info))
    for line in tree_of(found, full=full):
        echo(line)
    for one in found.info.assessments:
        echo(_said(one))


def took(us: int | None) -> str:
    """A duration for people."""
    if us is None:
        return "–"
    if us < 1_000:
        return f"{us} µs"
    return f"{us / 1_000:.0f} ms" if us < 1_000_000 else f"{us / 1_000_000:.2f} s"


def _line(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _head(one: TraceInfo) -> str:
    lines = [
        f"{one.id}  {one.name or '(its root has not arrived)'}  {one.state}  {at(one.started_us)}  {took(one.duration_us)}"
    ]
    facts: list[tuple[str, Any]] = [
        ("experiment", one.experiment),
        ("runs", ", ".join(one.runs)),
        ("session", one.session),
        ("user", one.user),
        ("tokens", _tokens(one.input_tokens, one.output_tokens, one.total_tokens)),
        ("cost", "" if one.cost is None else f"{one.cost:.6g} USD"),
        ("tags", ", ".join(f"{key}={_line(value, 60)}" for key, value in one.tags.items())),
        ("request", _line(one.request, 200)),
        ("response", _line(one.response, 200)),
    ]
    return "\n".join([*lines, *(f"{name:<12}{value}" for name, value in facts if value)])


def _tokens(given: int | None, made: int | None, total: int | None) -> str:
    if given is None and made is None:
        return "" if total is None else f"{total:,}"
    return f"{given or 0:,} in, {made or 0:,} out"


def tree_of(trace: Trace, *, full: bool = False) -> list[str]:
    """A line for each span, below its parent, with a bar of the time it took; those whose parent is not there come at the top."""
    known = {one.id for one in trace.spans}
    below: dict[str, list[Span]] = {}
    for one in trace.spans:
        below.setdefault(one.parent if one.parent in known else "", []).append(one)
    start, whole = trace.info.started_us, max(trace.info.duration_us or 0, 1)
    rows: list[tuple[str, Span]] = []
    stack = [("", "", one) for one in reversed(below.get("", ()))]
    seen: set[str] = set()
    while stack:
        lead, branch, one = stack.pop()
        if one.id in seen:
            continue
        seen.add(one.id)
        rows.append((lead + branch + one.name, one))
        inner = lead + {"├─ ": "│  ", "└─ ": "   "}.get(branch, "")
        children = below.get(one.id, [])
        ends = ["├─ "] * (len(children) - 1) + ["└─ "]
        stack += [(inner, end, child) for end, child in reversed(list(zip(ends, children, strict=False)))]
    width = max((len(name) for name, _ in rows), default=0)
    lines: list[str] = []
    for name, one in rows:
        usage = one.usage
        notes = [took(one.duration_us).rjust(8), _bar(one, start, whole), one.type, one.model]
        notes += [_tokens(usage.input_tokens, usage.output_tokens, usage.total_tokens)]
        notes += [f"ERROR {_line(one.message, 80)}" if one.state == "error" else ""]
        lines.append("  ".join([name.ljust(width), *(note for note in notes if note)]).rstrip())
        if full:
            lines += _whole(one)
    return lines


BAR = 20


def _bar(one: Span, start_us: int, whole_us: int) -> str:
    """Where in the trace a span lies."""
    first = min(BAR - 1, max(0, (one.start_ns // 1_000 - start_us) * BAR // whole_us))
    last = min(BAR, max(first + 1, -(-((one.end_ns or one.start_ns) // 1_000 - start_us) * BAR // whole_us)))
    return "·" * first + "━" * (last - first) + "·" * (BAR - last)


def _whole(one: Span) -> list[str]:
    import msgspec

    def json(value: Any) -> str:
        return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()

    lines = [f"    in   {json(one.inputs)}"] if one.inputs is not None else []
    lines += [f"    out  {json(one.outputs)}"] if one.outputs is not None else []
    lines += [f"    {key} = {json(value)}" for key, value in one.attributes.items()]
    return lines + [f"    · {it.name} {json(it.attributes)}" for it in one.events]


def _said(one: Assessment) -> str:
    import msgspec

    value = msgspec.json.encode(one.value).decode() if one.problem is None else f"failed: {one.problem.message}"
    who = f"{one.source} {one.source_id}".strip()
    overridden = "" if one.valid else "  (overridden)"
    return f"{one.kind}  {one.name} = {value}  by {who}{f': {one.rationale}' if one.rationale else ''}{overridden}"


@traces.command("rm")
@argument("ids", nargs=-1)
@option("--experiment", default="", help="All of this experiment (with --until: those that started until then).")
@option("--until", default="", help="ISO 8601, UTC.")
@command(example="trine traces rm 019ac3d2e1f0\ntrine traces rm --experiment support --until 2026-01-01")
def remove(ws: Workspace, ids: tuple[str, ...], experiment: str, until: str) -> None:
    """Delete traces for good, with their spans and assessments."""
    from trine.llm import operations as door

    whole = [door.get_trace_info(ws, id=one).id for one in ids] if ids else None
    gone = door.delete_traces(ws, ids=whole, experiment_name=experiment, until_us=moment_us(until))
    more = " There are more: run it again." if gone.more else ""
    show(gone, text=f"deleted {counted(gone.traces, 'trace')}, {size_of(gone.size_bytes)}.{more}")


@traces.command("assess")
@argument("id")
@argument("name")
@argument("value")
@option("--expectation", is_flag=True, help="What should have been answered, instead of feedback on what was.")
@option("--because", default="", help="Why.")
@command(example="trine traces assess 019ac3d2e1f0 correct false --because 'the flight is on Monday'")
def assess(ws: Workspace, id: str, name: str, value: str, expectation: bool, because: str) -> None:
    """Say something of a trace: VALUE is JSON (true, 0.8, "text") or plain text."""
    import msgspec

    from trine.llm import operations as door

    try:
        found: Any = msgspec.json.decode(value)
    except msgspec.DecodeError:
        found = value
    kind = "expectation" if expectation else "feedback"
    made = door.create_assessment(ws, trace=id, name=name, value=found, kind=kind, rationale=because)
    show(made, text=_said(made))


@traces.command("totals")
@option("--experiment", default="", help="Only of this one.")
@option("--since", default="", help="ISO 8601, UTC.")
@command(example="trine traces totals --since 2026-03-01")
def totals(ws: Workspace, experiment: str, since: str) -> None:
    """Calls, errors, times, tokens and cost, by the name of the span."""
    from trine.llm import operations as door

    found = door.span_totals(ws, experiment_name=experiment, since_us=moment_us(since))
    if is_json():
        show(found)
        return
    if not found:
        echo("No spans yet.")
        return
    rows = [
        [
            one.name,
            one.type,
            one.model,
            one.calls,
            one.errors,
            took(one.mean_us),
            took(one.most_us),
            one.total_tokens,
            one.cost,
        ]
        for one in found
    ]
    print_table(["span", "type", "model", "calls", "errors", "mean", "longest", "tokens", "cost"], rows)


@traces.command("sessions")
@option("--experiment", default="", help="Only of this one.")
@option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000))
@command(example="trine traces sessions\ntrine traces ls \"session = 's-17' order by started\"")
def sessions(ws: Workspace, experiment: str, limit: int) -> None:
    """Conversations, the one that went on last first."""
    from trine.llm import operations as door

    show(
        door.list_sessions(ws, experiment_name=experiment, limit=limit),
        table=[
            ("session", lambda one: one.session),
            ("user", lambda one: one.user),
            ("traces", lambda one: one.traces),
            ("errors", lambda one: one.errors),
            ("tokens", lambda one: one.total_tokens),
            ("cost", lambda one: one.cost),
            ("began", lambda one: at(one.started_us)),
            ("last", lambda one: at(one.last_us)),
        ],
        empty='No sessions yet: say which one a trace belongs to, @trine.trace(session="…").',
    )
