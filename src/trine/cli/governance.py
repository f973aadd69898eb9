"""`trine card`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trine.cli.shell import argument, command, is_json, option, single

if TYPE_CHECKING:
    from trine.workspace import Workspace


@single("card")
@argument("ref", metavar="NAME@REF")
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here: .json for JSON, else Markdown.")
@command(example="trine card delays@production\ntrine card delays@3 --out delays-3.md")
def card(ws: Workspace, ref: str, out: Path | None) -> None:
    """The model card of NAME@REF (name@3, name@production; name: the newest), rendered from the graph.

    Each value says how it is known: evidenced by a node, declared by somebody, or missing. The same facts give the
    same bytes, so a card can be kept in git and compared.
    """
    from trine import governance
    from trine.errors import InvalidInput

    found = governance.card(ref, ws=ws)
    text = found.json if (out.suffix == ".json" if out else is_json()) else found.markdown
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from None
    click.echo(f"{out}: {found.summary}")
