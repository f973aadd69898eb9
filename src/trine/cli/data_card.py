"""`trine data card` and `trine data describe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from trine.cli.data import FILE, data
from trine.cli.shell import argument, command, echo, is_json, option, show

if TYPE_CHECKING:
    from trine.workspace import Workspace


@data.command("card")
@argument("ref")
@option("--croissant", is_flag=True, help="As MLCommons Croissant JSON-LD.")
@option("--output", "-o", type=FILE, help="Write it to a file.")
@command(example="trine data card flights@v1\ntrine data card flights@v1 --croissant -o croissant.json")
def card(ws: Workspace, ref: str, croissant: bool, output: Path | None) -> None:
    """A version's datasheet: what is in it, what it was made from, what uses it, and what people said of it."""
    from trine import data as room

    if croissant:
        told = room.croissant(ref, ws=ws)
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    else:
        told = room.card(ref, ws=ws)
        text = told.json if is_json() else told.markdown
    if output:
        output.write_text(text, encoding="utf-8")
        show({"written": str(output)}, text=f"Wrote {output}")
        return
    show(told, text=text.rstrip("\n"))


@data.command("describe")
@argument("name")
@argument("facts", nargs=-1, metavar="[FACT=TEXT]…")
@command(example='trine data describe flights license=CC0-1.0 creators="Ana Silva" description="All flights of 2013"')
def describe(ws: Workspace, name: str, facts: tuple[str, ...]) -> None:
    """Say of a dataset what its datasheet asks and no machine can know; without FACTs: what is asked, and what is said."""
    from trine.data.describing import QUESTIONS, list_facts
    from trine.data.describing import describe as say
    from trine.data.operations import get_dataset
    from trine.errors import InvalidInput

    if wrong := [one for one in facts if "=" not in one]:
        raise InvalidInput(f'"{wrong[0]}" says nothing: write FACT="TEXT", for instance license=CC0-1.0.')
    get_dataset(ws, name=name)
    said = say(ws, name=name, facts=dict(one.split("=", 1) for one in facts)) if facts else list_facts(ws, name=name)
    known = {one.name: one.value for one in said}
    if is_json():
        show(said)
        return
    for fact, question in QUESTIONS.items():
        echo(f"{fact:<13} {known.get(fact) or f'– {question}'}")
