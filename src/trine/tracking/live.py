"""`trine.run(…)`: a run that is being written."""

from __future__ import annotations

import contextvars
import os
import re
import struct
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any

import msgspec

from trine.errors import Failure, InvalidInput, NotFound
from trine.ids import new_id, now_us
from trine.tracking import media, suggestions
from trine.tracking import operations as door
from trine.tracking.arguments import Time, as_micros, as_number, as_points, as_step, as_texts
from trine.tracking.artifact_files import check_path, files_below
from trine.tracking.code import capture_quietly
from trine.tracking.environment import capture_environment, read_context
from trine.tracking.frames import POINT, Ending, pack_columns, pack_point, pack_use
from trine.tracking.outbox import Outbox
from trine.tracking.playback import REPRODUCES, play_back
from trine.tracking.reading import get_run, resolve
from trine.tracking.runs import Artifact, Ended, RunInfo, check_key, is_text
from trine.tracking.series import Points
from trine.tracking.spool import collect
from trine.tracking.system import EVERY_S, Sampler
from trine.workspace import Workspace, active_producer, current_workspace, recording_uses

_active: contextvars.ContextVar[Run | None] = contextvars.ContextVar("trine_run", default=None)


class _Process:
    """How many runs this process has made, children and such without capture apart."""

    runs = 0


def active_run() -> Run | None:
    """The innermost run whose block is open in this context, or None. Threads begin without one."""
    return _active.get()


def run(
    experiment: str = "",
    *,
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    parent: Run | RunInfo | str | None = None,
    resume: Run | RunInfo | str = "",
    fork: Run | RunInfo | str | tuple[Run | RunInfo | str, int] = "",
    capture: bool = True,
    system_s: float = EVERY_S,
    ws: Workspace | None = None,
) -> Run:
    """Start a run of an experiment (when none is said: its parent's, else "default"), or go on with one (`resume`: its id,
    the beginning of it, or its name). Use it as a context manager.

    Every `system_s` seconds (0: never) it logs what the machine does, as metrics `system/…`, unless it is a child here.
    `fork=(run, 400)` starts a run that has the params of another and its points up to step 400, and goes on from there.

    An exception in the block marks the run failed and goes on. Inside another run's block it becomes a child of that run;
    `parent` names another, or none (""). With `capture` the git state, the environment, arguments and random states are recorded.
    Resuming a run that another live process keeps open joins it: the run ends with that process, not here.
    """
    ws = ws or current_workspace()
    if not resume and not fork and parent is None and active_run() is None and (given := suggestions.take_run()):
        resume = given
    if resume and fork:
        raise InvalidInput("A run is resumed or forked, not both: resume goes on with it, fork makes another.")
    if resume:
        return _resume(ws, resume, params, tags, system_s)
    origin, step = fork if isinstance(fork, tuple) else (fork, None)
    source = get_run(origin, ws=ws) if origin else None
    above = active_run() if parent is None else parent
    if isinstance(above, Run) and parent is None and (above.ws.location, above.ws.project) != (ws.location, ws.project):
        above = None
    identity, session = new_id(), new_id()
    outbox = Outbox(ws, identity, session=session, owner=True, steps={})
    code = environment = problem = ""
    if capture and isinstance(above, Run):
        code, environment = above.captured
    elif capture:
        code, problem = capture_quietly(ws)
        environment = capture_environment(ws=ws)
    values: dict[str, Any] = {
        "experiment_name": experiment or _experiment_of(source, above),
        "id": identity,
        "name": name,
        "params": as_texts(params or {}, "param"),
        "tags": as_texts(tags or {}, "tag"),
        "parent": resolve(ws, above) if above else "",
        "session": session,
        "code": code,
        "environment": environment,
        "producer": active_producer(),
    }
    if capture:
        top = not isinstance(above, Run)
        values["context"] = read_context(problem, ws=ws if top else None, number=_Process.runs)
        _Process.runs += top
    if source:
        values |= {"forked_from": source.id, "fork_step": None if step is None else as_step("fork", step)}
    outbox.open()  # before the run is there, so a run without a live process is always found
    try:
        made = door.create_run(ws, **values)
    except BaseException:
        outbox.abandon()
        raise
    outbox.count_on({key: one.last_step + 1 for key, one in made.metrics.items()})
    if capture and os.environ.get(REPRODUCES):
        play_back(ws, made)
    started = Run(outbox, made)
    if system_s > 0 and not isinstance(above, Run):
        started.sample_system(system_s)
    return started


def _experiment_of(*others: Run | RunInfo | str | None) -> str:
    return next((one.experiment for one in others if isinstance(one, (Run, RunInfo))), "default")


def _resume(
    ws: Workspace,
    run: Run | RunInfo | str,
    params: Mapping[str, Any] | None,
    tags: Mapping[str, Any] | None,
    system_s: float,
) -> Run:
    identity = resolve(ws, run)
    collect(ws, identity)
    session = new_id()
    opened = door.reopen_run(ws, id=identity, session=session)
    steps = {key: summary.last_step + 1 for key, summary in opened.run.metrics.items()}
    outbox = Outbox(ws, identity, session=session, owner=opened.owner, steps=steps)
    outbox.open()
    made = Run(outbox, opened.run)
    if params:
        made.params(params)
    if tags:
        made.tags(tags)
    if system_s > 0 and opened.owner:
        made.sample_system(system_s)
    return made


