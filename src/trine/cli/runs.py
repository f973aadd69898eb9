"""`trine runs`."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.charts import chart, sparkline
from trine.cli.shell import (
    ago,
    argument,
    command,
    counted,
    echo,
    group,
    is_json,
    option,
    print_table,
    show,
    size_of,
    when,
)

if TYPE_CHECKING:
    from trine.tracking import Comparison, MetricSummary, RunInfo
    from trine.workspace import Workspace

_MARKS = {"finished": "✓", "failed": "✗", "killed": "✗", "running": "●", "scheduled": "○"}


@group()
def runs() -> None:
    """Runs: list, search, show, compare, follow."""


# -- lists ------------------------------------------------------------------------------------------------------


@runs.command("ls")
@argument("expression", default="")
@option("--experiment", "-e", default="", help="Only runs of this experiment.")
@option("--order-by", "-o", default="", help="For instance: 'metrics.auc.best desc, started'.")
@option("--limit", "-n", default=25, show_default=True, help="At most that many runs.")
@command(example="trine runs ls\ntrine runs ls \"state = 'failed'\" -e churn")
def list_(ws: Workspace, expression: str, experiment: str, order_by: str, limit: int) -> None:
    """Runs, newest first; those for which EXPRESSION is true (see: trine runs search --help)."""
    _list(ws, expression, experiment, order_by, limit)


@runs.command("search")
@argument("expression")
@option("--experiment", "-e", default="", help="Only runs of this experiment.")
@option("--order-by", "-o", default="", help="For instance: 'metrics.auc.best desc, started'.")
@option("--limit", "-n", default=25, show_default=True, help="At most that many runs.")
@command(
    example="trine runs search \"metrics.auc.best > 0.8 and params.model in ('forest', 'boost')\" -o 'metrics.auc.best desc'"
)
def search(ws: Workspace, expression: str, experiment: str, order_by: str, limit: int) -> None:
    """Runs for which EXPRESSION is true.

    Fields are metrics.KEY (its last value; also .best .first .min .max .count), params.KEY, tags.KEY, and of the run itself
    state, name, experiment, started, duration and so on; data = 'flights@2013-03' are runs that read it. Conditions are
    = != < <= > >= between in like ~ (a pattern) and is null, joined by and, or, not and parentheses; "order by …" may end it.
    Text has quotes: 'forest'.
    """
    _list(ws, expression, experiment, order_by, limit)


def _list(ws: Workspace, expression: str, experiment: str, order_by: str, limit: int) -> None:
    from trine import tracking

    found = tracking.search(expression, experiment=experiment, order_by=order_by, limit=limit + 1, ws=ws)
    more, found = found[limit:], found[:limit]
    if is_json():
        show(found)
        return
    if not found:
        if expression or experiment:
            echo("No such runs. All of them: trine runs ls")
        else:
            echo('No runs yet. Make one from Python:  with trine.run("my experiment") as run: run.log("loss", 0.3)')
        return
    columns = _asked(f"{expression} , {order_by}") or _common_metrics(found)
    header = ["run", "name", "experiment", "state", "started", "took", *columns, "params"]
    varying = _varying_params(found, columns)
    rows = [
        [
            one.id[:12],
            ("↳ " if one.parent else "") + one.name,
            one.experiment,
            _state(one),
            ago(one.started_us),
            _took(one),
            *(get(one) for get in columns.values()),
            " ".join(f"{name}={_short(one.params[name])}" for name in varying if name in one.params),
        ]
        for one in found
    ]
    keep = [at for at in range(len(header)) if any(row[at] not in ("", None) for row in rows)]
    print_table([header[at] for at in keep], [[row[at] for at in keep] for row in rows])
    if more:
        echo("… more: ask for a higher --limit")


def _asked(text: str) -> dict[str, Callable[[RunInfo], Any]]:
    """The metrics and params that an expression names, as columns."""
    columns: dict[str, Callable[[RunInfo], Any]] = {}
    parts = "last|first|min|max|count|best"
    for kind, quoted, plain in re.findall(r"\b(metric|param)s?\.(?:[\"`]([^\"`]+)[\"`]|([\w./:-]+))", text):
        key, part = quoted or plain, "last"
        if not quoted and kind == "metric" and (found := re.fullmatch(rf"(.+)\.({parts})", key)):
            key, part = found[1], found[2]
        if kind == "metric":
            title = key if part == "last" else f"{key}.{part}"
            columns[title] = lambda one, key=key, part=part: getattr(one.metrics.get(key), part, None)
        else:
            columns[key] = lambda one, key=key: _short(one.params[key]) if key in one.params else None
    return columns


def _common_metrics(found: list[RunInfo]) -> dict[str, Callable[[RunInfo], Any]]:
    keys = Counter(key for one in found for key in one.metrics)
    return {key: lambda one, key=key: getattr(one.metrics.get(key), "last", None) for key, _ in keys.most_common(4)}


def _varying_params(found: list[RunInfo], columns: dict[str, Any]) -> list[str]:
    names = sorted({name for one in found for name in one.params})
    varying = [name for name in names if len({one.params.get(name) for one in found}) > 1 or len(found) == 1]
    return [name for name in varying if name not in columns][:6]


def _short(value: str) -> str:
    return f"{float(value):.6g}" if re.fullmatch(r"-?\d+\.\d{6,}", value) else f"{value:.30}"


def _state(one: RunInfo) -> str:
    return f"{_MARKS[one.state]} {one.state}" + (", lossy" if one.is_lossy else "")


def _took(one: RunInfo) -> str:
    return "" if one.duration_s is None else _span(one.duration_s)


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# -- one run ----------------------------------------------------------------------------------------------------


@runs.command("show")
@argument("run")
@command(example="trine runs show churn-12")
def show_(ws: Workspace, run: str) -> None:
    """All about RUN (its id, the beginning of it, or its name): params, metrics, data, code, files."""
    from trine import tracking

    info = tracking.get_run(run, ws=ws)
    if is_json():
        show(info)
        return
    echo(f"{info.name}  {info.id}  {_state(info)}")
    if info.reason:
        echo(f"  {info.reason}")
    if info.is_lossy:
        echo(f"  {info.lost:,} points were lost: there was no space to write them, or what was written is damaged.")
    echo()
    for name, value in _facts(ws, info):
        if value:
            echo(f"{name.ljust(12)} {value}")
    _lines("params", info.params)
    _lines("tags", info.tags)
    if info.metrics:
        echo("\nmetrics")
        _metrics_table(info.metrics, {})
    for title, nodes in (("inputs", info.inputs), ("outputs", info.outputs)):
        _lines(title, dict.fromkeys(nodes, ""))
    files = tracking.artifacts(info, ws=ws)
    _lines("artifacts", {one.path: size_of(one.size_bytes) for one in files[:20]})
    if len(files) > 20:
        echo(f"  … {len(files) - 20} more: trine runs artifacts {info.name}")


def _facts(ws: Workspace, info: RunInfo) -> list[tuple[str, str]]:
    from trine import tracking

    took = f", took {_took(info)}" if info.ended_us else ""
    facts = [
        ("experiment", info.experiment),
        ("parent", info.parent or ""),
        ("started", f"{when(info.started_us)} ({ago(info.started_us)}){took}"),
        ("by", f"{info.author}" + (f" on {info.context.host}" if info.context.host else "")),
        ("command", " ".join(info.context.arguments)),
    ]
    if info.environment:
        environment = tracking.environment_of(info.environment, ws=ws)
        facts.append(
            (
                "environment",
                f"Python {environment.python}, {len(environment.packages)} packages, {environment.platform}",
            )
        )
    if info.code:
        code = tracking.code_of(info.code, ws=ws)
        told = [code.branch and f"on {code.branch}", code.remote]
        told.append(f"{counted(len(code.changed), 'file')} not committed" if code.changed else "")
        told.append(f"{len(code.skipped)} left out" if code.skipped else "")
        facts.append(("code", ", ".join([info.code.removeprefix("code:"), *filter(None, told)])))
    if info.context.problem:
        facts.append(("code", f"not recorded ({info.context.problem})"))
    return facts


def _lines(title: str, values: dict[str, str]) -> None:
    if values:
        width = min(40, max(map(len, values)))
        echo(f"\n{title}")
        for name, value in values.items():
            echo(f"  {name.ljust(width)}  {' '.join(value.split())[:150]}".rstrip())


def _metrics_table(metrics: dict[str, MetricSummary], lines: dict[str, str]) -> None:
    header = ["metric", "last", "best", "at step", "min", "max", "points", *(["line"] if lines else [])]
    rows = [
        [key, one.last, one.best, one.best_step, one.min, one.max, one.count, *([lines.get(key, "")] if lines else [])]
        for key, one in metrics.items()
    ]
    print_table(header, rows)


@runs.command("metrics")
@argument("run")
@argument("key", default="")
@option("--points", "-n", default=12, show_default=True, help="Points to print below the chart of KEY, evenly spaced.")
@command(example="trine runs metrics churn-12\ntrine runs metrics churn-12 loss")
def metrics(ws: Workspace, run: str, key: str, points: int) -> None:
    """The metrics of RUN with their courses; with KEY, its chart."""
    from trine import tracking
    from trine.tracking import operations as door

    info = tracking.get_run(run, ws=ws)
    if not key:
        if is_json() or not info.metrics:
            show(
                info.metrics,
                text=None if is_json() else f"{info.name} has no metrics yet. Log one: run.log('loss', 0.3)",
            )
            return
        keys = list(info.metrics)[:100]
        courses = {one: door.read_points(ws, id=info.id, key=one, thin=60).values for one in keys}
        _metrics_table(info.metrics, {one: sparkline(values, 24) for one, values in courses.items()})
        return
    if is_json():
        history = tracking.history(info, key, ws=ws)
        show(history.to_dicts())
        return
    line = door.read_points(ws, id=info.id, key=key, thin=160)
    echo("\n".join(chart(line.steps, line.values)))
    if points > 0:
        echo()
        some = [round(at * (len(line.steps) - 1) / max(1, points - 1)) for at in range(points)]
        rows = [[line.steps[at], line.values[at], when(line.times_us[at])] for at in sorted(set(some))]
        print_table(["step", key, "time"], rows)


# -- several ----------------------------------------------------------------------------------------------------


@runs.command("compare")
@argument("names", nargs=-1, required=True, metavar="RUN RUN…")
@option("--all", "everything", is_flag=True, help="Also what is the same in all of them.")
@command(example="trine runs compare churn-11 churn-12")
def compare(ws: Workspace, names: tuple[str, ...], everything: bool) -> None:
    """What differs between runs: params, metrics, code, packages, data."""
    from trine import tracking

    found = tracking.compare(*names, ws=ws)
    if is_json():
        show(found)
        return
    header = ["", *(one.name for one in found.runs)]
    _section(
        "run", header, {"state": [_state(one) for one in found.runs], "took": [_took(one) for one in found.runs]}, True
    )
    _section("params", header, found.params, everything)
    _metrics_section(header, found)
    _section("tags", header, found.tags, everything)
    _section("code", header, {"code": [(one or "").removeprefix("code:")[:20] for one in found.code]}, everything)
    _section("data", header, {"inputs": [", ".join(one) for one in found.inputs]}, everything)
    _section(
        "context", header, found.context | {f"{name} random state": seed for name, seed in found.seeds.items()}, True
    )
    _section("packages", header, found.packages, True)


@runs.command("diff")
@argument("before")
@argument("after")
@option("--no-code", is_flag=True, help="Without the difference of the code.")
@command(example="trine runs diff churn-11 churn-12")
def diff(ws: Workspace, before: str, after: str, no_code: bool) -> None:
    """What changed from run BEFORE to run AFTER: params, metrics, packages, the rows of the data, and the code as a patch."""
    from trine import tracking
    from trine.errors import Failure, InvalidInput

    found = tracking.compare(before, after, ws=ws)
    try:
        patch = "" if no_code else tracking.code_difference(*found.runs, ws=ws)
        problem = ""
    except (Failure, InvalidInput) as error:
        patch, problem = "", error.message
    data = _data_differences(ws, *(one.inputs for one in found.runs))
    if is_json():
        import msgspec

        show({**msgspec.to_builtins(found), "data": data, "patch": patch, "problem": problem})
        return
    header = ["", *(one.name for one in found.runs)]
    _section("params", header, found.params, False)
    _metrics_section(header, found, only_different=True)
    for title, table in (("packages", found.packages), ("context", found.context)):
        _section(title, header, table, False)
    for one in data:
        echo(_told(one))
        echo()
    echo(patch.rstrip() or problem or "The code is the same.")


def _data_differences(ws: Workspace, before: list[str], after: list[str]) -> list[Any]:
    """For each dataset that both read, at other commits, what changed in it; else what only one of them read."""
    from trine import data

    one, two = (
        {node.partition("@")[0]: node for node in nodes if node.startswith("dataset:")} for nodes in (before, after)
    )
    found: list[Any] = []
    for name in sorted({*one, *two}):
        first, second = one.get(name), two.get(name)
        if first and second and first != second:
            found.append(data.diff(first.removeprefix("dataset:"), second.removeprefix("dataset:"), ws=ws))
        elif first != second:
            found.append({"before": first, "after": second})
    return found


def _told(one: Any) -> str:
    from trine.cli.data import difference

    if isinstance(one, dict):
        return f"{one['before'] or 'no such data'} → {one['after'] or 'no such data'}"  # pyright: ignore[reportUnknownVariableType]
    return difference(one)


def _section(title: str, header: list[str], table: dict[str, list[Any]], everything: bool) -> None:
    from trine.tracking.comparison import different

    chosen = table if everything else different(table)
    if any(value for values in chosen.values() for value in values):
        print_table(
            [title, *header[1:]], [[name, *(str(value or "–")[:40] for value in row)] for name, row in chosen.items()]
        )
        echo()


def _metrics_section(header: list[str], found: Comparison, *, only_different: bool = False) -> None:
    rows: list[list[Any]] = []
    for key, summaries in found.metrics.items():
        if only_different and len({one and one.last for one in summaries}) == 1:
            continue
        rows.append([key, *(one and one.last for one in summaries)])
        if any(one and one.best != one.last and one.best == one.best for one in summaries):
            rows.append([f"{key}.best", *(one and one.best for one in summaries)])
    if rows:
        print_table(["metrics", *header[1:]], rows)
        echo()


@runs.command("artifacts")
@argument("run")
@argument("path", default="")
@option("--to", "folder", type=click.Path(path_type=Path), help="Write them below this folder.")
@command(example="trine runs artifacts churn-12\ntrine runs artifacts churn-12 plots --to out/")
def artifacts(ws: Workspace, run: str, path: str, folder: Path | None) -> None:
    """The files of RUN (those at or below PATH)."""
    from trine import tracking

    info = tracking.get_run(run, ws=ws)
    if folder is not None:
        made = tracking.download_artifacts(info, folder, path, ws=ws)
        show([str(one) for one in made], text=f"{folder} has {counted(len(made), 'file')}")
        return
    show(
        tracking.artifacts(info, path, ws=ws),
        table=[
            ("file", lambda one: one.path),
            ("size", lambda one: size_of(one.size_bytes)),
            ("object", lambda one: one.hash[:12]),
            ("kept", lambda one: ago(one.created_us)),
        ],
        empty=f"{info.name} has no files. Keep one from Python: run.log_artifact('plot.png')",
    )


@runs.command("tail")
@argument("run")
@option("--points", "-n", default=10, show_default=True, help="Print the last points first.")
@option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@command(example="trine runs tail churn-12 -f")
def tail(ws: Workspace, run: str, points: int, follow: bool) -> None:
    """The newest points of RUN, as they come."""
    from trine import tracking

    info = tracking.get_run(run, ws=ws)
    seen = {key: max(0, one.count - max(0, points)) for key, one in info.metrics.items()}
    fresh = _points_after(ws, info, seen)
    _print_points(fresh[-points:] if points > 0 else [])
    while follow and info.state in ("running", "scheduled"):
        time.sleep(0.5)
        info = tracking.get_run(info, ws=ws)
        _print_points(_points_after(ws, info, seen))
    if not fresh and not info.metrics:
        echo(f"{info.name} has no metrics yet.")
    if follow:
        echo(f"{info.name} {_state(info)}{f': {info.reason}' if info.reason else ''}")


def _points_after(ws: Workspace, info: RunInfo, seen: dict[str, int]) -> list[tuple[int, str, int, float]]:
    """Points that came since: time, metric, step, value, by time. `seen` counts them."""
    from trine.tracking import operations as door

    found: list[tuple[int, str, int, float]] = []
    for key, one in info.metrics.items():
        while seen.get(key, 0) < one.count:
            page = door.read_points(ws, id=info.id, key=key, start=seen.get(key, 0))
            found += zip(page.times_us, [key] * len(page.steps), page.steps, page.values, strict=True)
            seen[key] = seen.get(key, 0) + len(page.steps)
    return sorted(found, key=lambda point: point[0])


def _print_points(points: list[tuple[int, str, int, float]]) -> None:
    import msgspec

    for time_us, key, step, value in points:
        if is_json():
            line = {"time_us": time_us, "metric": key, "step": step, "value": value}
            click.echo(msgspec.json.encode(line).decode())
        else:
            click.echo(f"{when(time_us)}  step {step:>7,}  {key} {value:.6g}")


# -- changing ---------------------------------------------------------------------------------------------------


@runs.command("end")
@argument("run")
@option("--state", type=click.Choice(["finished", "failed", "killed"]), default="killed", show_default=True)
@option("--reason", default="", help="Why.")
@command(example="trine runs end churn-12 --reason 'its machine is gone'")
def end(ws: Workspace, run: str, state: Any, reason: str) -> None:
    """Say that RUN has ended: for one whose machine is gone. (Runs that died on this machine end by themselves.)"""
    from trine import tracking
    from trine.tracking import operations as door

    info = tracking.get_run(run, ws=ws)
    done = door.end_run(ws, id=info.id, state=state, reason=reason)
    show(done, text=f"{info.name} is {state}.")


@runs.command("rewind")
@argument("run")
@argument("step", type=int)
@option("--yes", is_flag=True, help="Do not ask.")
@command(example="trine runs rewind churn-12 400")
def rewind(ws: Workspace, run: str, step: int, yes: bool) -> None:
    """Forget the points of RUN after STEP; resumed (trine.run(resume=…)), it goes on from there."""
    from trine import tracking

    info = tracking.get_run(run, ws=ws)
    if not yes:
        click.confirm(f"Forget the points of {info.name} after step {step:,}?", abort=True, err=True)
    after = tracking.rewind(info, step, ws=ws)
    gone = sum(one.count for one in info.metrics.values()) - sum(one.count for one in after.metrics.values())
    show(after, text=f"{gone:,} points of {info.name} after step {step:,} are gone.")


@runs.command("rm")
@argument("names", nargs=-1, required=True, metavar="RUN…")
@option("--yes", is_flag=True, help="Do not ask.")
@command(example="trine runs rm churn-12 churn-13")
def remove(ws: Workspace, names: tuple[str, ...], yes: bool) -> None:
    """Hide RUNs from every listing; `trine runs restore` brings them back, `trine runs gc` frees their space."""
    from trine import tracking
    from trine.tracking import operations as door

    found = [tracking.get_run(one, ws=ws) for one in names]
    if not yes:
        click.confirm(f"Remove {', '.join(one.name for one in found)}?", abort=True, err=True)
    done = [door.delete_run(ws, id=one.id) for one in found]
    told = [f"Removed {one.name}. Bring it back with: trine runs restore {one.id}" for one in found]
    show(done[0] if len(done) == 1 else done, text="\n".join(told))


@runs.command("gc")
@option("--older-than", "days", default=30.0, show_default=True, help="Days since they were removed.")
@option("--dry-run", is_flag=True, help="Only say what would go.")
@command(example="trine runs gc --dry-run\ntrine runs gc --older-than 0")
def gc(ws: Workspace, days: float, dry_run: bool) -> None:
    """Delete removed runs for good, and give their space back to the disk (that of their files with: trine gc)."""
    from trine.tracking import operations as door

    done = door.purge_runs(ws, older_than_s=days * 86_400, dry_run=dry_run)
    whole = done
    while done.more and not dry_run:
        done = door.purge_runs(ws, older_than_s=days * 86_400)
        whole = type(done)(
            whole.runs + done.runs, whole.points + done.points, whole.artifact_bytes + done.artifact_bytes
        )
    if whole.runs and not dry_run and ws.remote is None:
        ws.ledger.compact()
    words = "would go" if dry_run else "are gone"
    told = f"{whole.runs:,} runs with {whole.points:,} points and {size_of(whole.artifact_bytes)} of files {words}."
    if whole.artifact_bytes and not dry_run:
        told += " The files' space is freed by: trine gc"
    show(whole, text=told)


@runs.command("restore")
@argument("run")
@command(example="trine runs restore 01a2108ddbf67107a056af6ab1d9f4d7")
def restore(ws: Workspace, run: str) -> None:
    """Bring a removed RUN back."""
    from trine.tracking import operations as door
    from trine.tracking.reading import resolve

    show(door.restore_run(ws, id=resolve(ws, run)), text=f"{run} is back.")
