"""`trine pipeline`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, counted, echo, group, is_json, option, print_table, show, when

if TYPE_CHECKING:
    from trine.pipelines import PipelineRun, StepRun
    from trine.pipelines.records import PipelineRunInfo, StepMove
    from trine.workspace import Workspace

PARAM = option("--param", "-p", "params", multiple=True, metavar="KEY=VALUE", help="A parameter; repeatable.")
EXECUTOR = option("--executor", default="", help="Where steps run: thread, process, or one that a package adds.")
PARALLEL = option("--parallel", default=0, metavar="N", help="Steps at once; default: the pipeline's, or one per core.")
MARKS = {
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "succeeded": ("✓", "green"),
    "cached": ("=", "blue"),
    "failed": ("✗", "red"),
    "upstream_failed": ("·", "red"),
}


@group()
def pipeline() -> None:
    """Pipelines: typed functions run as steps that are cached, logged and resumed."""


@pipeline.command("run")
@argument("place", metavar="FILE.py:NAME")
@PARAM
@EXECUTOR
@PARALLEL
@option("--no-cache", is_flag=True, help="Run every step.")
@command(example="trine pipeline run flights.py:train -p month=2013-03")
def run(ws: Workspace, place: str, params: tuple[str, ...], executor: str, parallel: int, no_cache: bool) -> None:
    """Run the pipeline NAME of FILE.py (or module:NAME) and show its steps as they go."""
    from trine import pipelines as room
    from trine.pipelines.places import load_entry

    found = load_entry(place, ws.root.parent if ws.root else None)
    values = found.bind(_pairs(params), texts=True)
    with _following() as options:
        made = room.run(found, values, executor=executor, parallel=parallel, cache=not no_cache, ws=ws, **options)
    _show_end(made)


@pipeline.command("resume")
@argument("run_id", metavar="RUN")
@option("--from", "place", default="", metavar="FILE.py:NAME", help="Where the pipeline is, when it moved.")
@EXECUTOR
@PARALLEL
@command(example="trine pipeline resume 01a21090bf4371f98c2f3e4eba4961a6")
def resume(ws: Workspace, run_id: str, place: str, executor: str, parallel: int) -> None:
    """Go on with a run that failed or was interrupted, from its last finished steps."""
    from trine import pipelines as room

    with _following() as options:
        made = room.resume(run_id, pipeline=place or None, executor=executor, parallel=parallel, ws=ws, **options)
    _show_end(made)


@pipeline.command("retry")
@argument("run_id", metavar="RUN")
@argument("steps", metavar="STEP...", nargs=-1, required=True)
@option("--from", "place", default="", metavar="FILE.py:NAME", help="Where the pipeline is, when it moved.")
@EXECUTOR
@PARALLEL
@command(example="trine pipeline retry churn train")
def retry(ws: Workspace, run_id: str, steps: tuple[str, ...], place: str, executor: str, parallel: int) -> None:
    """Do each STEP of an ended run once more, past the cache, then go on: what needs it follows when its output is another."""
    from trine import pipelines as room

    with _following() as options:
        made = room.retry(
            run_id, *steps, pipeline=place or None, executor=executor, parallel=parallel, ws=ws, **options
        )
    _show_end(made)


@pipeline.command("ls")
@argument("name", default="")
@option("--limit", default=30, show_default=True)
@command(example="trine pipeline ls churn")
def list_(ws: Workspace, name: str, limit: int) -> None:
    """Runs, newest first; of one pipeline by its NAME."""
    from trine import pipelines as room

    runs = room.list_pipeline_runs(name, limit=limit, ws=ws)
    if is_json():
        show([one.info for one in runs])
        return
    show(
        runs,
        table=[
            ("run", lambda r: r.id),
            ("pipeline", lambda r: r.pipeline),
            ("state", lambda r: r.state),
            ("took", lambda r: _took(_span(r.info))),
            ("started", lambda r: ago(r.info.created_us)),
            ("by", lambda r: r.info.author),
            ("params", lambda r: _params(r.info)),
        ],
        empty="No pipeline has run yet. Start one: trine pipeline run FILE.py:NAME",
    )


@pipeline.command("show")
@argument("run_id", metavar="RUN")
@command(example="trine pipeline show 01a21090bf43\ntrine pipeline show churn")
def show_(ws: Workspace, run_id: str) -> None:
    """A run and its steps; RUN is an id, the beginning of one, or a pipeline's name for its newest run."""
    from trine import pipelines as room
    from trine.pipelines.owners import shown

    found = room.get_pipeline_run(run_id, ws=ws)
    steps = found.steps
    if is_json():
        show({"run": found.info, "state": found.state, "steps": steps})
        return
    info = found.info
    echo(f"{info.pipeline} {found.state}{f' in {_took(_span(info))}' if info.ended_us else ''}")
    facts = [
        ("run", info.id),
        ("started", f"{when(info.created_us)} by {info.author}"),
        ("code", f"{info.entry or 'in a session'}, version {info.version[:12]}{_commit(info.code)}"),
        ("params", _params(info)),
        ("driver", shown(info.owner) if found.state == "running" else ""),
        ("result", _result(ws, found, steps)),
        ("error", info.error.text if info.error else ""),
        ("cancelled", f"by {info.cancelled_by}" if info.cancelled_by else ""),
    ]
    for name, text in facts:
        if text:
            echo(f"  {name.ljust(9)} {text}")
    echo()
    print_table(["step", "state", "took", "after", "output", "why"], [_row(one) for one in steps])
    for one in steps:
        if one.error is not None and one.error.traceback:
            echo(f"\n{one.key}: {one.error.text}\n  " + one.error.traceback.replace("\n", "\n  "))
    if found.state in ("failed", "interrupted"):
        echo(f"\nGo on with: trine pipeline resume {info.id}")


