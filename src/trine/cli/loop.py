"""`trine loop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trine.cli.shell import ago, argument, command, echo, group, is_json, option, show, when

if TYPE_CHECKING:
    from trine.loop.cycles import Cycle
    from trine.loop.definition import LoopInfo
    from trine.loop.operations import Due
    from trine.workspace import Workspace

RUN_IT = "Write a Loop (trine.loop.Loop) and run it: trine loop run FILE.py:NAME"


@group()
def loop() -> None:
    """Continuous training: a trigger starts the pipeline, its candidate goes through the gate to traffic."""


@loop.command("run")
@argument("entry", metavar="FILE.py:NAME")
@option("--once", is_flag=True, help="Do what is to be done now, and end; for a scheduler of your own.")
@command(example="trine loop run training.py:loop\ntrine loop run training.py:loop --once")
def run(ws: Workspace, entry: str, once: bool) -> None:
    """Drive the loop NAME in FILE.py until interrupted: follow its triggers and take its cycles to their end.

    Several drivers may run one loop, and a killed one goes on where it was when it is started again.
    """
    from trine.loop.handle import load_loop

    one = load_loop(entry)
    one.save(ws=ws)
    if once:
        cycle = one.run_until_done(0, ws=ws)
        if cycle is not None:
            _tell(cycle)
        else:
            echo("Nothing has fired.")
        return
    echo(f"{one.name} follows its triggers; Ctrl-C ends")
    one.follow(told=_tell, ws=ws)


def _tell(cycle: Cycle) -> None:
    if is_json():
        import msgspec

        click.echo(msgspec.json.encode(cycle).decode())
    else:
        click.echo(f"{when(cycle.updated_us)}  {cycle.id[:12]}  {cycle.outcome or cycle.state:<11} {cycle.reason}")


@loop.command("ls")
@command(example="trine loop ls")
def list_(ws: Workspace) -> None:
    """Loops, and where each one stands."""
    from trine.loop import operations as door

    found = door.list_loops(ws, limit=1000)
    last = {one.name: next(iter(door.list_cycles(ws, name=one.name, limit=1).items), None) for one in found.items}
    show(
        [{"loop": one, "last": last[one.name]} for one in found.items],
        table=[
            ("loop", lambda e: e["loop"].name),
            ("model", lambda e: e["loop"].definition.model),
            ("triggers", lambda e: len(e["loop"].definition.triggers)),
            ("state", lambda e: _state(e["loop"], e["last"])),
            ("last", lambda e: e["last"].outcome if e["last"] else None),
            ("when", lambda e: ago(e["last"].updated_us) if e["last"] else None),
        ],
        empty=f"No loops yet. {RUN_IT}",
    )


def _state(one: LoopInfo, last: Cycle | None) -> str:
    if last is not None and last.is_open:
        return last.state
    return "paused" if one.paused else "idle"


@loop.command("show")
@argument("name")
@command(example="trine loop show delays")
def show_(ws: Workspace, name: str) -> None:
    """A loop's parts, what would start it, and its last cycle."""
    from trine.loop import operations as door

    found = door.get_loop(ws, name=name)
    due = door.get_due(ws, name=name)
    last = next(iter(door.list_cycles(ws, name=name, limit=1).items), None)
    show({"loop": found, "due": due, "last": last}, text=_parts(found, due, last))


def _parts(found: LoopInfo, due: Due, last: Cycle | None) -> str:
    from trine.loop.triggers import described

    one = found.definition
    given = [f"{name}={ref} (pinned)" for name, ref in one.data.items()]
    given += [f"{name}={value}" for name, value in one.params.items()]
    lines = [
        f"{one.name} keeps {one.model}@{one.alias} true{' (paused)' if found.paused else ''}",
        *(f"  on        {described(each, due.seen_us)}" for each in one.triggers),
        f"  runs      {one.pipeline}{' with ' + ', '.join(given) if given else ''}",
        f"  gate      {one.gate.metric} better by more than {one.gate.margin:g} at {one.gate.confidence:.0%} confidence",
    ]
    if one.endpoint:
        steps = f" through canary {'→'.join(map(str, one.rollout.steps))} %" if one.rollout else " at once"
        lines.append(f"  serves    endpoint {one.endpoint}{steps}")
    if one.cooldown_s:
        lines.append(f"  cooldown  {one.cooldown_s} s")
    lines += [f"  due       {each.reason}" for each in due.triggers]
    if due.triggers and due.blocked:
        lines.append(f"  waits     {due.blocked}")
    if last is not None:
        lines.append(f"  last      {last.outcome or last.state}, {ago(last.updated_us)}: {last.reason}")
    return "\n".join(lines)


@loop.command("cycles")
@argument("name")
@option("--limit", default=20, show_default=True)
@command(example="trine loop cycles delays")
def cycles(ws: Workspace, name: str, limit: int) -> None:
    """What the loop did, newest first: why, with which outcome, and its reason."""
    from trine.loop import operations as door

    found = door.list_cycles(ws, name=name, limit=limit)
    lines = [
        f"{one.id[:12]}  {when(one.created_us)}  {one.outcome or one.state:<11}  {one.facts.candidate}\n    {one.reason}"
        for one in found.items
    ]
    show(found, text="\n".join(lines) or f"No cycles yet. Ask for one: trine loop trigger {name}")


@loop.command("trigger")
@argument("name")
@option("--reason", "-m", default="", help="Why; it is told with the cycle.")
@command(example="trine loop trigger delays -m 'new features'")
def trigger(ws: Workspace, name: str, reason: str) -> None:
    """Ask for a cycle; the loop's driver starts it, after the one that is open."""
    from trine.loop import operations as door

    done = door.trigger_loop(ws, name=name, reason=reason)
    show(done, text=f"{name} is triggered; its driver (trine loop run …) goes on from here")


@loop.command("pause")
@argument("name")
@command(example="trine loop pause delays")
def pause(ws: Workspace, name: str) -> None:
    """Start no more cycles; an open one goes on, and what fires meanwhile is kept."""
    from trine.loop import operations as door

    show(door.pause_loop(ws, name=name), text=f"{name} is paused. Let it go on with: trine loop resume {name}")


@loop.command("resume")
@argument("name")
@command(example="trine loop resume delays")
def resume(ws: Workspace, name: str) -> None:
    """Let a paused loop go on."""
    from trine.loop import operations as door

    show(door.pause_loop(ws, name=name, paused=False), text=f"{name} goes on")
