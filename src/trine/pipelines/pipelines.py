"""Pipelines: functions that say which steps there are. Called outside a run, a pipeline is its function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from trine.errors import InvalidInput, nearest
from trine.pipelines.kinds import hint, is_kind, kinds, shown
from trine.pipelines.steps import check_function

if TYPE_CHECKING:
    from trine.pipelines.runs import PipelineRun
    from trine.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


class Pipeline(Generic[P, R]):
    """A function whose calls of steps make a DAG; made by `@pipeline`."""

    def __init__(
        self, function: Callable[P, R], *, name: str = "", executor: str = "thread", parallel: int = 0
    ) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "")
        self.executor = executor
        self.parallel = parallel
        check_function(function, "pipeline", self.name)
        if parallel < 0:
            raise InvalidInput(f'Pipeline "{self.name}": parallel is {parallel}; it is a number of steps, or 0.')
        for parameter in self.signature.parameters.values():
            if parameter.name == "ws" or parameter.kind not in (
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                inspect.Parameter.KEYWORD_ONLY,
            ):
                raise InvalidInput(
                    f'Pipeline "{self.name}": parameter "{parameter}" cannot be: parameters are given by name, '
                    'and "ws" is the workspace of a run.'
                )
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def run(self, *, ws: Workspace | None = None, **params: Any) -> PipelineRun:
        """Run it durably and wait: steps in parallel as soon as their inputs are there, cached, resumable after a crash.

        Raises Failure naming the step that failed and the command that goes on. More options: `trine.pipelines.run`.
        """
        from trine.pipelines.runs import run

        return run(self, params, ws=ws)

    def resume(self, run_id: str, *, ws: Workspace | None = None) -> PipelineRun:
        """Go on with a run that failed or was interrupted: what is finished is not done again."""
        from trine.pipelines.runs import resume

        return resume(run_id, pipeline=self, ws=ws)

    def bind(self, params: Mapping[str, Any], *, texts: bool = False) -> dict[str, Any]:
        """The parameters with defaults filled in, checked against the hints. `texts` come from a command line and are converted."""
        known = self.signature.parameters
        for name in params:
            if name not in known:
                told = nearest(name, known) or (f" It has: {', '.join(known)}." if known else " It has none.")
                raise InvalidInput(f'Pipeline "{self.name}" has no parameter "{name}".{told}', parameter=name)
        values: dict[str, Any] = {}
        for name, parameter in known.items():
            if name in params:
                given = params[name]
                values[name] = (
                    self._read(name, given) if texts and isinstance(given, str) else self._fitted(name, given)
                )
            elif parameter.default is inspect.Parameter.empty:
                raise InvalidInput(f'Pipeline "{self.name}" needs the parameter "{name}".', parameter=name)
            else:
                values[name] = parameter.default
        return values

    def _fitted(self, name: str, value: Any) -> Any:
        """A parameter as it is when its hint allows it, else as the JSON of what the hint says (a date, a dataclass)."""
        wanted = hint(self.function, name)
        if is_kind(value, kinds(wanted)):
            return value
        import msgspec

        try:
            return msgspec.convert(value, wanted)
        except (msgspec.ValidationError, TypeError):
            raise InvalidInput(
                f'Pipeline "{self.name}": parameter "{name}" is {shown(kinds(wanted))}, not a {type(value).__name__}.',
                parameter=name,
            ) from None

    def _read(self, name: str, text: str) -> Any:
        """A parameter from the command line: as its hint says; without a hint, JSON or else the text itself."""
        from pathlib import Path

        import msgspec

        wanted = hint(self.function, name)
        if wanted is str or wanted is Path:
            return wanted(text)
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError):
            value = text
        if wanted is Any:
            return value
        for given in (value, text):
            try:
                return msgspec.convert(given, wanted, strict=False)
            except msgspec.ValidationError as error:
                problem = str(error)
            except TypeError:  # a class that cannot come from text
                return value
        raise InvalidInput(f'Pipeline "{self.name}": parameter "{name}": {problem}.', parameter=name)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, name: str = "", executor: str = "thread", parallel: int = 0
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a pipeline: its body calls steps and returns their outputs.

    `executor` says where steps run ("thread", "process", or one that a package adds); `parallel` is how many at once
    (0: as many as there are processor cores).
    """
    if function is not None:
        return Pipeline(function, **options)
    return lambda wrapped: Pipeline(wrapped, **options)