@pipeline.command("logs")
@argument("run_id", metavar="RUN")
@argument("step", default="")
@option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@command(example="trine pipeline logs churn train --follow")
def logs(ws: Workspace, run_id: str, step: str, follow: bool) -> None:
    """What the steps of a run printed and logged; of those that run now, so far."""
    from trine import pipelines as room

    found = room.get_pipeline_run(run_id, ws=ws)
    keys = [found.step(step).key] if step else [one.key for one in found.steps]
    seen = dict.fromkeys(keys, 0)
    if is_json():
        show({key: found.log(key) for key in keys})
        return
    while True:
        ended = found.state != "running"  # looked at before the text, so that the last text is not missed
        for key in keys:
            text = found.log(key)
            if text[seen[key] :]:
                if len(keys) > 1:
                    echo(click.style(f"── {key}", dim=True))
                click.echo(text[seen[key] :], nl=not text.endswith("\n"))
                seen[key] = len(text)
        if ended or not follow:
            break
        time.sleep(0.5)
    if not any(seen.values()):
        click.echo("Nothing was printed or logged.", err=True)


@pipeline.command("explain")
@argument("run_id", metavar="RUN")
@argument("step", default="")
@command(example="trine pipeline explain churn train")
def explain(ws: Workspace, run_id: str, step: str) -> None:
    """Why steps were run instead of taken from an earlier run, or where they were taken from."""
    from trine import pipelines as room

    found = room.get_pipeline_run(run_id, ws=ws)
    told = {key: found.explain(key) for key in ([step] if step else [one.key for one in found.steps])}
    width = max(map(len, told), default=0)
    show(told, text="\n".join(f"{key.ljust(width)}  {reason}" for key, reason in told.items()))


@pipeline.command("cancel")
@argument("run_id", metavar="RUN")
@command(example="trine pipeline cancel 01a21090bf43")
def cancel(ws: Workspace, run_id: str) -> None:
    """End a run: the process that drives it stops its steps within seconds."""
    from trine import pipelines as room

    found = room.cancel(run_id, ws=ws)
    done = found.state == "cancelled"
    show(found.info, text=f"{found.id} is cancelled." if done else f"{found.id} is asked to end.")


@pipeline.command("graph")
@argument("place", metavar="FILE.py:NAME")
@PARAM
@option("--dot", is_flag=True, help="Print Graphviz.")
@command(example="trine pipeline graph flights.py:train -p month=2013-03 --dot | dot -Tsvg", workspace=False)
def graph(place: str, params: tuple[str, ...], dot: bool) -> None:
    """The steps of a pipeline and what each needs; nothing is run."""
    from trine.pipelines.graph import freeze
    from trine.pipelines.places import load_entry
    from trine.pipelines.tracing import trace

    found = load_entry(place)
    made = freeze(trace(found.name, found.function, found.bind(_pairs(params), texts=True)))
    if dot and not is_json():
        click.echo(made.dot())
        return
    show(
        made if is_json() else made.steps,
        table=[("step", lambda s: s.key), ("after", lambda s: s.needs)],
        empty="No steps.",
    )


