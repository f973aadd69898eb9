"""From a request's rows to its logged answer: choose each row's variant, check, predict, log, gather, and copy to shadows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from trine.errors import InvalidInput, ModelFailed, TooLarge, TrineError, Unavailable
from trine.ids import now_us
from trine.serving.columns import Values
from trine.serving.live import Live, Served
from trine.serving.log import Entry, PredictionLog, Schema
from trine.serving.requests import Asked
from trine.serving.routing import Variant, choose, headers_of, shadowed
from trine.serving.runner import Answers, ModelFault, Runner

log = logging.getLogger("trine.serving")

LARGE_BODY = 256 << 10
"""A body of so many bytes is read on a thread, so that others need not wait for it."""

MOST_ROWS = 100_000
"""Rows of one request."""

LISTED_IDS = 64
"""So many ids go into the header; the body has all of them."""

MOST_SHADOWS = 256
"""Copies of requests that may wait for a shadow; more are dropped and counted."""


class Request(NamedTuple):
    """What a handler needs of a request."""

    endpoint: str
    body: bytes
    content_type: str
    version: str
    key: str


class Group(NamedTuple):
    """The rows of a request that go to one variant."""

    variant: Variant
    runner: Runner
    rows: Sequence[int] | None
    """Row numbers, None for all."""
    values: Sequence[Values]
    size: int


class Done(NamedTuple):
    """A request's answer before it is written in a protocol: output columns and variants by row."""

    ids: list[str]
    names: list[str]
    dtypes: dict[str, str]
    columns: dict[str, list[Any]]
    variants: list[str]
    models: list[str]
    headers: list[tuple[bytes, bytes]]
    afterwards: Callable[[], None] | None


