"""Steps: typed functions that a pipeline run keeps the results of. Called outside a run, a step is its function."""

from __future__ import annotations

import contextvars
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from trine.errors import InvalidInput

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
LONGEST_WAIT_S = 600.0
"""Backoff doubles with every attempt, up to this."""


class Tracer(Protocol):
    """Who takes down the calls of a pipeline's body instead of running them."""

    def call(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


tracer: contextvars.ContextVar[Tracer | None] = contextvars.ContextVar("trine_tracer", default=None)


class Step(Generic[P, R]):
    """A function with what a run needs to know about it; made by `@step`."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str = "",
        retries: int = 0,
        backoff_s: float = 1.0,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        timeout_s: float | None = None,
        cache: bool = True,
        salt: str = "",
        pickle: bool = False,
    ) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "")
        self.retries = retries
        self.backoff_s = backoff_s
        self.retry_on = retry_on
        self.timeout_s = timeout_s
        self.cache = cache
        self.salt = salt
        self.pickle = pickle
        self._check()
        functools.update_wrapper(self, function)

    def _check(self) -> None:
        check_function(self.function, "step", self.name)
        if self.retries < 0 or self.backoff_s < 0:
            raise InvalidInput(f'Step "{self.name}": retries and backoff_s cannot be negative.')
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InvalidInput(f'Step "{self.name}": timeout_s is {self.timeout_s}; it must be above zero.')
        for one in self.retry_on:
            if not (isinstance(cast(Any, one), type) and issubclass(cast(Any, one), BaseException)):
                raise InvalidInput(f'Step "{self.name}": retry_on takes exception classes, for instance (OSError,).')

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracing = tracer.get()
        if tracing is not None:
            return tracing.call(self, args, kwargs)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt."""
        return min(self.backoff_s * 2.0 ** min(attempt - 1, 60), LONGEST_WAIT_S)


def check_function(function: Any, kind: str, name: str) -> None:
    """Raise InvalidInput for what cannot be a step or pipeline."""
    if not inspect.isfunction(function):
        raise InvalidInput(f"@{kind} goes on a function, not on a {type(function).__name__}.")
    if not NAME.fullmatch(name):
        raise InvalidInput(f'"{name}" is no name for a {kind}: letters, digits, "_", "." and "-", at most 100.')
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidInput(f'{kind.capitalize()} "{name}" is async or a generator; it must be a function that returns.')
    if next(iter(inspect.signature(function).parameters), "") in ("self", "cls"):
        raise InvalidInput(f'{kind.capitalize()} "{name}" is a method; write it as a function and pass what it needs.')


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str = "",
    retries: int = 0,
    backoff_s: float = 1.0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = (Exception,),
    timeout_s: float | None = None,
    cache: bool = True,
    salt: str = "",
    pickle: bool = False,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = (Exception,),
    **options: Any,
) -> Any:
    """Make a function a step.

    `retries` more attempts follow an exception of `retry_on`, after `backoff_s`, twice that, and so on. `timeout_s` ends
    an attempt (what that can do depends on the executor). A step whose code and inputs did not change is not run again
    unless `cache` is False; `salt` is part of its key. `pickle=True` allows outputs that only pickle can store.
    """
    errors = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if function is not None:
        return Step(function, retry_on=errors, **options)
    return lambda wrapped: Step(wrapped, retry_on=errors, **options)
