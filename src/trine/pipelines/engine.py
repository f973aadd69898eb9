"""The engine: drives one run from where it stands to its end.

One thread, the caller's, decides and writes; attempts of steps run wherever the executor puts them and only report what
came of them. Bytes are durable before the ledger says so, and the ledger says so before the next step starts. Moves that
fall together (a step ends, the next begins) are one transaction. Whoever drives a run writes with its epoch: when another
process has taken the run over, nothing is written any more and the drive ends with Conflict.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from trine.errors import Conflict, Failure, NotFound, TrineError, Unavailable
from trine.pipelines import keys, logs
from trine.pipelines import operations as door
from trine.pipelines.calls import Outcome, StepCall
from trine.pipelines.code import Code
from trine.pipelines.exchange import Exchange
from trine.pipelines.executors import Attempt, Executor
from trine.pipelines.graph import Graph, GraphStep
from trine.pipelines.operations import LEASE_S, LogSoFar
from trine.pipelines.owners import driving, shown
from trine.pipelines.records import Lookup, Parts, PipelineRunInfo, StepError, StepMove, StepRun
from trine.pipelines.steps import Step
from trine.pipelines.values import Value
from trine.workspace import Workspace

POLL_S = 2.0
"""How often the owner of a run looks whether somebody wants it to end."""

GRACE_S = 10.0
"""How long a step that was told to end may take before it is given up."""

BATCH = 50
"""Cache keys that are looked up at once: so many fit into a URL."""

Written = TypeVar("Written")
Watch = Callable[[PipelineRunInfo, StepMove | None], None]
"""Called when a run begins to be driven (no move), and with every move of a step that was written."""


class RunCancelled(Exception):
    """Somebody asked for the run to end."""


@dataclass
class _Ready:
    """A step whose inputs are there."""

    node: GraphStep
    parts: Parts
    cache_key: str = ""
    reason: str = ""
    attempt: int = 1


@dataclass
class _Running:
    """An attempt under way."""

    ready: _Ready
    call: StepCall
    number: int
    handle: Attempt | None = None
    deadline: float = float("inf")
    give_up: float = float("inf")


@dataclass
class Engine:
    """One drive of one run. `earlier` are the finished steps of a run that is resumed, with what their keys were made of;
    those in `again` are done whatever earlier work there is."""

    ws: Workspace
    info: PipelineRunInfo
    graph: Graph
    steps: dict[str, Step[..., Any]]
    executor: Executor
    parallel: int
    use_cache: bool = True
    echo: logs.Echo = "plain"
    watch: Watch = lambda _info, _move: None
    earlier: dict[str, tuple[StepRun, Parts]] = field(default_factory=dict[str, "tuple[StepRun, Parts]"])
    again: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        pickled = frozenset(one.key for one in self.graph.steps if self.steps[one.step].pickle)
        self.exchange = Exchange(self.ws, self.graph, pickled)
        self._pickled = pickled
        self._position = {one.key: place for place, one in enumerate(self.graph.steps)}
        self._missing = {one.key: set(one.needs) for one in self.graph.steps}
        self._dependents: dict[str, list[GraphStep]] = {}
        for one in self.graph.steps:
            for need in one.needs:
                self._dependents.setdefault(need, []).append(one)
        self._new: list[GraphStep] = [one for one in self.graph.steps if not one.needs]
        self._waiting: list[tuple[int, _Ready]] = []
        self._retries: list[tuple[float, int, _Ready]] = []
        self._running: dict[str, _Running] = {}
        self._outcomes: queue.SimpleQueue[tuple[str, int, Outcome]] = queue.SimpleQueue()
        self._moves: list[StepMove] = []
        self._starting: list[_Ready] = []
        self._spent: list[logs.StepLog] = []
        self._lost: set[str] = set()
        self._failed: list[StepError] = []
        self._codes: dict[str, Code] = {}
        self._number = 0
        self._logged: dict[str, int] = {}
        self._written = self._polled = time.monotonic()

    # -- the drive ------------------------------------------------------------------------------------------------

    def drive(self) -> StepError | None:
        """Run what is to be run, and end the run in the ledger. Gives the first step error, or None when all went well.

        Raises RunCancelled, Conflict when the run is somebody else's by now, and whatever else stopped it (Ctrl-C); the
        run can be resumed then.
        """
        driving.add(self.info.id)
        try:
            self.watch(self.info, None)
            with logs.routing():
                self._loop()
            error = self._failed[0] if self._failed else None
            self._patiently(door.finish_pipeline_run, state="failed" if error else "succeeded", error=error)
            return error
        except BaseException as error:
            self._stop_all()
            with contextlib.suppress(TrineError):  # what stopped it is told; the lease ends by itself
                if not isinstance(error, Conflict):
                    state = "cancelled" if isinstance(error, RunCancelled) else "interrupted"
                    door.finish_pipeline_run(self.ws, id=self.info.id, epoch=self.info.epoch, state=state)
            raise
        finally:
            driving.discard(self.info.id)
            self.executor.close()

    def _loop(self) -> None:
        while True:
            self._find_ready()
            self._choose()
            self._commit()
            self._launch()
            if not self._running and not self._retries:
                return
            self._wait()

    # -- what can run ---------------------------------------------------------------------------------------------

    def _find_ready(self) -> None:
        """Take what earlier work gives for steps whose inputs are there, until only steps that must run are left."""
        while self._new:
            batch, self._new = self._new, []
            fresh: list[_Ready] = []
            for node in batch:
                ready = _Ready(node, self._parts(node))
                if not self._is_done_before(ready):
                    fresh.append(ready)
            for start in range(0, len(fresh), BATCH):
                self._look_up(fresh[start : start + BATCH])

    def _parts(self, node: GraphStep) -> Parts:
        step = self.steps[node.step]
        if node.step not in self._codes:
            self._codes[node.step] = Code(step.function)
        return keys.parts_of(step, self._codes[node.step], node, self.exchange.stored)

    def _is_done_before(self, ready: _Ready) -> bool:
        """Whether this run finished the step before it was resumed, with the code and inputs of now."""
        node = ready.node
        if node.key not in self.earlier:
            return False
        found, parts = self.earlier[node.key]
        if parts != ready.parts:
            ready.reason = "; ".join(keys.changes_of(node, parts, ready.parts)) + " since the run began"
            return False
        if not self._is_here(found.outputs):
            ready.reason = "its output is not in the store any more"
            return False
        self._finish(node, found)
        return True

    def _finish(self, node: GraphStep, found: Any, made: list[Any] | None = None) -> None:
        """A step's outputs are there: what needs them comes nearer."""
        self.exchange.put(node.key, found.outputs, made or [])
        if made is None:
            self.exchange.pass_over(node)
        for one in self._dependents.get(node.key, ()):
            self._missing[one.key].discard(node.key)
            if not self._missing[one.key] and one.key not in self._lost:
                self._new.append(one)

    def _look_up(self, batch: list[_Ready]) -> None:
        asked: list[_Ready] = []
        for ready in batch:
            step, code = self.steps[ready.node.step], self._codes[ready.node.step]
            if not step.cache:
                ready.reason = ready.reason or "cache is off"
            elif code.opaque:
                ready.reason = f"never cached: it uses {code.opaque[0]}, which has no content to compare"
            else:
                ready.cache_key = keys.key_of(ready.parts)
                if self.use_cache and ready.node.key not in self.again:
                    asked.append(ready)
                    continue
                why = "asked for again" if ready.node.key in self.again else "cache is off in this run"
                ready.reason = ready.reason or why
            self._queue(ready)
        if asked:
            found = door.find_hits(
                self.ws, keys=[one.cache_key for one in asked], steps=[one.node.key for one in asked]
            )
            for ready, one in zip(asked, found, strict=True):
                self._take_or_queue(ready, one)

    def _is_here(self, outputs: list[Value]) -> bool:
        """Whether the objects that values need are still in the store."""
        wanted = {name for value in outputs for name in value.objects}
        return not wanted or self.ws.store.has(wanted) == wanted

    def _take_or_queue(self, ready: _Ready, found: Lookup) -> None:
        hit, node = found.hit, ready.node
        if hit is None:
            ready.reason = ready.reason or keys.why(node, ready.parts, found)
            self._queue(ready)
        elif not self._is_here(hit.outputs):
            ready.reason = ready.reason or f"the output of {hit.node} is not in the store any more"
            self._queue(ready)
        else:
            self._move(ready, "cached", hit=hit.node, outputs=hit.outputs, log=hit.log, log_object=hit.log_object)
            self._finish(node, hit)

    def _queue(self, ready: _Ready) -> None:
        heapq.heappush(self._waiting, (self._position[ready.node.key], ready))

    def _choose(self) -> None:
        """Let waiting steps start while there is room."""
        now = time.monotonic()
        while self._retries and self._retries[0][0] <= now:
            self._queue(heapq.heappop(self._retries)[2])
        while self._waiting and len(self._running) + len(self._starting) < self.parallel:
            _, ready = heapq.heappop(self._waiting)
            self._move(ready, "running")
            self._starting.append(ready)

    # -- writing --------------------------------------------------------------------------------------------------

    def _move(self, ready: _Ready, state: Any, **known: Any) -> None:
        node = ready.node
        self._moves.append(
            StepMove(
                key=node.key,
                step=node.step,
                state=state,
                attempt=ready.attempt,
                needs=node.needs,
                cache_key=ready.cache_key,
                parts=ready.parts,
                reason="" if state == "cached" else ready.reason,
                **known,
            )
        )

    def _commit(self) -> None:
        moves, self._moves = self._moves, []
        if not moves:
            return
        lease = self._patiently(door.move_steps, moves=moves)
        self._written = time.monotonic()
        for log in self._spent:
            log.remove()
        self._spent.clear()
        for move in moves:
            self.watch(self.info, move)
        if lease.cancelled_by:
            raise RunCancelled(lease.cancelled_by)

    def _patiently(self, write: Callable[..., Written], **values: Any) -> Written:
        """Write to the ledger; while it is away, try again for as long as the lease lasts."""
        pause = 0.25
        while True:
            try:
                return write(self.ws, id=self.info.id, epoch=self.info.epoch, **values)
            except Unavailable:
                if time.monotonic() + pause > self._written + LEASE_S:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def _launch(self) -> None:
        starting, self._starting = self._starting, []
        for ready in starting:
            node, step = ready.node, self.steps[ready.node.step]
            path = logs.path_of(self.ws.spool, self.info.id, node.key)
            call = StepCall(
                ws=self.ws,
                run=self.info.id,
                step=step,
                node=node,
                stored={need: self.exchange.stored[need] for need in node.needs},
                log=logs.StepLog(path, label=node.key, echo=self.echo),
                pickled=self._pickled,
                outputs=self.exchange.take,
            )
            self._number += 1
            running = _Running(ready, call, self._number)
            if step.timeout_s is not None:
                running.deadline = time.monotonic() + step.timeout_s
            self._running[node.key] = running
            running.handle = self.executor.start(call, self._report(node.key, self._number))

    def _report(self, key: str, number: int) -> Callable[[Outcome], None]:
        return lambda outcome: self._outcomes.put((key, number, outcome))

    # -- what comes back ------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until something happens: an outcome, a deadline, a retry that is due, or the time to look at the ledger."""
        now = time.monotonic()
        due = [min(one.deadline, one.give_up) for one in self._running.values()]
        due += [self._retries[0][0]] if self._retries else []
        due.append(self._polled + POLL_S)
        try:
            key, number, outcome = self._outcomes.get(timeout=max(0.0, min(due) - now))
            self._take_outcome(key, number, outcome)
            while True:
                self._take_outcome(*self._outcomes.get_nowait())
        except queue.Empty:
            pass
        self._look_at_clock()

    def _take_outcome(self, key: str, number: int, outcome: Outcome) -> None:
        running = self._running.get(key)
        if running is None or running.number != number:
            return  # it was given up
        del self._running[key]
        if outcome.stopped:
            step = self.steps[running.ready.node.step]
            outcome.error = StepError("TimeoutError", f"took longer than {step.timeout_s:g} s")
            outcome.retryable = any(issubclass(TimeoutError, one) for one in step.retry_on)
        self._settle(running, outcome)

    def _settle(self, running: _Running, outcome: Outcome) -> None:
        ready, log = running.ready, running.call.log
        text, stored = logs.keep(self.ws.store, logs.read_file(log.path))
        known: dict[str, Any] = {
            "uses": outcome.uses,
            "resolved": outcome.resolved,
            "log": text,
            "log_object": stored,
            "duration_us": outcome.duration_us,
        }
        if outcome.error is None:
            self._spent.append(log)
            self._move(ready, "succeeded", outputs=outcome.outputs, **known)
            self._finish(ready.node, outcome, running.call.made)
            return
        error = msgspec.structs.replace(outcome.error, step=ready.node.key)
        step = self.steps[ready.node.step]
        if outcome.retryable and ready.attempt <= step.retries:
            wait_s = step.wait_s(ready.attempt)
            self._move(ready, "retrying", error=error, retry_in_us=round(wait_s * 1e6), **known)
            again = _Ready(ready.node, ready.parts, ready.cache_key, ready.reason, ready.attempt + 1)
            heapq.heappush(self._retries, (time.monotonic() + wait_s, running.number, again))
            return
        self._spent.append(log)
        self._move(ready, "failed", error=error, **known)
        self._failed.append(error)
        self._lose(ready.node)

    def _lose(self, node: GraphStep) -> None:
        """What needs a failed step cannot run."""
        for one in self._dependents.get(node.key, ()):
            if one.key not in self._lost:
                self._lost.add(one.key)
                self.exchange.pass_over(one)
                self._moves.append(StepMove(key=one.key, step=one.step, state="upstream_failed", needs=one.needs))
                self._lose(one)

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for running in list(self._running.values()):
            if now >= running.give_up:
                self._give_up(running)
            elif now >= running.deadline and running.handle is not None:
                running.deadline, running.give_up = float("inf"), now + GRACE_S
                running.handle.stop()
        if now >= self._polled + POLL_S:
            self._polled = now
            with contextlib.suppress(Unavailable):  # it is looked at again soon
                self._look_at_ledger(now)

    def _give_up(self, running: _Running) -> None:
        del self._running[running.ready.node.key]
        step = self.steps[running.ready.node.step]
        message = (
            f"took longer than {step.timeout_s:g} s, and does not end: it is inside one long call. Its result will not be "
            'used; with executor="process" it would be killed'
        )
        outcome = Outcome(error=StepError("TimeoutError", message), duration_us=round((step.timeout_s or 0) * 1e6))
        self._settle(running, outcome)

    def _look_at_ledger(self, now: float) -> None:
        """Whether somebody wants the run to end; and before the lease does, say that it is still being run."""
        if now >= self._written + LEASE_S / 3:
            lease = door.renew_lease(self.ws, id=self.info.id, epoch=self.info.epoch, logs=self._logs_so_far())
            self._written, cancelled_by = now, lease.cancelled_by
        else:
            found = door.get_pipeline_run(self.ws, id=self.info.id)
            cancelled_by = found.cancelled_by
            if found.epoch != self.info.epoch and not cancelled_by:
                raise Conflict(f"Pipeline run {found.id} was taken over by {shown(found.owner)}.")
        if cancelled_by:
            raise RunCancelled(cancelled_by)

    def _logs_so_far(self) -> list[LogSoFar]:
        """The logs of running steps that have grown: others may look at them from another machine."""
        found: list[LogSoFar] = []
        for key, running in self._running.items():
            text = logs.read_file(running.call.log.path)
            if len(text) > self._logged.get(key, 0):
                self._logged[key] = len(text)
                found.append(LogSoFar(key, *logs.keep(self.ws.store, text)))
        return found

    def _stop_all(self) -> None:
        """Tell all attempts to end, and wait a little for those that do."""
        for running in self._running.values():
            if running.handle is not None:
                running.handle.stop()
        end = time.monotonic() + 2.0
        left = {running.number for running in self._running.values()}
        while left and (now := time.monotonic()) < end:
            try:
                left.discard(self._outcomes.get(timeout=end - now)[1])
            except queue.Empty:
                return


def result_of(engine: Engine) -> Any:
    """What the pipeline returns, from the outputs of its steps."""
    from trine.pipelines.calls import decoder_of

    try:
        return decoder_of(engine.ws, outputs=engine.exchange.take).decode(engine.graph.result)
    except NotFound as error:
        raise Failure(f"The result of pipeline run {engine.info.id} cannot be read: {error.message}") from error
