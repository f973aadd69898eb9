"""Runs of pipelines: start, resume, look at, cancel."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import Conflict, Failure, InvalidInput, TrineError
from trine.ids import new_id
from trine.pipelines import logs
from trine.pipelines import operations as door
from trine.pipelines.calls import decoder_of, load_output
from trine.pipelines.code import Code
from trine.pipelines.engine import Engine, RunCancelled, Watch, result_of
from trine.pipelines.executors import Executor
from trine.pipelines.executors import executor as executor_named
from trine.pipelines.graph import freeze
from trine.pipelines.logs import Echo
from trine.pipelines.owners import is_gone, owner
from trine.pipelines.pipelines import Pipeline
from trine.pipelines.places import entry_of, load_entry
from trine.pipelines.records import FINISHED, PipelineRunInfo, StepError, StepRun
from trine.pipelines.steps import Step
from trine.pipelines.tracing import trace
from trine.pipelines.values import Encoder
from trine.workspace import Workspace, active_producer, current_workspace, recording_uses, using

_UNREAD = object()


class PipelineRun:
    """One run of a pipeline, as it stands in the ledger now."""

    def __init__(self, ws: Workspace, info: PipelineRunInfo, result: Any = _UNREAD) -> None:
        self._ws = ws
        self._info = info
        self._result = result

    def __repr__(self) -> str:
        return f"<PipelineRun {self.id} of {self.pipeline}: {self.state}>"

    @property
    def id(self) -> str:
        return self._info.id

    @property
    def node(self) -> str:
        """Its name in the lineage graph."""
        return self._info.node

    @property
    def pipeline(self) -> str:
        return self._info.pipeline

    @property
    def info(self) -> PipelineRunInfo:
        """What the ledger says now."""
        if self._info.state == "running":
            self._info = door.get_pipeline_run(self._ws, id=self.id)
        return self._info

    @property
    def state(self) -> str:
        """running, succeeded, failed, cancelled, or interrupted (also when its process is known to be gone)."""
        info = self.info
        return "interrupted" if info.state == "running" and is_gone(info.owner, info.id) else info.state

    @property
    def error(self) -> StepError | None:
        """The first step error of a failed run."""
        return self.info.error

    @property
    def steps(self) -> list[StepRun]:
        """Its steps in the order of the body."""
        found = door.list_step_runs(self._ws, id=self.id)
        if self.state != "interrupted":
            return found
        stopped = ("running", "retrying")
        return [msgspec.structs.replace(one, state="interrupted") if one.state in stopped else one for one in found]

    @property
    def result(self) -> Any:
        """What the pipeline returned. Raises Conflict for a run that has not succeeded."""
        if self._result is _UNREAD:
            self._result = self.read_result()
        return self._result

    def read_result(self, *, pickle: bool = False) -> Any:
        """The result read from the store; `pickle` allows values that were stored with pickle, which runs what is in them."""
        if self.state != "succeeded":
            raise Conflict(f"Pipeline run {self.id} has no result: it is {self.state}.")
        outputs = {one.key: one.outputs for one in self.steps}
        decoder = decoder_of(
            self._ws, outputs=lambda key, item: load_output(self._ws, outputs[key], item, pickle=pickle)
        )
        return decoder.decode(door.get_run_graph(self._ws, id=self.id).result)

    def step(self, key: str) -> StepRun:
        """One step by its key. Raises NotFound."""
        door.get_step_log(self._ws, id=self.id, step=key)
        return next(one for one in self.steps if one.key == key)

    def explain(self, key: str) -> str:
        """Why a step was run instead of taken from an earlier run, or where it was taken from."""
        one = self.step(key)
        return f"taken from {one.hit}" if one.hit else one.reason or f"it is {one.state}"

    def log(self, key: str) -> str:
        """What a step printed and logged so far."""
        return read_log(self.id, key, ws=self._ws)

    def wait(self, timeout_s: float | None = None) -> PipelineRun:
        """Wait until nobody runs it any more. Raises Failure when that takes longer than `timeout_s`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.02
        while self.state == "running":
            if end is not None and time.monotonic() >= end:
                raise Failure(f"Pipeline run {self.id} is still running after {timeout_s:g} s.")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return self


