"""What clients log into runs: points go to the server's own segments, params and tags are committed together.

A point is in a segment of this process before its call is answered, as one logged by `trine.run()` is in a segment of its own:
kill -9 loses nothing, and the ledger has it a moment later. Params and tags of all calls that wait are one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
from anyio import to_thread

from trine.access.principals import authorise
from trine.errors import Conflict, InvalidInput, NotFound, TrineError
from trine.server.mlflow import limits
from trine.server.mlflow.calls import Call, Json
from trine.server.mlflow.errors import WireError, from_trine, invalid, missing, needed, wrong
from trine.server.mlflow.runs import NAME, not_active
from trine.tracking import operations as door
from trine.tracking.frames import Ending
from trine.tracking.logged_models import ModelMetric, update_logged_model
from trine.tracking.outbox import Outbox
from trine.tracking.texts import RunTexts
from trine.workspace import Workspace

MOST_OPEN = 64
"""Runs whose segments are open at once; the one that was written longest ago is closed for another."""

SURE_S = 2.0
"""For how long a run that was there is taken to be there, and a caller who might write, to be allowed to."""


Point = tuple[str, int, int, float]
"""One point, checked: its metric, step, microseconds and value."""


class Batch(NamedTuple):
    """What one call logs, checked."""

    run: str
    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]
    of_models: dict[str, list[ModelMetric]]


# -- reading a call -----------------------------------------------------------------------------------------------------------


def metric(call: Call) -> Batch:
    """`runs/log-metric`."""
    values = call.values
    found = Batch(_run(call), [], {}, {}, {})
    if plain := _plain_point(values):
        found.points.append(plain)
        return found
    if not values.get("key"):
        raise needed("key")
    _point(values, "", found)
    return found


def param(call: Call) -> Batch:
    """`runs/log-parameter`."""
    key = limits.check_key(call.text("key"), "key")
    return Batch(_run(call), [], {_length("Param key", key): _param(call.text("value", ""))}, {}, {})


def tag(call: Call) -> Batch:
    """`runs/set-tag`."""
    key = limits.check_key(call.text("key"), "key")
    limits.check_length("key", limits.LONGEST_KEY, key)
    value = limits.check_length("value", limits.LONGEST_TAG, call.text("value", ""))
    return Batch(_run(call), [], {}, {key: value}, {})


def batch(call: Call) -> Batch:
    """`runs/log-batch`."""
    metrics, params, tags = call.list("metrics"), call.list("params"), call.list("tags")
    found = Batch(_run(call), [], {}, {}, {})
    limits.check_batch(metrics, params, tags)
    for index, one in enumerate(metrics):
        if type(one) is not dict:
            raise invalid(wrong("metrics", one))
        if plain := _plain_point(one):
            found.points.append(plain)
        else:
            _point(one, f"metrics[{index}].", found)
    twice: list[str] = []
    for index, one in enumerate(params):
        key = _key(one, "params", index)
        if key in found.params:
            twice.append(key)
        found.params[_length("Param key", key)] = _param(str(one.get("value") or ""))
    if twice:
        raise invalid(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one param "
            "value per param key."
        )
    for index, one in enumerate(tags):
        key, where = _key(one, "tags", index), f"tags[{index}]"
        limits.check_length(f"{where}.key", limits.LONGEST_KEY, key)
        found.tags[key] = limits.check_length(f"{where}.value", limits.LONGEST_TAG, str(one.get("value") or ""))
    return found


def _run(call: Call) -> str:
    id = call.text("run_id", "") or call.text("run_uuid", "") or call.text("run_id")
    if not limits.is_run_id(id):
        limits.check_run_id(id)
        raise missing(f"Run with id={id} not found")
    return id


def _key(one: Any, what: str, index: int) -> str:
    if not isinstance(one, dict):
        raise invalid(wrong(what, one))
    key = one.get("key")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if key is None or key == "":
        raise needed(f"{what}[{index}].key")
    return limits.check_key(key, f"{what}[{index}].key")


def _length(what: str, key: str) -> str:
    return limits.check_length(what, limits.LONGEST_KEY, key)


def _param(value: str) -> str:
    return limits.check_length("Param value", limits.LONGEST_PARAM, value)


_seen: set[str] = set()
"""Names of metrics that were checked."""


def _plain_point(one: Json) -> Point | None:
    """A point as nearly all are, quickly seen to be right; or None, and it has to be looked at."""
    key, value, when, step = one.get("key"), one.get("value"), one.get("timestamp"), one.get("step", 0)
    if (
        type(key) is str
        and key in _seen
        and type(value) is float
        and type(when) is int
        and 0 <= when < 9_000_000_000_000_000
        and type(step) is int
        and -(2**63) <= step < 2**63
        and not one.get("model_id")
    ):
        return key, step, when * 1_000, value
    return None


def _point(one: Json, where: str, found: Batch) -> None:
    key = one.get("key")
    if key is None or key == "":
        raise needed(f"{where}key")
    key = limits.check_key(key, f"{where}name")
    if len(key) > limits.LONGEST_KEY:
        raise limits.too_long("Metric name", limits.LONGEST_KEY)
    value = one.get("value")
    if type(value) is not float:
        value = limits.check_number(one, "value", f"{where}value")
    when = one.get("timestamp")
    if type(when) is not int:
        if when is None or when == "":
            raise needed(f"{where}timestamp")
        when = limits.check_whole(when, f"{where}timestamp")
    if not 0 <= when < 9_000_000_000_000_000:
        raise limits.negative_time(f"{where}timestamp", when, key, value)
    step = one.get("step") or 0
    if type(step) is not int or not -(2**63) <= step < 2**63:
        step = limits.check_whole(step, f"{where}step")
    if len(_seen) > 10_000:
        _seen.clear()
    _seen.add(key)
    found.points.append((key, step, when * 1_000, value))
    if model := one.get("model_id"):
        dataset, digest = str(one.get("dataset_name") or ""), str(one.get("dataset_digest") or "")
        made = ModelMetric(key, value, when * 1_000, step, found.run, dataset, digest)
        found.of_models.setdefault(str(model), []).append(made)


CHANGING = frozenset(("runs/update", "runs/delete", "runs/restore"))
"""The calls after which a run has to be looked at again."""

READERS: dict[str, Callable[[Call], Batch]] = {
    "runs/log-metric": metric,
    "runs/log-parameter": param,
    "runs/set-tag": tag,
    "runs/log-batch": batch,
}


# -- keeping it ---------------------------------------------------------------------------------------------------------------


class Logger:
    """Keeps what is logged. Its coroutines run in the server's event loop; `keep_now` is for those that have none."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Outbox] = OrderedDict()
        self._sure: dict[tuple[str, str, str], float] = {}
        self._waiting: dict[tuple[str, Any], list[tuple[RunTexts, asyncio.Future[WireError | None]]]] = {}
        self._writing: set[tuple[str, Any]] = set()

    async def keep(self, ws: Workspace, what: Batch) -> None:
        """All of a batch, or none. Raises WireError."""
        box = self._ready(ws, what)
        if box is None:
            box = await to_thread.run_sync(self._prepare, ws, what)
        if what.params or what.tags:
            await self._commit(ws, what)
        if what.of_models:
            await to_thread.run_sync(_tell_models, ws, what)
        if not self._append(box, what):
            self._append(await to_thread.run_sync(self._prepare, ws, what), what)

    def keep_now(self, ws: Workspace, what: Batch) -> None:
        """The same, without an event loop."""
        box = self._ready(ws, what) or self._prepare(ws, what)
        if (what.params or what.tags) and (problem := door.set_texts(ws, runs=[_texts(what)])[0]):
            raise _explained(problem, what)
        if what.of_models:
            _tell_models(ws, what)
        if not self._append(box, what):
            self._append(self._prepare(ws, what), what)

    def _ready(self, ws: Workspace, what: Batch) -> Outbox | None:
        """The open outbox of a run that was looked at just now."""
        if self._sure.get((ws.project, ws.principal.name, what.run), 0) < time.monotonic():
            return None
        return self._open.get(what.run)

    def _prepare(self, ws: Workspace, what: Batch) -> Outbox:
        """Look whether a run is there and may be written, and open its outbox."""
        try:
            with ws.ledger.transaction(write=False) as connection:
                authorise(connection, ws.principal, ws.project, "tracking.write")
            ended = door.run_state(ws, id=what.run)
        except NotFound:
            raise missing(f"Run with id={what.run} not found") from None
        if ended == "deleted":
            raise not_active(what.run)
        if len(self._sure) > 10_000:
            self._sure.clear()
        self._sure[ws.project, ws.principal.name, what.run] = time.monotonic() + SURE_S
        box = self._open.get(what.run)
        if box is None:
            box = self._open[what.run] = Outbox(ws, what.run, session="", owner=False, steps={})
        while len(self._open) > MOST_OPEN:
            oldest = next(iter(self._open))
            self.close(oldest)
        return box

    def _append(self, box: Outbox, what: Batch) -> bool:
        """Whether the points are in the run's segment; False when its outbox was closed meanwhile."""
        if not what.points:
            return True
        try:
            box.log(what.points)
        except Conflict:
            return False
        except TrineError as error:
            raise from_trine(error) from error
        if what.run in self._open:
            self._open.move_to_end(what.run)
        return True

    async def _commit(self, ws: Workspace, what: Batch) -> None:
        """Params and tags: with all others that wait for the same caller in one transaction."""
        who = ws.project, ws.principal
        done: asyncio.Future[WireError | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, []).append((_texts(what), done))
        if who not in self._writing:
            self._writing.add(who)
            try:
                while some := self._waiting.pop(who, None):
                    await _write(ws, some)
            finally:
                self._writing.discard(who)
        problem = await done
        if problem is not None:
            raise problem

    def deliver(self, run: str) -> None:
        """Bring what was logged of a run (or of all) into the ledger."""
        if run:
            if box := self._open.get(run):
                box.deliver()
            return
        for box in list(self._open.values()):
            box.deliver()

    def follow(self, name: str, values: Json) -> None:
        """After a call that changed where a run stands: look again, and bring in what an ended one was told."""
        if name not in CHANGING:
            return
        run = str(values.get("run_id") or values.get("run_uuid") or "")
        self.forget(run)
        if values.get("status") not in (None, "RUNNING", "SCHEDULED", 1, 2):
            self.close(run)

    def forget(self, run: str) -> None:
        """Look again whether a run may be written."""
        for known in [known for known in self._sure if known[2] == run]:
            self._sure.pop(known, None)

    def close(self, run: str = "") -> None:
        """Bring what was logged of a run (or of all) into the ledger, and keep its segment open no longer."""
        for id in [run] if run else list(self._open):
            if box := self._open.pop(id, None):
                box.close(Ending())


