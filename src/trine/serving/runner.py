"""Running a loaded model for many callers: at once where it is quick, else on a thread that takes what has queued up.

There is no timer: while one batch is predicted the next one gathers, so an idle model answers a single row at once, and
a busy one answers many in one call (natural batching). What pays is measured when the model is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from trine.errors import TrineError, Unavailable
from trine.models.signature import Signature
from trine.serving.columns import Columns, Values
from trine.serving.log import Schema

log = logging.getLogger("trine.serving")

INLINE_US = 200.0
"""A call expected to take less runs on the event loop: handing it to a thread and back would cost as much again."""

LARGEST_BATCH = 4_096
"""Rows that are put together in one call."""

LONGEST_QUEUE = 1_024
"""Requests that may wait for one model; more are told to come back."""

SMALL = 64
"""Up to so many rows of numbers go to the model as rows: one small array, where columns would each cost a call."""

IDLE_S = 30.0


class ModelFault(Exception):
    """The model itself failed on rows that fit its signature."""


class Answers(NamedTuple):
    """What a model said: its output columns as lists, and the schema that the log writes for them."""

    schema: Schema
    columns: list[list[Any]]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.schema.outputs]

    def rows(self, start: int, stop: int) -> Answers:
        return Answers(self.schema, [column[start:stop] for column in self.columns])


class _Waiting(NamedTuple):
    values: Sequence[Values]
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answers]


class Runner:
    """One model version in memory, ready to answer."""

    def __init__(self, model: str, loaded: Any) -> None:
        self.model = model
        self.signature: Signature = loaded.signature
        self.columns = Columns(self.signature.inputs)
        self._rows_at_once = all(field.family in ("float", "integer", "boolean") for field in self.signature.inputs)
        self._outputs: dict[str, str] = {field.name: field.dtype for field in self.signature.outputs}
        self.inputs = tuple((field.name, str(field.dtype)) for field in self.signature.inputs)
        self.schema = Schema(model, self.inputs)
        self._loaded = loaded
        self._call_us = self._row_us = float("inf")
        self._batches = True
        self._ready = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._running = False

    # -- one call -----------------------------------------------------------------------------------------------------

    def run(self, values: Sequence[Values], count: int) -> Answers:
        """Predict checked rows now, at least one. Raises ModelFault for whatever the model raises."""
        try:
            if self._rows_at_once and count <= SMALL:
                found = self._loaded.predict_rows(list(zip(*values, strict=True)))
            else:
                found = self._loaded.predict_columns(self.columns.for_model(values))
        except TrineError as error:
            raise ModelFault(error.message) from error
        except BaseException as error:  # a model may even call sys.exit
            raise ModelFault(f"{type(error).__name__}: {str(error)[:500]}") from error
        outputs = tuple((name, self._dtype_of(name, array)) for name, array in found.items())
        return Answers(Schema(self.model, self.inputs, outputs), [_listed(array) for array in found.values()])

    def _dtype_of(self, name: str, array: Any) -> str:
        known = self._outputs.get(name)
        return known or _KINDS.get(array.dtype.kind, "string")

    def warm_up(self) -> None:
        """Load what the model loads at its first call, and measure what a call and what a row costs."""
        try:
            for count in (1, 1, 16, 16):
                took = self._time(count)
                if count == 1:
                    self._call_us = took
                else:
                    self._row_us = max(took - self._call_us, 0.0) / 15
                if took > 500_000:
                    break
        except ModelFault as error:  # made-up rows may mean nothing to it; real ones will tell
            log.info("%s was not measured: %s", self.model, error)
            self._call_us = float("inf")
        else:
            self._batches = self._row_us * 15 < 7 * self._call_us

    def _time(self, count: int) -> float:
        values = [[_SAMPLES.get(dtype, 0)] * count for _, dtype in self.inputs]
        start = time.perf_counter_ns()
        self.run(values, count)
        return (time.perf_counter_ns() - start) / 1000

    def is_quick(self, count: int) -> bool:
        """Whether that many rows are answered faster than another thread could be asked."""
        return self._call_us + self._row_us * count < INLINE_US

    # -- many callers ---------------------------------------------------------------------------------------------------

    def submit(self, values: Sequence[Values], count: int) -> asyncio.Future[Answers]:
        """Queue rows for the model's thread. Raises Unavailable when too many wait already."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        with self._ready:
            if len(self._queue) >= LONGEST_QUEUE:
                raise Unavailable(f"{LONGEST_QUEUE} requests wait for {self.model} already. Try again in a moment.")
            self._queue.append(_Waiting(values, count, loop, future))
            if self._running:
                self._ready.notify()
            else:
                self._running = True
                threading.Thread(target=self._work, name=f"trine-{self.model}", daemon=True).start()
        return future

    @property
    def queued(self) -> int:
        return len(self._queue)

    def _work(self) -> None:
        while batch := self._take():
            outcomes = self._answer(batch)
            by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answers], Any]]] = {}
            for one, outcome in zip(batch, outcomes, strict=True):
                by_loop.setdefault(one.loop, []).append((one.future, outcome))
            for loop, done in by_loop.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_deliver, done)

    def _take(self) -> list[_Waiting]:
        """All that waits, up to the largest batch; nothing after a long idle time, which ends the thread."""
        with self._ready:
            while not self._queue:
                if not self._ready.wait(IDLE_S) and not self._queue:
                    self._running = False
                    return []
            batch = [self._queue.popleft()]
            rows = batch[0].size
            while self._batches and self._queue and rows + self._queue[0].size <= LARGEST_BATCH:
                batch.append(self._queue.popleft())
                rows += batch[-1].size
        return batch

    def _answer(self, batch: list[_Waiting]) -> list[Answers | Exception]:
        if len(batch) > 1:
            try:
                columns = zip(*(one.values for one in batch), strict=True)
                values = [[value for part in column for value in part] for column in columns]
                whole = self.run(values, sum(one.size for one in batch))
            except (ModelFault, MemoryError):
                pass  # one request's rows must not fail the others: each alone
            else:
                ends = [0]
                for one in batch:
                    ends.append(ends[-1] + one.size)
                return [whole.rows(start, stop) for start, stop in pairwise(ends)]
        return [self._alone(one) for one in batch]

    def _alone(self, one: _Waiting) -> Answers | Exception:
        try:
            return self.run(one.values, one.size)
        except ModelFault as error:
            return error


def _deliver(done: list[tuple[asyncio.Future[Answers], Any]]) -> None:
    for future, outcome in done:
        if future.done():
            continue  # the caller is gone
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _listed(array: Any) -> list[Any]:
    """A column of answers as values that JSON and the log can hold; times as text."""
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]").astype(str).tolist()
    values: list[Any] = array.tolist()
    if array.dtype.kind == "O":
        return [value if isinstance(value, (str, int, float, bool, type(None))) else str(value) for value in values]
    return values


_KINDS = {"f": "float64", "i": "int64", "u": "uint64", "b": "boolean", "M": "datetime"}
"""Column types of arrays by NumPy's letter, for answers that the signature does not name."""

_SAMPLES: dict[str, Any] = {"boolean": False, "string": "", "date": "2000-01-01", "datetime": "2000-01-01T00:00:00"} | {
    "float64": 0.0, "float32": 0.0,
}  # fmt: skip
