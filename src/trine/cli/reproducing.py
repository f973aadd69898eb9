"""`trine reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import argument, command, echo, is_json, option, print_table, show, single

if TYPE_CHECKING:
    from trine.tracking import Agreement, Reproduction
    from trine.workspace import Workspace


@single("reproduce")
@argument("run")
@option(
    "--into", "folder", type=click.Path(path_type=Path), help="An empty folder for the code; default: a temporary one."
)
@option(
    "--env",
    "environment",
    type=click.Choice(["auto", "current", "build"]),
    default="auto",
    show_default=True,
    help="auto: this environment where it is the same as then, else one built from the recorded packages.",
)
@option("--tolerance", default=0.0, show_default=True, help="Relative difference of a point that still agrees.")
@command(example="trine reproduce churn-12\ntrine reproduce churn-12 --env current --tolerance 1e-9")
def reproduce(ws: Workspace, run: str, folder: Path | None, environment: str, tolerance: float) -> None:
    """Make RUN again from what was captured of it (code with its changes, packages, data, random states) in a fresh folder,
    and say metric by metric whether it agrees.

    Ends with exit code 5 when it does not agree.
    """
    from trine import tracking

    found = tracking.reproduce(
        run,
        folder,
        environment=environment,
        tolerance=tolerance,
        tell=lambda line: click.echo(line, err=is_json()),
        ws=ws,
    )
    if is_json():
        show({"agrees": found.agrees, **_plain(found)})
    else:
        _print(found, tolerance)
    if not found.agrees:
        raise click.exceptions.Exit(5)


def _plain(found: Reproduction) -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(found)


def _print(found: Reproduction, tolerance: float) -> None:
    echo()
    if found.metrics:
        rows = [[one.key, one.before, one.after, _verdict(one, tolerance)] for one in found.metrics]
        print_table(["metric", found.original.name, found.copy.name, ""], rows)
        echo()
    if not found.same_code:
        echo(f"The code is not the same: {found.copy.code}")
    for name, (before, after) in list(found.environment.items())[:20]:
        echo(f"{name} was {before or 'not there'}, is {after or 'not there'}")
    for path, reason in list(found.missing.items())[:20]:
        echo(f"{path} was not in the snapshot: {reason}")
    other = [path for path, same in found.files.items() if not same]
    if found.files:
        echo(
            f"{len(found.files) - len(other)} of {len(found.files)} files are the same."
            + (f" Not: {', '.join(other[:5])}" if other else "")
        )
    if found.copy.state != found.original.state:
        echo(f"It {found.copy.state} ({found.copy.reason}); {found.original.name} {found.original.state}.")
    judged = [one for one in found.metrics if one.judged]
    told = sum(one.agrees for one in judged)
    exact = all(one.same for one in judged)
    echo(
        f"{'Reproduced' if found.agrees else 'Not reproduced'}: {told} of {len(judged)} metrics agree{', bit by bit' if exact and judged else ''}."
    )


def _verdict(one: Agreement, tolerance: float) -> str:
    if not one.judged:
        return "not judged: it measures time or the machine"
    if one.same:
        return "✓ the same"
    if one.difference is None:
        return "✗ other points"
    return f"{'✓' if one.agrees else '✗'} differs by {one.difference:.2g}" + (
        f" (≤ {tolerance:g})" if one.agrees else ""
    )
