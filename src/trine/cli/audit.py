"""`trine audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import argument, command, echo, group, is_json, option, show, when

if TYPE_CHECKING:
    from trine.ledger.events import Event
    from trine.workspace import Workspace


@group()
def audit() -> None:
    """The event log: every change and every refusal, hash-chained."""


@audit.command("log")
@option("--operation", default="", help="Only this operation, or a pattern such as 'models.*'.")
@option("--object", "object_", default="", help="Only this object, for instance model:delays@3.")
@option("--actor", default="", help="Only this principal.")
@option("--outcome", default="", help="done, refused or held.")
@option("--limit", default=50, show_default=True)
@command(example="trine audit log --operation 'models.*' --limit 10")
def log(ws: Workspace, operation: str, object_: str, actor: str, outcome: str, limit: int) -> None:
    """Events, newest first."""
    from trine.access import audit as door

    show(
        door.list_events(
            ws,
            operation=operation,
            object=object_,
            actor=actor,
            outcome=outcome,
            newest_first=True,
            limit=limit,
        ),
        table=[
            ("seq", lambda e: e.seq),
            ("time", lambda e: when(e.time_us)),
            ("actor", lambda e: e.actor),
            ("operation", lambda e: e.operation),
            ("object", lambda e: e.object),
            ("outcome", lambda e: e.outcome),
        ],
        empty="No events.",
    )


@audit.command("verify")
@option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    help="A checkpoint file of an earlier export.",
)
@command(example="trine audit verify --checkpoint audit.jsonl.checkpoint")
def verify(ws: Workspace, checkpoint: Path | None) -> None:
    """Check the whole chain; names the first bad entry and ends with exit code 1."""
    import msgspec

    from trine.access import audit as door
    from trine.errors import Damaged, InvalidInput
    from trine.ledger.events import Checkpoint

    kept = Checkpoint(0, "")
    if checkpoint:
        try:
            kept = msgspec.json.decode(checkpoint.read_bytes(), type=Checkpoint)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{checkpoint} is no checkpoint: {error}.") from None
    report = door.verify_events(ws, seq=kept.seq, hash=kept.hash)
    if not report.intact:
        raise Damaged(f"The event log is damaged: {report.problem}.", first_bad=report.first_bad)
    show(report, text=f"Intact: {report.entries} entries, head {report.head[:16]}…")


@audit.command("export")
@argument("file", type=click.Path(path_type=Path))
@command(example="trine audit export audit.jsonl")
def export(ws: Workspace, file: Path) -> None:
    """Write all events as JSON lines to FILE, and a checkpoint beside it to keep elsewhere."""
    import msgspec

    from trine.access import audit as door

    after, head = 0, ""
    with file.open("wb") as out:
        while batch := door.export_events(ws, after=after):
            out.writelines(msgspec.json.encode(one) + b"\n" for one in batch)
            after = batch[-1].seq
            head = batch[-1].hash
    kept = file.with_name(file.name + ".checkpoint")
    point = {"seq": after, "hash": head}
    kept.write_bytes(msgspec.json.encode(point))
    show(
        {"events": after, "file": str(file), "checkpoint": str(kept)},
        text=f"Wrote {after} events to {file} and {kept}",
    )


@audit.command("tail")
@option("--after", default=-1, help="Begin after this sequence number; default: now.")
@option("--operation", default="", help="Only this operation or pattern.")
@option("--stop-after", default=0, help="Stop after that many events; 0 means never.")
@command(example="trine audit tail --operation 'monitoring.*'")
def tail(ws: Workspace, after: int, operation: str, stop_after: int) -> None:
    """Follow the event log live, until interrupted."""
    for count, one in enumerate(_follow(ws, after, operation), start=1):
        _print(one)
        if count == stop_after:
            return


def _follow(ws: Workspace, after: int, operation: str) -> Any:
    import time

    from trine.access import audit as door

    if after < 0:
        newest = door.list_events(ws, newest_first=True, limit=1).items
        after = newest[0].seq if newest else 0
        echo(f"following after {after}; Ctrl-C ends")
    while True:
        batch = door.list_events(ws, after=after, operation=operation, limit=500).items
        yield from batch
        if batch:
            after = batch[-1].seq
        elif ws.remote is None:
            ws.ledger.wait_for_change(0.25)
        else:
            time.sleep(0.5)


def _print(one: Event) -> None:
    if is_json():
        import msgspec

        click.echo(msgspec.json.encode(one).decode())
    else:
        click.echo(
            f"{one.seq:>7}  {when(one.time_us)}  {one.actor:<20} {one.operation:<28} {one.object}  {one.outcome}"
        )