def _pairs(params: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in params:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.UsageError(f'"{one}" is no parameter: write -p KEY=VALUE.')
        pairs[name] = value
    return pairs


# -- while it runs ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _following() -> Generator[dict[str, Any]]:
    """Options of a run that is shown as it goes: a live table on a terminal, else a line for each move."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
    try:
        if is_json():
            yield {"echo": "none"}
        elif sys.stdout.isatty():
            with _live() as watch:
                yield {"echo": "labelled", "watch": watch}
        else:
            yield {"echo": "labelled", "watch": _line}
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):
            click.echo(note, err=True)
        raise


def _line(info: PipelineRunInfo, move: StepMove | None) -> None:
    if move is None:
        click.echo(f"run {info.id} of {info.pipeline}")
    elif move.state != "running":
        mark, _ = MARKS.get(move.state, (" ", ""))
        click.echo(f"{mark} {move.key} {move.state}{_detail(move)}")


def _detail(move: StepMove) -> str:
    told = [_took(move.duration_us)] if move.duration_us is not None else []
    told += [one.summary for one in move.outputs[:2] if one.summary]
    told += [move.error.text.splitlines()[0]] if move.error else []
    told += [f"again in {move.retry_in_us / 1e6:g} s"] if move.retry_in_us is not None else []
    return f"  {', '.join(told)}" if told else ""


@contextlib.contextmanager
def _live() -> Generator[Callable[[PipelineRunInfo, StepMove | None], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    moves: dict[str, StepMove] = {}
    begun: dict[str, float] = {}

    class Board:
        def __rich__(self) -> Table:
            table = Table.grid(padding=(0, 2))
            for key, move in list(moves.items()):
                mark, colour = MARKS.get(move.state, (" ", ""))
                is_running = move.state == "running"
                told = f"{time.monotonic() - begun[key]:6.1f} s" if is_running else _detail(move).strip()
                table.add_row(
                    Text(f"{mark} {key}", style=colour), Text(move.state, style="dim"), Text(told, overflow="ellipsis")
                )
            return table

    console = Console(highlight=False, emoji=False)
    with Live(Board(), console=console, refresh_per_second=4, redirect_stdout=True, redirect_stderr=True):

        def watch(info: PipelineRunInfo, move: StepMove | None) -> None:
            if move is None:
                console.print(f"run {info.id} of {info.pipeline}")
                return
            moves[move.key] = move
            begun[move.key] = time.monotonic()

        yield watch


def _show_end(made: PipelineRun) -> None:
    steps = made.steps
    if is_json():
        show({"run": made.info, "state": made.state, "steps": steps})
        return
    cached = sum(one.state == "cached" for one in steps)
    echo(
        f"{made.pipeline} {made.state} in {_took(_span(made.info))}: {counted(len(steps), 'step')}, {cached} from the cache"
    )
    echo(f"  trine pipeline show {made.id}")


# -- words --------------------------------------------------------------------------------------------------------


def _row(one: StepRun) -> list[Any]:
    outputs = ", ".join(value.summary for value in one.outputs)
    why = f"from {one.hit.removeprefix('step_run:')[:12]}…" if one.hit else one.reason
    if one.error is not None:
        why = one.error.text.splitlines()[0]
    state = one.state if one.attempt < 2 else f"{one.state}, attempt {one.attempt}"
    return [one.key, state, _took(one.duration_us), one.needs or "–", outputs or "–", why or "–"]


def _params(info: PipelineRunInfo) -> str:
    return "  ".join(f"{name}={value}" for name, value in info.params.items())


def _commit(code: str) -> str:
    return f", commit {code.removeprefix('code:')[:12]}" if code else ""


def _result(ws: Workspace, found: PipelineRun, steps: list[StepRun]) -> str:
    if found.state != "succeeded":
        return ""
    from trine.pipelines import operations
    from trine.pipelines.graph import shown

    outputs = {one.key: one.outputs for one in steps}
    return shown(operations.get_run_graph(ws, id=found.id).result, outputs)


def _span(info: PipelineRunInfo) -> int | None:
    return info.ended_us - info.created_us if info.ended_us is not None else None


def _took(duration_us: int | None) -> str:
    """A duration with two or three digits."""
    if duration_us is None:
        return "–"
    seconds = duration_us / 1e6
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else "1 s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