class Run:
    """A run that this process writes. Threads may share it; a forked child may log to it and does not end it."""

    def __init__(self, outbox: Outbox, info: RunInfo) -> None:
        self._outbox = outbox
        self.ws = outbox.ws
        self.id = info.id
        self.experiment = info.experiment
        self.name = info.name
        self.captured = info.code or "", info.environment
        self.fits = 0
        self._used = set(info.inputs)
        self._open = ExitStack()
        self._sampler: Sampler | None = None

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"run:{self.id}"

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id}>"

    def _repr_html_(self) -> str:
        """A notebook's view of it, as it is now."""
        return get_run(self, ws=self.ws)._repr_html_()  # pyright: ignore[reportPrivateUsage]

    # -- metrics --------------------------------------------------------------------------------------------------

    def log(
        self, key: str | Mapping[str, Any], value: Any = None, *, step: int | None = None, time: Time | None = None
    ) -> None:
        """Log a metric, or several as a mapping. Takes about a microsecond, never waits, and survives kill -9 of the process.

        Without a step a metric counts its own, from 0. Values are floats; NaN and infinities are kept as they are. On a full
        disk the point is dropped, a warning says so once, and the run is marked lossy.
        """
        sink = self._outbox.sink
        try:
            entry = sink.keys[key]
            at = entry[1] if step is None else step
            when = time_ns() // 1_000 if time is None else as_micros(time)
            sink.append(pack_point(POINT, entry[0], at, when, value))
            entry[1] = at + 1
        except (KeyError, TypeError, ValueError, OverflowError, struct.error, Failure):
            self._log_with_care(key, value, step, time)

    def _log_with_care(self, key: Any, value: Any, step: Any, time: Any) -> None:
        """The same for what the short way does not take: a first point, many keys, a changed segment, bad input."""
        if isinstance(key, Mapping):
            if value is not None:
                raise InvalidInput("Give metrics as a mapping, or as one name and one value.")
            when = now_us() if time is None else as_micros(time)
            for name, one in key.items():  # pyright: ignore[reportUnknownVariableType]
                self.log(name, one, step=step, time=when)  # pyright: ignore[reportUnknownArgumentType]
            return
        number, when = as_number(check_key(key), value), now_us() if time is None else as_micros(time)
        self._append(key, step, lambda sort, at: pack_point(POINT, sort, at, when, number), 1)

    def _append(self, key: str, step: Any, frame: Any, points: int) -> None:
        while True:
            sink = self._outbox.sink
            try:
                sink, entry = self._outbox.entry(key)
                start = as_step(key, entry[1] if step is None else step)
                sink.append(frame(entry[0], start))
                entry[1] = start + points
                return
            except Failure as error:
                if sink is self._outbox.sink:  # else it was changed for another meanwhile
                    self._outbox.lose(points, error)
                    return

    def log_batch(self, key: str, values: Any, steps: Any = None, times: Any = None) -> None:
        """Log many points of one metric at once, from arrays or sequences of one length.

        Without `steps` they go on from the last one; without `times` all have this moment. Times are datetimes or
        microseconds since the epoch.
        """
        columns = as_points(check_key(key), values, steps, times)
        for start in range(0, len(columns.values), 100_000):
            part = columns.take(slice(start, start + 100_000))
            size = len(part.values)
            first = None if steps is None else int(part.steps[-1]) - size + 1
            self._append(key, first, lambda sort, at, part=part: _frame(sort, at, part, steps is None), size)

    # -- what it is -----------------------------------------------------------------------------------------------

    def param(self, name: str, value: Any) -> None:
        """Set a param. A param is written once; another value for it raises Conflict."""
        self.params({name: value})

    def params(self, values: Mapping[str, Any]) -> None:
        """Set several params in one step; all or none are written."""
        door.set_params(self.ws, id=self.id, params=as_texts(values, "param"))

    def tag(self, name: str, value: Any = "") -> None:
        """Set a tag; the last value stays."""
        self.tags({name: value})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set several tags in one step."""
        door.set_tags(self.ws, id=self.id, tags=as_texts(values, "tag"))

    def use(self, node: str) -> None:
        """Say that the run read a versioned thing (`dataset:flights@3a91c2…`); what Trine loads itself is recorded by itself."""
        if not isinstance(node, str) or not re.fullmatch(r"[^\s:]+:\S[^\x00-\x1f]*", node) or not is_text(node):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInput(f"{node!r} is no node: write kind:name@version, for instance dataset:flights@3a91c2.")
        if node not in self._used and node != self.node:
            self._used.add(node)
            try:
                self._outbox.write(pack_use(node))
            except Failure as error:
                self._outbox.tell(error, f"That run {self.name} used {node} is not recorded.")

    # -- artifacts ------------------------------------------------------------------------------------------------

    def log_artifact(self, path: Path | str, name: str = "") -> Artifact:
        """Keep a file with the run, under its own name or `name` (`plots/roc.png`); durable when it returns."""
        path = Path(path)
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder. Keep what is in it with: run.log_artifacts({str(path)!r})")
        return self._keep({name or path.name: path})[0]

    def log_artifacts(self, folder: Path | str, prefix: str = "") -> list[Artifact]:
        """Keep all files of a folder with the run, below `prefix`."""
        folder = Path(folder)
        if not folder.is_dir():
            raise NotFound(f"{folder} is no folder.")
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        return self._keep({start + path.relative_to(folder).as_posix(): path for path in files_below(folder)})

    def log_text(self, text: str, name: str) -> Artifact:
        """Keep a text with the run, as UTF-8."""
        return self._keep({name: text.encode()})[0]

    def log_json(self, value: Any, name: str) -> Artifact:
        """Keep a JSON-able value with the run."""
        try:
            encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
        except TypeError as error:
            raise InvalidInput(f'"{name}" cannot be written as JSON: {error}.') from None
        return self._keep({name: encoded})[0]

    # -- media ----------------------------------------------------------------------------------------------------

    def log_image(self, value: Any, name: str, *, step: int | None = None) -> Artifact:
        """Keep an image: a path, image bytes, a PIL image, or an array (height, width[, channels]). With steps: one of several."""
        return self._keep_medium(media.image(value), name, step)

    def log_figure(self, value: Any, name: str, *, step: int | None = None) -> Artifact:
        """Keep a figure of matplotlib (as PNG) or plotly (as a page)."""
        return self._keep_medium(media.figure(value), name, step)

    def log_table(self, value: Any, name: str, *, step: int | None = None) -> Artifact:
        """Keep a frame, or columns, as Parquet."""
        return self._keep_medium(media.table(value), name, step)

    def log_histogram(self, values: Any, name: str, *, step: int | None = None, bins: int = 64) -> Artifact:
        """Keep how values are distributed: counts in equal bins."""
        return self._keep_medium(media.histogram(values, bins), name, step)

    def log_audio(self, samples: Any, name: str, *, rate: int = 16_000, step: int | None = None) -> Artifact:
        """Keep sound as WAV: samples (n) or (n, channels), floats from -1 to 1 or int16."""
        return self._keep_medium(media.audio(samples, rate), name, step)

    def log_html(self, text: str, name: str, *, step: int | None = None) -> Artifact:
        """Keep a page."""
        return self._keep_medium((".html", text.encode()), name, step)

    def _keep_medium(self, made: media.Media, name: str, step: int | None) -> Artifact:
        ending, content = made
        place = media.path_of(check_path(name), ending, None if step is None else as_step(name, step))
        return self._keep({place: content})[0]

    def _keep(self, content: Mapping[str, Path | bytes]) -> list[Artifact]:
        names = [check_path(name) for name in content]
        files = [one for one in content.values() if isinstance(one, Path)]
        texts = [one for one in content.values() if isinstance(one, bytes)]
        stored = iter(
            [*self.ws.store.put_files(files), *zip(self.ws.store.put_many(texts), map(len, texts), strict=True)]
        )
        made = [Artifact(name, *next(stored)) for name in names]
        for start in range(0, len(made), 1_000):
            door.record_artifacts(self.ws, id=self.id, artifacts=made[start : start + 1_000])
        return made

    def sample_system(self, every_s: float = EVERY_S) -> None:
        """Log what the machine does from here on, until the run ends here; again does nothing."""
        if self._sampler is None:
            write = weakref.WeakMethod(self.log)
            self._sampler = Sampler(lambda values: _write_to(write, values), every_s=every_s)

    # -- its course -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring everything logged so far into the ledger; durable there when this returns. Raises Unavailable or NoSpace."""
        self._outbox.deliver()

    def finish(self, state: Ended | None = None, reason: str = "") -> None:
        """End the run (`finished` when nothing is said) and bring everything into the ledger; again does nothing.

        Where this process only joined a run, it leaves it open, unless it says a state.
        """
        if self._sampler is not None:
            self._sampler.stop()
        collect(self.ws, self.id, living=False)
        wanted = state or ("finished" if self._outbox.owner else "")
        self._outbox.close(Ending(wanted, reason[:4_000], now_us()))

    def __enter__(self) -> Run:
        self._open.enter_context(recording_uses(self.use, self.node))
        mark = _active.set(self)
        self._open.callback(_active.reset, mark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.finish()
            return
        state = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
        self.finish(state if self._outbox.owner else None, f"{type(error).__name__}: {error}".rstrip(": "))


def _write_to(log: weakref.WeakMethod[Any], values: dict[str, float]) -> None:
    """A run that is gone takes no samples any more."""
    if (write := log()) is not None:
        write(values)


def _frame(sort: int, start: int, part: Points, counted: bool) -> bytes:
    import numpy as np

    steps = start + np.arange(len(part.values)) if counted else part.steps
    return pack_columns(sort, Points(steps, part.times, part.values))