def run(
    pipeline: Pipeline[..., Any] | str,
    params: Mapping[str, Any] | None = None,
    *,
    executor: str = "",
    parallel: int = 0,
    cache: bool = True,
    watch: Watch = lambda _info, _move: None,
    echo: Echo = "plain",
    run_id: str = "",
    ws: Workspace | None = None,
) -> PipelineRun:
    """Run a pipeline (or the one at `file.py:name`, `module:name`) and wait for it.

    `cache=False` runs every step, and keeps what comes out for later runs. `watch` is called with every move of a step,
    `echo` says what is shown of what steps print.
    Raises Failure when a step fails; what is finished is kept, and the message names the command that goes on.
    `run_id` is the id that the run gets (32 hexadecimal digits): of two that start a run of one id, one gets Conflict.
    """
    ws = ws or current_workspace()
    base = _base(ws)
    chosen = load_entry(pipeline, base) if isinstance(pipeline, str) else pipeline
    identity = run_id or new_id()
    values = chosen.bind(params or {})
    uses: dict[str, None] = {}
    with using(ws), recording_uses(lambda node: uses.setdefault(node), f"pipeline_run:{identity}"):
        traced = trace(chosen.name, chosen.function, values)
    graph = freeze(traced, ws.store)
    steps = {call.step.name: call.step for call in traced.calls}
    runner, at_once = _executor(executor or chosen.executor, steps), _parallel(parallel or chosen.parallel)
    info = door.start_pipeline_run(
        ws,
        pipeline=chosen.name,
        id=identity,
        version=Code(chosen.function).digest,
        graph=graph,
        owner=owner(),
        entry=entry_of(chosen, base),
        params=_documents(ws, chosen, values),
        code=_code_node(ws, chosen),
        uses=list(uses),
        producer=active_producer(),
    )
    engine = Engine(
        ws=ws,
        info=info,
        graph=graph,
        steps=steps,
        executor=runner,
        parallel=at_once,
        use_cache=cache,
        echo=echo,
        watch=watch,
    )
    return _drive(engine, chosen)


def resume(
    run_id: str,
    *,
    pipeline: Pipeline[..., Any] | str | None = None,
    executor: str = "",
    parallel: int = 0,
    watch: Watch = lambda _info, _move: None,
    echo: Echo = "plain",
    again: Sequence[str] = (),
    ws: Workspace | None = None,
) -> PipelineRun:
    """Go on with a run that failed, was interrupted or cancelled, from its last finished steps.

    A run keeps its graph and parameters; steps whose code has changed since are run again, with those that need them.
    So are the steps named in `again` (`retry`), of a run that succeeded too.
    The code is found where it was, or given as `pipeline`. Raises Conflict for a run that somebody is running.
    """
    ws = ws or current_workspace()
    info = door.get_pipeline_run(ws, id=run_id)
    if isinstance(pipeline, Pipeline):
        chosen = pipeline
    elif entry := pipeline or info.entry:
        chosen = load_entry(entry, _base(ws))
    else:
        raise InvalidInput(
            f"Pipeline run {info.id} was started in a session, so its code cannot be found again. Call resume of the "
            "pipeline itself, or say where it is: trine pipeline resume RUN --from FILE.py:NAME"
        )
    graph = door.get_run_graph(ws, id=info.id)
    steps = _steps_of(ws, chosen, info)
    if lost := next((one for one in graph.steps if one.step not in steps), None):
        raise InvalidInput(
            f'Pipeline "{chosen.name}" has no step "{lost.step}" any more, and run {info.id} needs it. '
            "Start a new run: what is finished is taken from the cache."
        )
    runner, at_once = _executor(executor or chosen.executor, steps), _parallel(parallel or chosen.parallel)
    claimed = door.claim_pipeline_run(
        ws,
        id=info.id,
        epoch=info.epoch,
        owner=owner(),
        version=Code(chosen.function).digest,
        code=_code_node(ws, chosen),
        gone=is_gone(info.owner, info.id),
        again=list(again),
    )
    parts = door.get_run_parts(ws, id=info.id)
    done = [one for one in door.list_step_runs(ws, id=info.id) if one.state in FINISHED and one.key not in again]
    engine = Engine(
        ws=ws,
        info=claimed,
        graph=graph,
        steps=steps,
        executor=runner,
        parallel=at_once,
        echo=echo,
        watch=watch,
        earlier={one.key: (one, parts[one.key]) for one in done},
        again=frozenset(again),
    )
    return _drive(engine, chosen)


def retry(run_id: str, *steps: str, ws: Workspace | None = None, **options: Any) -> PipelineRun:
    """Do steps of an ended run once more, whatever they came to and whatever the cache holds, then go on to the end.

    What needs them is done again when their outputs are others than before. `options` are those of `resume`.
    """
    if not steps:
        raise InvalidInput("Say which step to do again.")
    return resume(run_id, again=steps, ws=ws, **options)


