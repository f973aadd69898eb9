"""What people say of a dataset: the part of its datasheet that no machine can know."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select

from trine.data.tables import data_fact, dataset
from trine.errors import InvalidInput, NotFound, nearest
from trine.ledger import upsert
from trine.operations import operation
from trine.workspace import Workspace

QUESTIONS: dict[str, str] = {
    "description": "What is in it?",
    "motivation": "For what purpose was it made, by whom, paid by whom?",
    "collection": "How was it collected, when, from whom, with whose consent?",
    "preparation": "What was cleaned, labelled, left out?",
    "uses": "What is it for, and what should it not be used for?",
    "sensitive": "Does it hold personal or otherwise sensitive data?",
    "distribution": "Who may have it, under which terms?",
    "maintenance": "Who looks after it, and how is it corrected?",
    "license": "Its licence: an SPDX name or a URL.",
    "creators": "Who made it; several with ';' between.",
    "citation": "How to cite it.",
    "url": "Where it is described.",
    "keywords": "Words to find it by; several with ',' between.",
    "published": "When it was published (2026-01-31).",
}
"""What can be said, in the order of a datasheet (Gebru et al., Datasheets for Datasets, 2021)."""


class Fact(msgspec.Struct, frozen=True):
    """Something that somebody said of a dataset."""

    name: str
    value: str
    author: str
    time_us: int


@operation("PUT /datasets/{name}/facts", allows="data.write")
def describe(ws: Workspace, *, name: str, facts: dict[str, str]) -> list[Fact]:
    """Say something of a dataset, or (an empty text) no more; gives all that is said now."""
    known = ws.tx.first(select(dataset).where(dataset.c.project == ws.project, dataset.c.name == name))
    if known is None:
        raise NotFound(f'No dataset "{name}" in project "{ws.project}". See: trine data ls')
    for fact, value in facts.items():
        if fact not in QUESTIONS:
            raise InvalidInput(
                f'"{fact}" is nothing a datasheet asks.{nearest(fact, QUESTIONS)} It asks: {", ".join(QUESTIONS)}.'
            )
        key = {"project": ws.project, "dataset": name, "name": fact}
        if value.strip():
            author = ws.on_behalf_of or ws.principal.name
            row = {**key, "value": value.strip(), "author": author, "time_us": ws.tx.now_us}
            ws.tx.execute(upsert(data_fact), row)
        else:
            ws.tx.execute(delete(data_fact).where(*(data_fact.c[column] == one for column, one in key.items())))
    ws.tx.touch(f"dataset:{name}", after=facts)
    return list_facts(ws, name=name)


@operation("GET /datasets/{name}/facts", allows="data.read")
def list_facts(ws: Workspace, *, name: str) -> list[Fact]:
    """What is said of a dataset, in the order of a datasheet."""
    mine = select(data_fact).where(data_fact.c.project == ws.project, data_fact.c.dataset == name)
    order = list(QUESTIONS)
    found = [Fact(row.name, row.value, row.author, row.time_us) for row in ws.tx.all(mine)]
    return sorted(found, key=lambda one: order.index(one.name) if one.name in order else len(order))
