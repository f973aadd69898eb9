"""`trine audit`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import argument, command, group, is_json, option, show, when

if TYPE_CHECKING:
    from trine.ledger.events import Checkpoint, Event
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
    help="A checkpoint file of an earlier export: shows what was cut off or re-written since.",
)
@option("--file", type=click.Path(exists=True, path_type=Path), help="Check an exported file instead of the workspace.")
@command(example="trine audit verify --checkpoint audit.jsonl.checkpoint")
def verify(ws: Workspace, checkpoint: Path | None, file: Path | None) -> None:
    """Check the whole chain; names the first bad entry and ends with exit code 1."""
    from trine.access import audit as door
    from trine.errors import Damaged
    from trine.ledger.events import Checkpoint, verify_rows

    kept = _read_checkpoint(checkpoint) if checkpoint else Checkpoint(0, "")
    if file:
        report = verify_rows(_rows(file), kept if checkpoint else None)
    else:
        report = door.verify_events(ws, seq=kept.seq, hash=kept.hash)
    if not report.intact:
        raise Damaged(f"The event log is damaged: {report.problem}.", first_bad=report.first_bad)
    show(report, text=f"Intact: {report.entries} entries, head {report.head[:16]}…")


def _read_checkpoint(path: Path) -> Checkpoint:
    import msgspec

    from trine.errors import InvalidInput
    from trine.ledger.events import Checkpoint

    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} is no checkpoint: {error}.") from None


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an exported file, each following the one before it."""
    import msgspec

    from trine.errors import InvalidInput
    from trine.ledger.events import GENESIS, Event, row_of

    prev = GENESIS
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                one = msgspec.json.decode(line, type=Event)
            except msgspec.DecodeError as error:
                raise InvalidInput(f"Line {number} of {path} is no event: {error}.") from None
            yield row_of(one, prev)
            prev = one.hash


@audit.command("export")
@argument("file", type=click.Path(path_type=Path, dir_okay=False))
@command(example="trine audit export audit.jsonl")
def export(ws: Workspace, file: Path) -> None:
    """Write all events as JSON lines to FILE, and a checkpoint beside it to keep elsewhere."""
    import msgspec

    from trine.access import audit as door
    from trine.ledger.events import GENESIS, Checkpoint

    point = Checkpoint(0, GENESIS)
    with file.open("wb") as out:
        while batch := door.export_events(ws, after=point.seq):
            out.writelines(msgspec.json.encode(one) + b"\n" for one in batch)
            point = Checkpoint(batch[-1].seq, batch[-1].hash)
    kept = file.with_name(file.name + ".checkpoint")
    kept.write_bytes(msgspec.json.encode(point))
    show(
        {"events": point.seq, "file": str(file), "checkpoint": str(kept)},
        text=f"Wrote {point.seq} events to {file}, and {kept}. Keep the checkpoint elsewhere.\n"
        f"Later: trine audit verify --checkpoint {kept}",
    )


@audit.command("tail")
@option("--after", type=click.IntRange(min=-1), default=-1, help="Begin after this sequence number; default: now.")
@option("--operation", default="", help="Only this operation or pattern.")
@option("--stop-after", type=click.IntRange(min=0), default=0, help="Stop after that many events; 0 means never.")
@command(example="trine audit tail --operation 'monitoring.*'")
def tail(ws: Workspace, after: int, operation: str, stop_after: int) -> None:
    """Follow the event log live, until interrupted."""
    from fnmatch import fnmatchcase

    from trine.access import audit as door

    if after < 0:
        newest = door.list_events(ws, newest_first=True, limit=1).items
        after = newest[0].seq if newest else 0
        click.echo(f"following after {after}; Ctrl-C ends", err=True)
    shown = 0
    for one in door.follow(ws, after):
        if operation and not fnmatchcase(one.operation, operation):
            continue
        _print(one)
        shown += 1
        if shown == stop_after:
            return


def _print(one: Event) -> None:
    if is_json():
        import msgspec

        click.echo(msgspec.json.encode(one).decode())
    else:
        click.echo(
            f"{one.seq:>7}  {when(one.time_us)}  {one.actor:<20} {one.operation:<28} {one.object}  {one.outcome}"
        )
