"""`trine data`: expectations of tables, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trine.cli.data import data
from trine.cli.shell import argument, command, echo, is_json, option, print_table, show

if TYPE_CHECKING:
    from trine.workspace import Workspace


@data.command("checks")
@argument("ref")
@option("--limit", default=10, show_default=True, help="Failing rows that are shown for each expectation.")
@command(example="trine data checks sales\ntrine data checks sales@3fe9a2c41b07 --limit 100")
def checks(ws: Workspace, ref: str, limit: int) -> None:
    """What the expectations said about a version, also a rejected one, with rows that fail them."""
    from trine import data as room

    commit = room.resolve(ref, ws=ws)
    rows = room.failed_sample(commit.ref, ws=ws)
    if is_json():
        told: list[dict[str, Any]] = []
        for number, one in enumerate(commit.checks):
            mine = rows.get(number)
            shown = [] if mine is None else mine.head(limit).to_dicts()
            told.append({"name": one.name, "severity": one.severity, "passed": one.passed, "failing": one.failing})
            told[-1] |= {"asked": one.asked, "found": one.found, "message": one.message, "rows": shown}
        show({"ref": commit.ref, "state": commit.state, "checks": told})
        return
    echo(f"{commit.ref}  {commit.state}")
    if not commit.checks:
        echo("No expectations. Keep some with the dataset: trine data suggest NAME, trine data expect NAME FILE")
    for number, one in enumerate(commit.checks):
        echo(f"{'ok' if one.passed else one.severity:<6} {one.message}")
        if (mine := rows.get(number)) is not None and limit:
            print_table(mine.columns, mine.head(limit).rows())
