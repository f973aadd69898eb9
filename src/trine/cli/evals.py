"""`trine evals`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import argument, command, echo, group, is_json, option, print_table, show, when

if TYPE_CHECKING:
    from trine.workspace import Workspace


@group()
def evals() -> None:
    """Evaluation datasets: what language models are judged on."""


@evals.command("ls")
@command(example="trine evals ls")
def list_datasets(ws: Workspace) -> None:
    """All evaluation datasets, the newest first."""
    from trine.llm import eval_data as door

    show(
        door.list_eval_datasets(ws),
        table=[
            ("name", lambda one: one.name),
            ("records", lambda one: one.records),
            ("experiments", lambda one: ", ".join(one.experiments)),
            ("changed", lambda one: when(one.updated_us)),
            ("by", lambda one: one.changed_by),
            ("id", lambda one: one.id),
        ],
        empty="No evaluation datasets yet. Make one: trine evals add NAME FILE.jsonl",
    )


@evals.command("show")
@argument("name")
@option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000))
@command(example="trine evals show questions")
def show_dataset(ws: Workspace, name: str, limit: int) -> None:
    """The records of an evaluation dataset, in the order in which they came."""
    import msgspec

    from trine.llm import eval_data as door

    page = door.list_eval_records(ws, id=name, limit=limit)
    if is_json():
        show(page)
        return

    def text(value: Any) -> str:
        return "" if value in (None, {}) else msgspec.json.encode(value).decode()

    rows = [[one.id[:15], text(one.inputs), text(one.expectations), text(one.outputs)] for one in page.items]
    if not rows:
        echo("No records yet.")
        return
    print_table(["record", "inputs", "expectations", "outputs"], rows)
    if page.next:
        echo("… more: ask for a higher --limit")


@evals.command("add")
@argument("name")
@argument("file", type=click.Path(path_type=Path), required=False)
@option("--trace", "traces", multiple=True, help="What this trace was asked, and what is expected of it.")
@command(example="trine evals add questions questions.jsonl\ntrine evals add questions --trace 019ac3d2e1f0")
def add(ws: Workspace, name: str, file: Path | None, traces: tuple[str, ...]) -> None:
    """Merge the records of FILE (a JSON object a line: inputs, and if known expectations, outputs, tags) into a dataset, which is made
    when it is new."""
    from trine.errors import InvalidInput
    from trine.llm import Merged, eval_dataset, get_trace

    records = _read(file) if file else []
    ids = [get_trace(one, ws=ws).info.id for one in traces]
    if not records and not ids:
        raise InvalidInput("There is nothing to add: name a FILE, or traces with --trace.")
    one = eval_dataset(name, ws=ws)
    parts = [one.merge(records), one.merge_traces(ids)]
    done = Merged(sum(it.inserted for it in parts), sum(it.updated for it in parts))
    show(done, text=f"{name}: {done.inserted:,} new, {done.updated:,} merged")


def _read(file: Path) -> list[dict[str, Any]]:
    import msgspec

    from trine.errors import InvalidInput, NotFound

    if not file.is_file():
        raise NotFound(f"{file} is not there.")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{file}, line {number}: {error}.") from None
    return found


@evals.command("rm")
@argument("name")
@command(example="trine evals rm questions")
def remove(ws: Workspace, name: str) -> None:
    """Delete an evaluation dataset for good, with its records."""
    from trine.llm import eval_data as door

    show(door.delete_eval_dataset(ws, id=name), text=f"deleted {name}")
