"""What type hints say: which classes a value may have, and whether one step's output can be another's input."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

Kinds = tuple[type, ...] | None
"""The classes a hint allows, or None when it does not say (no hint, Any, a type variable, …)."""


def hint(function: Callable[..., Any], name: str) -> Any:
    """The hint of one parameter (or `return`), evaluated; Any when there is none or it cannot be evaluated here."""
    found = inspect.get_annotations(function).get(name, Any)
    if isinstance(found, str):
        names = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        local: dict[str, Any] = {}
        for free, cell in names.items():
            try:
                local[free] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        try:
            return eval(found, function.__globals__, local)
        except Exception:  # a name that only the type checker has: the hint says nothing at run time
            return Any
    return found


def kinds(given: Any) -> Kinds:
    """The plain classes that a hint allows: `list` for list[int], two for int | str."""
    origin = get_origin(given)
    if origin is Annotated:
        return kinds(get_args(given)[0])
    if origin in (typing.Union, types.UnionType):
        every = [kinds(one) for one in get_args(given)]
        return None if None in every else tuple(kind for one in every if one for kind in one)
    if given is None:
        return (type(None),)
    plain = dict if typing.is_typeddict(given) else origin or given
    if not isinstance(plain, type) or plain in (object, Any) or getattr(plain, "_is_protocol", False):
        return None
    return (plain,)


def output_kinds(function: Callable[..., Any]) -> list[Kinds] | None:
    """The kinds of each output of a function that is annotated to return a tuple of fixed length, else None."""
    found = hint(function, "return")
    if get_origin(found) is not tuple:
        return None
    parts = get_args(found)
    return None if Ellipsis in parts or not parts else [kinds(part) for part in parts]


def fit(given: Kinds, wanted: Kinds) -> bool:
    """Whether a value of one of these kinds can be where those are wanted; what is not known fits."""
    return given is None or wanted is None or any(_related(one, other) for one in given for other in wanted)


def _related(given: type, wanted: type) -> bool:
    if wanted in (float, complex) and issubclass(given, (int, float)):
        return True
    return issubclass(given, wanted) or issubclass(wanted, given)


def is_kind(value: Any, wanted: Kinds) -> bool:
    """Whether a value is of one of the kinds."""
    if wanted is None:
        return True
    return any(isinstance(value, one) or (one in (float, complex) and isinstance(value, int)) for one in wanted)


def shown(some: Kinds) -> str:
    """The kinds as one would write them."""
    return " | ".join("None" if one is type(None) else one.__name__ for one in some or ())
