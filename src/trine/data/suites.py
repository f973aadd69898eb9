"""The expectations that are kept with a dataset, as numbered versions: every commit of rows has to answer the newest."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import insert, select

from trine.data.expectations import CheckResult, Checks, Expectation, expectations
from trine.data.tables import data_suite
from trine.errors import Conflict, InvalidInput, NotFound
from trine.operations import Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace, current_workspace


class Suite(msgspec.Struct, frozen=True):
    """One version of a dataset's expectations; number 0 is that there are none yet."""

    dataset: str
    number: int
    rules: tuple[Expectation, ...]
    author: str = ""
    created_us: int = 0


@operation("PUT /datasets/{name}/expectations", allows="data.write")
def set_expectations(ws: Workspace, *, name: Name, rules: list[Expectation]) -> Suite:
    """Keep these expectations with a dataset, as the next version; the commits from now on have to hold them."""
    now = get_expectations(ws, name=name)
    if now.number and list(now.rules) == rules:
        return now
    if len({one.question for one in rules}) < len(rules):
        twice = next(one for at, one in enumerate(rules) if one.question in {other.question for other in rules[:at]})
        raise InvalidInput(f"{twice.name} is there twice.")
    made = Suite(name, now.number + 1, tuple(rules), ws.on_behalf_of or ws.principal.name, ws.tx.now_us)
    values: dict[str, Any] = {
        "number": made.number,
        "rules": msgspec.json.encode(made.rules).decode(),
        "author": made.author,
        "created_us": made.created_us,
    }
    ws.tx.execute(insert(data_suite).values(project=ws.project, dataset=name, **values))
    ws.tx.touch(f"dataset:{name}", before=now.number or None, after=made.number)
    ws.tx.note(dataset=name, expectations=len(rules))
    return made


@operation("GET /datasets/{name}/expectations", allows="data.read")
def get_expectations(ws: Workspace, *, name: str, number: int = 0) -> Suite:
    """The expectations that are kept with a dataset: the newest, or a version by its number."""
    query = _suites_of(ws, name)
    row = ws.tx.first(query.where(data_suite.c.number == number) if number else query.limit(1))
    if row is None and number:
        raise NotFound(f'Dataset "{name}" has no expectations number {number}.')
    return _suite(row) if row else Suite(name, 0, ())


@operation("GET /datasets/{name}/expectations/versions", allows="data.read")
def list_expectations(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[Suite]:
    """The versions of a dataset's expectations, newest first."""
    query = _suites_of(ws, name).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(data_suite.c.number < start)
    return page_of([_suite(row) for row in ws.tx.all(query)], limit, lambda one: one.number)


def need_answers(ws: Workspace, name: str, checks: list[CheckResult]) -> None:
    """Raises Conflict for a commit whose checks leave out what is kept with the dataset."""
    suite = get_expectations(ws, name=name)
    answered = {one.rule for one in checks}
    if missing := [one.name for one in suite.rules if one not in answered]:
        raise Conflict(
            f'Dataset "{name}" expects what this commit does not answer: {"; ".join(missing[:3])}. '
            "Its expectations may have changed meanwhile: commit again.",
            expectations=suite.number,
        )


def expect(name: str, checks: Checks, *, ws: Workspace | None = None) -> Suite:
    """Keep expectations with a dataset (one that is there, or will be): each commit of rows from now on has to hold them.

    Takes a list, or a YAML or TOML file; an empty list lifts them. The versions before stay: `operations` lists them.
    """
    return set_expectations(ws or current_workspace(), name=name, rules=expectations(checks))


def expected(name: str, *, number: int = 0, ws: Workspace | None = None) -> Suite:
    """The expectations that are kept with a dataset, the newest or those with a number."""
    return get_expectations(ws or current_workspace(), name=name, number=number)


def rules_of(ws: Workspace, name: str, checks: Checks) -> list[Expectation]:
    """What a commit has to answer: what is kept with the dataset, and what was given on top."""
    given = expectations(checks)
    kept = get_expectations(ws, name=name).rules
    return [*kept, *(one for one in given if one not in kept)]


def _suites_of(ws: Workspace, name: str) -> Any:
    mine = select(data_suite).where(data_suite.c.project == ws.project, data_suite.c.dataset == name)
    return mine.order_by(data_suite.c.number.desc())


def _suite(row: Any) -> Suite:
    rules = msgspec.json.decode(row.rules, type=tuple[Expectation, ...])
    return Suite(row.dataset, row.number, rules, row.author, row.created_us)
