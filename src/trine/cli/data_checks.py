"""`trine data`: expectations of tables, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.data import data
from trine.cli.shell import ago, argument, command, counted, echo, is_json, option, print_table, show

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


@data.command("expect")
@argument("name")
@argument("file", type=click.Path(path_type=Path), required=False)
@option("--history", is_flag=True, help="All versions of the expectations.")
@option("--number", default=0, help="Print this version instead of the newest.")
@command(example="trine data expect sales sales.yaml\ntrine data expect sales > sales.yaml")
def expect(ws: Workspace, name: str, file: Path | None, history: bool, number: int) -> None:
    """Keep the expectations in FILE (YAML or TOML) with a dataset, or print those that are kept.

    Every commit of rows from then on has to hold them. An empty list ([]) lifts them.
    """
    from trine import data as room
    from trine.data.expectations import write_expectations
    from trine.data.suites import list_expectations

    if file is not None:
        kept = room.expect(name, file, ws=ws)
        show(kept, text=f"{name} expects {counted(len(kept.rules), 'thing')} from now on (version {kept.number})")
    elif history:
        show(
            list_expectations(ws, name=name),
            table=[
                ("version", lambda one: one.number),
                ("expectations", lambda one: len(one.rules)),
                ("author", lambda one: one.author),
                ("made", lambda one: ago(one.created_us)),
            ],
            empty=f"None yet. Start with: trine data suggest {name} > {name}.yaml",
        )
    else:
        found = room.expected(name, number=number, ws=ws)
        none = f"# None yet. Start with: trine data suggest {name} > {name}.yaml"
        show(found, text=write_expectations(found.rules).rstrip() if found.number else none)


@data.command("suggest")
@argument("ref")
@command(example="trine data suggest sales > sales.yaml\ntrine data expect sales sales.yaml")
def suggest(ws: Workspace, ref: str) -> None:
    """Draft expectations from a version's profile, as YAML: read them, change them, keep them."""
    from trine import data as room
    from trine.data.expectations import write_expectations

    drafted = room.suggest(ref, ws=ws)
    show(drafted, text=write_expectations(drafted).rstrip())


@data.command("profile")
@argument("ref")
@command(example="trine data profile sales@v1\ntrine data profile sales --json")
def profile(ws: Workspace, ref: str) -> None:
    """What the columns of a version look like: counts, nulls, different values, limits, mean, median."""
    from trine import data as room
    from trine.data.profiles import shown

    show(
        room.profile(ref, ws=ws).columns,
        table=[
            ("column", lambda c: c.name),
            ("type", lambda c: c.dtype),
            ("nulls", lambda c: c.nulls),
            ("distinct", lambda c: c.distinct),
            ("min", lambda c: shown(c.min, c.dtype)),
            ("mean", lambda c: shown(c.mean, c.dtype)),
            ("median", lambda c: shown(c.quantiles[len(c.quantiles) // 2] if c.quantiles else None, c.dtype)),
            ("max", lambda c: shown(c.max, c.dtype)),
            ("sampled", lambda c: c.sampled or ""),
        ],
    )


@data.command("check")
@argument("path", type=click.Path(path_type=Path))
@option("--name", default="", help="Hold PATH against the expectations kept with this dataset.")
@option("--checks", type=click.Path(path_type=Path), help="Expectations (YAML or TOML), instead or on top.")
@command(example="trine data check monday.csv --name sales\ntrine data check monday.csv --checks sales.yaml")
def check(ws: Workspace, path: Path, name: str, checks: Path | None) -> None:
    """Hold a file of rows against expectations without committing it; ends with exit code 5 when it would be refused."""
    from trine import data as room
    from trine.data.frames import read_table
    from trine.data.suites import rules_of
    from trine.errors import CheckFailed, InvalidInput

    rules = rules_of(ws, name, checks) if name else room.read_expectations(checks) if checks else []
    if not rules:
        raise InvalidInput(
            "There is nothing to hold the rows against: give --name of a dataset with expectations, or --checks."
        )
    found = room.check(read_table(path), rules, ws=ws)
    lines = [f"{'ok' if one.passed else one.severity:<6} {one.message}" for one in found]
    show(found, text="\n".join(lines))
    if failed := [one for one in found if one.refuses]:
        raise CheckFailed(f"{len(failed)} of {len(found)} expectations fail for {path}: {failed[0].message}")