class Predictor:
    """Answers requests from what is live, and writes each answer down before it gives it."""

    def __init__(self, live: Live, prediction_log: PredictionLog) -> None:
        self.live = live
        self.log = prediction_log
        self.shadows_dropped = 0

    async def predict(self, request: Request, read: Callable[[Served], Asked]) -> tuple[Asked, Served, Done]:
        """One request from its body to its logged answer."""
        served = self.live.served(request.endpoint)
        began = time.perf_counter_ns()
        arrived = now_us()
        try:
            if len(request.body) > LARGE_BODY:
                asked, groups, ids = await asyncio.to_thread(self._plan, request, read, served, arrived)
            else:
                asked, groups, ids = self._plan(request, read, served, arrived)
        except InvalidInput as error:
            self._log_rejected(served, arrived, began, error)
            raise
        if not asked.count:
            return asked, served, self._empty(served)
        outcomes = await self._run(groups, began)
        self._log_outcomes(served, asked, groups, ids, arrived, outcomes)
        if self.log.durability == "disk":
            await self.log.synced()
        for group, (outcome, _) in zip(groups, outcomes, strict=True):
            if isinstance(outcome, Exception):
                raise _with_ids(
                    ModelFailed(f"{group.variant.model} failed: {outcome}. It is logged as {ids[0]}."),
                    served,
                    ids,
                    group,
                )
        return asked, served, self._gather(served, asked, groups, ids, arrived, [one for one, _ in outcomes])

    def _plan(
        self, request: Request, read: Callable[[Served], Asked], served: Served, arrived: int
    ) -> tuple[Asked, list[Group], list[str]]:
        """Read the body, choose each row's variant, and check its values."""
        asked = read(served)
        if request.key and asked.keys is None:
            asked.keys = [request.key] * asked.count
        if not asked.count:
            return asked, [], []
        if asked.count > MOST_ROWS:
            raise TooLarge(
                f"The request has {asked.count:,} rows; at most {MOST_ROWS:,} are taken. Send fewer at once."
            )
        ids = self.log.ids.take(asked.count, arrived)
        pinned = served.variant_of_version(request.version) if request.version else served.only
        if pinned is not None:
            runner = served.runners[pinned.name]
            served.columns.check_given(asked.columns)
            values = runner.columns.check(asked.columns, asked.count)
            return asked, [Group(pinned, runner, None, values, asked.count)], ids
        served.columns.check_given(asked.columns)
        by_variant: dict[str, list[int]] = {}
        keys = asked.keys or ids
        for row in range(asked.count):
            by_variant.setdefault(choose(served.route, keys[row] or ids[row]).name, []).append(row)
        groups: list[Group] = []
        for variant in served.live:
            if rows := by_variant.get(variant.name):
                runner = served.runners[variant.name]
                mine = {name: [values[row] for row in rows] for name, values in asked.columns.items()}
                groups.append(Group(variant, runner, rows, runner.columns.check(mine, len(rows), rows), len(rows)))
        return asked, groups, ids

    async def _run(self, groups: list[Group], began: int) -> list[tuple[Answers | Exception, int]]:
        """The answers of each group and when they were there, in microseconds since the request began."""
        if len(groups) == 1 and groups[0].runner.is_quick(groups[0].size):
            try:
                outcome: Answers | Exception = groups[0].runner.run(groups[0].values, groups[0].size)
            except ModelFault as error:
                outcome = error
            return [(outcome, (time.perf_counter_ns() - began) // 1000)]
        waiting = [group.runner.submit(group.values, group.size) for group in groups]
        return [await _settle(future, began) for future in waiting]

    # -- logging ------------------------------------------------------------------------------------------------------

    def _log_outcomes(
        self,
        served: Served,
        asked: Asked,
        groups: list[Group],
        ids: list[str],
        arrived: int,
        outcomes: list[tuple[Answers | Exception, int]],
    ) -> None:
        for group, (outcome, took) in zip(groups, outcomes, strict=True):
            failed = isinstance(outcome, Exception)
            entry = Entry(
                schema=0,
                request=ids[0],
                ids=_pick(ids, group.rows),
                time_us=arrived,
                route=served.route.number,
                variant=group.variant.name,
                shadow=False,
                status="error" if failed else "ok",
                latency_us=took,
                keys=_pick(asked.keys, group.rows) if asked.keys is not None else None,
                inputs=group.values,
                outputs=None if failed else outcome.columns,
                error=str(outcome)[:500] if failed else "",
            )
            self._append(served, group.runner.schema if failed else outcome.schema, entry)

    def _log_rejected(self, served: Served, arrived: int, began: int, error: InvalidInput) -> None:
        ids = self.log.ids.take(1, arrived)
        took = (time.perf_counter_ns() - began) // 1000
        entry = Entry(
            0, ids[0], ids, arrived, served.route.number, "", False, "rejected", took, error=error.message[:500]
        )
        self._append(served, Schema("", served.main.schema.inputs), entry)  # its inputs are null: it has their columns
        error.details.setdefault("prediction_id", ids[0])

    def _append(self, served: Served, schema: Schema, entry: Entry) -> None:
        self.log.append(served.route.endpoint, schema, entry)

    # -- answering ----------------------------------------------------------------------------------------------------

    def _empty(self, served: Served) -> Done:
        outputs = {field.name: str(field.dtype) for field in served.main.signature.outputs}
        return Done([], list(outputs), outputs, {name: [] for name in outputs}, [], [], served.headers[:1], None)

    def _gather(
        self, served: Served, asked: Asked, groups: list[Group], ids: list[str], arrived: int, answers: list[Any]
    ) -> Done:
        """The answers of all groups in the order of the rows, with the headers that tell where they came from."""
        if len(groups) == 1:
            group, found = groups[0], answers[0]
            columns = dict(zip(found.names, found.columns, strict=True))
            dtypes = dict(found.schema.outputs)
            variants, models = [group.variant.name] * group.size, [group.variant.model] * group.size
        else:
            columns, dtypes = {}, {}
            variants, models = [""] * asked.count, [""] * asked.count
            for group, found in zip(groups, answers, strict=True):
                dtypes |= {name: dtype for name, dtype in found.schema.outputs if name not in dtypes}
                for at, row in enumerate(group.rows or ()):
                    variants[row], models[row] = group.variant.name, group.variant.model
                    for name, values in zip(found.names, found.columns, strict=True):
                        columns.setdefault(name, [None] * asked.count)[row] = values[at]
        headers = _headers(served, ids, groups)
        shadows = served.route.shadows
        afterwards = partial(self._copy_to_shadows, served, asked, ids, arrived) if shadows else None
        return Done(ids, list(columns), dtypes, columns, variants, models, headers, afterwards)

    # -- shadows ------------------------------------------------------------------------------------------------------

    def _copy_to_shadows(self, served: Served, asked: Asked, ids: list[str], arrived: int) -> None:
        """Ask the shadows after the caller has its answer. They wait in a bounded queue; what does not fit is dropped."""
        key = asked.keys[0] if asked.keys else ids[0]
        for variant in shadowed(served.route, key or ids[0]):
            runner = served.runners[variant.name]
            if runner.queued >= MOST_SHADOWS:
                self.shadows_dropped += 1
                continue
            began = time.perf_counter_ns()
            try:
                values = runner.columns.check(asked.columns, asked.count)
                future = runner.submit(values, asked.count)
            except Unavailable:
                self.shadows_dropped += 1
                continue
            except InvalidInput as error:
                self._log_shadow(served, variant, runner, ids, arrived, began, asked, None, error)
                continue
            log_it = partial(self._log_shadow, served, variant, runner, ids, arrived, began, asked, values)
            future.add_done_callback(lambda done, log_it=log_it: log_it(done.exception() or done.result()))

    def _log_shadow(
        self,
        served: Served,
        variant: Variant,
        runner: Runner,
        ids: list[str],
        arrived: int,
        began: int,
        asked: Asked,
        values: Sequence[Values] | None,
        outcome: Answers | BaseException,
    ) -> None:
        answered = isinstance(outcome, Answers)
        own = self.log.ids.take(asked.count, arrived)
        entry = Entry(
            schema=0,
            request=own[0],
            ids=own,
            time_us=arrived,
            route=served.route.number,
            variant=variant.name,
            shadow=True,
            status="ok" if answered else "error",
            latency_us=(time.perf_counter_ns() - began) // 1000,
            keys=asked.keys,
            inputs=values,
            outputs=outcome.columns if answered else None,
            error="" if answered else str(outcome)[:500],
            shadow_of=ids,
        )
        try:
            self._append(served, outcome.schema if answered else runner.schema, entry)
        except TrineError as error:
            log.warning("an answer of shadow %s was not logged: %s", variant.name, error.message)


async def _settle(future: asyncio.Future[Answers], began: int) -> tuple[Answers | Exception, int]:
    try:
        outcome: Answers | Exception = await future
    except ModelFault as error:
        outcome = error
    return outcome, (time.perf_counter_ns() - began) // 1000


def _pick(values: list[Any], rows: Sequence[int] | None) -> list[Any]:
    return values if rows is None else [values[row] for row in rows]


def _headers(served: Served, ids: list[str], groups: Sequence[Group]) -> list[tuple[bytes, bytes]]:
    told = served.headers
    if len(groups) != 1 or served.only is None:
        told = headers_of(served.route, [group.variant for group in groups])
    headers = [*told, (b"x-trine-prediction-id", ids[0].encode())]
    if 1 < len(ids) <= LISTED_IDS:
        headers.append((b"x-trine-prediction-ids", ",".join(ids).encode()))
    return headers


def _with_ids(error: TrineError, served: Served, ids: list[str], group: Group) -> TrineError:
    error.details["prediction_id"] = ids[0]
    error.details["headers"] = _headers(served, ids, [group])
    return error
