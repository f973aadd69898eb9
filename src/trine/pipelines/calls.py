"""One attempt of one step: its inputs are read, the function runs, its outputs become durable. Executors run these."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import InvalidInput, TrineError
from trine.pipelines import logs
from trine.pipelines.graph import GraphStep
from trine.pipelines.kinds import output_kinds
from trine.pipelines.places import is_local_file
from trine.pipelines.records import StepError
from trine.pipelines.steps import Step
from trine.pipelines.values import Decoder, Encoder, Value, readable
from trine.workspace import Workspace, recording_uses, using


class Stopped(BaseException):
    """Raised inside a step that is to end: it ran out of time, or its run was cancelled."""


class Outcome(msgspec.Struct, kw_only=True):
    """What came of an attempt. `retryable` says that the step's own rule allows another one."""

    outputs: list[Value] = []
    uses: list[str] = []
    resolved: dict[str, str] = {}
    error: StepError | None = None
    retryable: bool = False
    stopped: bool = False
    duration_us: int = 0


@dataclass
class StepCall:
    """What an executor needs to run a step: the step, its place in a run, and its inputs.

    In this process `outputs` gives what other steps made; `stored` is the same as stored values, for other processes.
    """

    ws: Workspace
    run: str
    step: Step[..., Any]
    node: GraphStep
    stored: dict[str, list[Value]]
    log: logs.StepLog
    pickled: frozenset[str] = frozenset()
    """Keys of the steps of this run that may store with pickle: their outputs may be read so."""
    outputs: Callable[[str, int | None], Any] | None = None
    made: list[Any] = field(default_factory=list[Any])
    """The outputs themselves, when the attempt ran in this process."""

    def execute(self) -> Outcome:
        """Run the step here. Never raises, except Stopped."""
        outcome = Outcome()
        uses: dict[str, None] = {}
        started = time.perf_counter()
        producer = f"step_run:{self.run}/{self.node.key}"
        try:
            with (
                self._inside(),
                recording_uses(lambda node: uses.setdefault(node), producer, outcome.resolved.__setitem__),
            ):
                self.made = self._outputs_of(self._run())
                outcome.outputs = store_outputs(self.ws, self.step, self.made)
        except Stopped:
            outcome.stopped = True
        except BaseException as error:  # also SystemExit: a step's exit is its failure, not the run's
            outcome.error = describe(error)
            outcome.retryable = isinstance(error, self.step.retry_on)
            self.log.write("".join(traceback.format_exception(error)))
        finally:
            self.log.close()
        outcome.uses = list(uses)
        outcome.duration_us = round((time.perf_counter() - started) * 1e6)
        return outcome

    @contextlib.contextmanager
    def _inside(self) -> Generator[None]:
        with using(self.ws), logs.capturing(self.log):
            yield

    def _run(self) -> Any:
        decoder = decoder_of(self.ws, outputs=self.outputs or self._from_store)
        values = {name: decoder.decode(document) for name, document in self.node.inputs.items()}
        signature = self.step.signature
        if unknown := [name for name in values if name not in signature.parameters]:
            raise InvalidInput(f'Step "{self.step.name}" has no parameter "{unknown[0]}" any more; start a new run.')
        bound = signature.bind_partial()
        bound.arguments.update({name: values[name] for name in signature.parameters if name in values})
        return self.step.function(*bound.args, **bound.kwargs)

    def _from_store(self, key: str, item: int | None) -> Any:
        return load_output(self.ws, self.stored[key], item, pickle=key in self.pickled)

    def _outputs_of(self, result: Any) -> list[Any]:
        """A step's outputs: one, or as many as its annotated tuple has."""
        expected = output_kinds(self.step.function)
        if expected is None:
            return [result]
        if not isinstance(result, tuple) or len(result) != len(expected):
            got = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
            raise InvalidInput(
                f'Step "{self.step.name}" is annotated to return {len(expected)} values; it returned {got}.'
            )
        return list(result)


def store_outputs(ws: Workspace, step: Step[..., Any], outputs: list[Any]) -> list[Value]:
    """Make outputs durable. Raises InvalidInput naming the step and the type that cannot be stored."""
    encoder = Encoder(ws.store, pickle=step.pickle)
    try:
        stored = [encoder.value(one) for one in outputs]
    except InvalidInput as error:
        raise InvalidInput(f'The output of step "{step.name}": {error.message}.') from error
    encoder.save()
    return stored


def decoder_of(
    ws: Workspace, *, pickle: bool = False, outputs: Callable[[str, int | None], Any] | None = None
) -> Decoder:
    """A reader of values; files land in the workspace's cache on this machine."""
    return Decoder(ws.store, ws.spool.parent / "cache" / "files", pickle=pickle, outputs=outputs)


def load_output(ws: Workspace, stored: list[Value], item: int | None, *, pickle: bool) -> Any:
    """One output of a step, read back from where it is kept."""
    return decoder_of(ws, pickle=pickle).value(stored[item or 0])


def describe(error: BaseException) -> StepError:
    """An exception for people: class, message, and the last frames of the project's own code."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    message = error.message if isinstance(error, TrineError) else str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_local_file(frame.filename)] or list(frames)[-1:]
    lines = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" + (f"\n    {frame.line}" if frame.line else "")
        for frame in own[-6:]
    ]
    return StepError(name, readable(message[:2_000]), readable("\n".join(lines)[:4_000]))