def _steps_of(ws: Workspace, pipeline: Pipeline[..., Any], info: PipelineRunInfo) -> dict[str, Step[..., Any]]:
    """The steps of a pipeline as they are now, found by reading its body with the run's parameters."""
    documents = door.get_run_params(ws, id=info.id)
    decoder = decoder_of(ws)
    known = pipeline.signature.parameters
    values = pipeline.bind({name: decoder.decode(one) for name, one in documents.items() if name in known})
    with using(ws):
        traced = trace(pipeline.name, pipeline.function, values)
    return {call.step.name: call.step for call in traced.calls}


def _drive(engine: Engine, pipeline: Pipeline[..., Any]) -> PipelineRun:
    ws, info = engine.ws, engine.info
    go_on = f"trine pipeline resume {info.id}" if info.entry else f'{pipeline.name}.resume("{info.id}")'
    try:
        error = engine.drive()
    except KeyboardInterrupt as stop:
        stop.add_note(f"What is finished is kept. Go on with: {go_on}")
        raise
    except RunCancelled as cancelled:
        raise Failure(
            f"Pipeline run {info.id} was cancelled by {cancelled}. To go on after all: {go_on}",
            run=info.id,
            state="cancelled",
        ) from None
    if error is not None:
        raise Failure(
            f'Step "{error.step}" of pipeline run {info.id} failed: {error.text}\n'
            f"What is finished is kept. Mend it and go on: {go_on}",
            run=info.id,
            step=error.step,
            state="failed",
        )
    return PipelineRun(ws, door.get_pipeline_run(ws, id=info.id), result_of(engine))


def get_pipeline_run(run_id: str, *, ws: Workspace | None = None) -> PipelineRun:
    """A run by its id, the beginning of its id, or the newest of a pipeline by that name."""
    ws = ws or current_workspace()
    return PipelineRun(ws, door.get_pipeline_run(ws, id=run_id))


def list_pipeline_runs(pipeline: str = "", *, limit: int = 100, ws: Workspace | None = None) -> list[PipelineRun]:
    """Runs, newest first."""
    ws = ws or current_workspace()
    return [PipelineRun(ws, one) for one in door.list_pipeline_runs(ws, pipeline=pipeline, limit=limit).items]


def cancel(run_id: str, *, ws: Workspace | None = None) -> PipelineRun:
    """End a run. Its owner stops it within seconds; one whose process is gone ends at once."""
    ws = ws or current_workspace()
    info = door.get_pipeline_run(ws, id=run_id)
    return PipelineRun(ws, door.cancel_pipeline_run(ws, id=info.id, gone=is_gone(info.owner, info.id)))


def read_log(run_id: str, step: str, *, ws: Workspace | None = None) -> str:
    """What a step printed and logged: to the moment when it runs on this machine, else as far as its owner has sent it."""
    ws = ws or current_workspace()
    info = door.get_pipeline_run(ws, id=run_id)
    kept = door.get_step_log(ws, id=info.id, step=step)
    path = logs.path_of(ws.spool, info.id, step)
    if path.exists() and kept.state not in (*FINISHED, "failed"):
        return logs.read_file(path).decode("utf-8", "replace")
    return ws.store.get(kept.object).decode("utf-8", "replace") if kept.object else kept.text


def _base(ws: Workspace) -> Path | None:
    """The folder that files of pipelines are named relative to."""
    return ws.root.parent if ws.root is not None else None


def _executor(name: str, steps: Mapping[str, Step[..., Any]]) -> Executor:
    made = executor_named(name)
    for one in steps.values():
        made.check(one)
    return made


def _parallel(asked: int) -> int:
    if asked < 0:
        raise InvalidInput(
            f"parallel is {asked}; it is a number of steps, or 0 for as many as there are processor cores."
        )
    return asked or os.cpu_count() or 1


def _documents(ws: Workspace, pipeline: Pipeline[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    encoder = Encoder(ws.store)
    documents: dict[str, Any] = {}
    for name, value in values.items():
        try:
            documents[name] = encoder.document(value)
        except InvalidInput as error:
            raise InvalidInput(
                f'Pipeline "{pipeline.name}": parameter "{name}": {error.message}.', parameter=name
            ) from None
    encoder.save()
    return documents


def _code_node(ws: Workspace, pipeline: Pipeline[..., Any]) -> str:
    """The node of the state of the code that the pipeline's file is in; nothing outside a git repository."""
    from trine.tracking.code import GitTrouble, capture_code

    folder = Path(pipeline.function.__code__.co_filename).parent
    if not folder.is_dir():
        return ""
    try:
        code = capture_code(folder, ws=ws)
    except (GitTrouble, OSError, UnicodeError, TrineError):
        return ""  # a run must not fail for git's sake
    return code.node if code else ""
