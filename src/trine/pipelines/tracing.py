"""Tracing: a pipeline's body is run once with symbols instead of outputs, and what it calls becomes the graph."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from trine.errors import InvalidInput, TrineError
from trine.pipelines.kinds import Kinds, fit, hint, is_kind, kinds, output_kinds, shown
from trine.pipelines.steps import Step, tracer

_PLAIN = "A pipeline's body only says which steps there are; what looks at values belongs into a step."


class Symbol:
    """Stands for the output of a step while a pipeline is traced; `item` is its place in a tuple of outputs."""

    __slots__ = ("call", "item", "kinds")

    def __init__(self, call: Call, item: int | None, kinds: Kinds) -> None:
        self.call = call
        self.item = item
        self.kinds = kinds

    def __repr__(self) -> str:
        return f"<output of step {self.call.step.name}>"

    def _refuse(self, doing: str, instead: str = "") -> NoReturn:
        raise InvalidInput(
            f'{_place()}: {doing} the output of step "{self.call.step.name}", which has no value yet. {instead or _PLAIN}'
        )

    def __bool__(self) -> bool:
        self._refuse(
            "`if`, `while`, `and`, `or` or `not` on", "Decide inside a step, or on a parameter of the pipeline."
        )

    def __iter__(self) -> Iterator[Any]:
        self._refuse(
            "iterating over or unpacking",
            "To unpack several outputs, annotate the step's return type: -> tuple[int, str]. "
            "To loop over a list that a step makes, loop inside a step.",
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python itself asks for these
            raise AttributeError(name)
        self._refuse(f'taking ".{name}" of', "Take it inside the step that needs it.")

    def __getitem__(self, key: Any) -> Any:
        self._refuse(f"taking [{key!r}] of", "Take it inside the step that needs it.")

    def __str__(self) -> str:
        self._refuse("printing or formatting")

    def __format__(self, spec: str) -> str:
        self._refuse("formatting")

    def __eq__(self, other: object) -> bool:
        self._refuse("comparing", "Decide inside a step, or on a parameter of the pipeline.")

    __hash__ = object.__hash__


def _refusal(operation: str) -> Callable[..., Any]:
    def refuse(self: Symbol, *_: Any) -> NoReturn:
        self._refuse(f"{operation} on", "")  # pyright: ignore[reportPrivateUsage]

    return refuse


for _name, _operation in {
    **dict.fromkeys(
        ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "mod"), "arithmetic"
    ),
    **dict.fromkeys(
        ("pow", "neg", "abs", "matmul", "and", "or", "xor", "invert", "int", "float", "round"), "arithmetic"
    ),
    **dict.fromkeys(("lt", "le", "gt", "ge", "ne"), "comparing"),
    **dict.fromkeys(("len", "contains", "setitem", "call"), "calling, `len` or `in`"),
}.items():
    setattr(Symbol, f"__{_name}__", _refusal(_operation))


@dataclass(eq=False)
class Call:
    """One call of a step in the body: its key in the run, and its arguments by parameter."""

    step: Step[..., Any]
    key: str
    bound: inspect.BoundArguments
    place: str


@dataclass
class Trace:
    """What a body did: the calls in order, and what it returned."""

    calls: list[Call]
    result: Any


class _Tracer:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.steps: dict[str, Step[..., Any]] = {}
        self.keys: set[str] = set()

    def call(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = _place()
        known = self.steps.setdefault(step.name, step)
        if known.function is not step.function:
            raise InvalidInput(
                f'{place}: two steps are called "{step.name}". Name one of them: @step(name="…").', step=step.name
            )
        try:
            bound = step.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidInput(f'{place}: step "{step.name}": {error}.', step=step.name) from None
        _check_arguments(step, bound, place)
        bound.apply_defaults()
        call = Call(step, self._key(step.name), bound, place)
        self.calls.append(call)
        outputs = output_kinds(step.function)
        if outputs is None:
            return Symbol(call, None, kinds(hint(step.function, "return")))
        return tuple(Symbol(call, item, kind) for item, kind in enumerate(outputs))

    def _key(self, name: str) -> str:
        key, number = name, 1
        while key in self.keys:
            number += 1
            key = f"{name}-{number}"
        self.keys.add(key)
        return key


def _check_arguments(step: Step[..., Any], bound: inspect.BoundArguments, place: str) -> None:
    for name, value in bound.arguments.items():
        if step.signature.parameters[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        wanted = kinds(hint(step.function, name))
        if isinstance(value, Symbol):
            if not fit(value.kinds, wanted):
                raise InvalidInput(
                    f'{place}: "{name}" of step "{step.name}" is {shown(wanted)}, '
                    f'but step "{value.call.step.name}" gives {shown(value.kinds)}.',
                    step=step.name,
                )
        elif not is_kind(value, wanted):
            raise InvalidInput(
                f'{place}: "{name}" of step "{step.name}" is {shown(wanted)}, but it is given {_short(value)}.',
                step=step.name,
            )


def _short(value: Any) -> str:
    text = repr(value)
    return f"a {type(value).__name__}" if len(text) > 60 else f"{text}, a {type(value).__name__}"


def _place() -> str:
    """Where in the user's code we are: file:line."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("trine.pipelines"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def trace(name: str, body: Callable[..., Any], arguments: Mapping[str, Any]) -> Trace:
    """Run a pipeline's body with its parameters and take down the calls. Nothing of a step is run."""
    tracing = _Tracer()
    mark = tracer.set(tracing)
    try:
        result = body(**arguments)
    except TrineError:
        raise
    except Exception as error:
        raise InvalidInput(
            f'The body of pipeline "{name}" failed while it was read, before any step ran: {type(error).__name__}: {error}'
        ) from error
    finally:
        tracer.reset(mark)
    return Trace(tracing.calls, result)