async def _write(ws: Workspace, some: list[tuple[RunTexts, asyncio.Future[WireError | None]]]) -> None:
    try:
        outcomes = await to_thread.run_sync(partial(door.set_texts, ws, runs=[texts for texts, _ in some]))
        problems = [
            _explained(problem, texts) if problem else None for problem, (texts, _) in zip(outcomes, some, strict=True)
        ]
    except TrineError as error:
        problems = [from_trine(error)] * len(some)
    except BaseException:
        for _, done in some:
            done.cancel()
        raise
    for problem, (_, done) in zip(problems, some, strict=True):
        if not done.done():
            done.set_result(problem)


def _texts(what: Batch) -> RunTexts:
    tags = dict(what.tags)
    name = tags.pop(NAME, "")
    return RunTexts(what.run, what.params, tags, name)


def _explained(problem: str, what: Batch | RunTexts) -> WireError:
    """Why one run's params and tags were not taken."""
    if problem == "missing":
        return missing(f"Run with id={what.run} not found")
    if problem == "deleted":
        return invalid(f"The run {what.run} must be in the 'active' state. Current state is deleted.")
    key, old = msgspec.json.decode(problem, type=tuple[str, str])
    new = what.params[key]
    if len(what.params) == 1:
        return invalid(
            f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' "
            f"for run ID='{what.run}'. Attempted logging new value '{new}'."
        )
    told = [{"key": key, "old_value": old, "new_value": new}]
    return invalid(
        f"Changing param values is not allowed. Params were already logged='{told}' for run ID='{what.run}'."
    )


def _tell_models(ws: Workspace, what: Batch) -> None:
    for model, points in what.of_models.items():
        try:
            update_logged_model(ws, id=model, metrics=points)
        except NotFound:
            raise missing(f"Logged model with ID '{model}' not found.") from None
        except (Conflict, InvalidInput) as error:
            raise from_trine(error) from None
