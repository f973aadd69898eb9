"""The arguments of a call over HTTP: text in path and query becomes values here; the door checks them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect
from starlette.requests import Request

from trine.errors import InvalidInput
from trine.operations import Operation
from trine.remote import MSGPACK


def arguments_of(one: Operation, request: Request, in_path: Sequence[str], body: bytes) -> dict[str, Any]:
    """A call's arguments by name, from path, query and body."""
    values: dict[str, Any] = {}
    if one.method in ("GET", "DELETE"):
        known = one.arguments.__struct_fields__
        for name in request.query_params:
            texts = request.query_params.getlist(name)
            values[name] = _value(one, name, texts) if name in known else texts  # the door refuses an unknown one
    elif body:
        values = _read(one, request.headers.get("content-type", ""), body)
    for name, text in zip(one.path_parameters, in_path, strict=True):
        values[name] = _value(one, name, [text])
    return values


def _read(one: Operation, content_type: str, body: bytes) -> dict[str, Any]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json", MSGPACK):
        raise InvalidInput(f"The body of {one.name} is {kind[:80]}; send application/json or {MSGPACK}.")
    try:
        found = msgspec.msgpack.decode(body) if kind == MSGPACK else msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        form = "MessagePack" if kind == MSGPACK else "JSON"
        raise InvalidInput(f"The body of {one.name} is not valid {form}: {error}.") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InvalidInput(f"The body of {one.name} must be an object with its arguments, not {type(found).__name__}.")
    return found


def _value(one: Operation, name: str, texts: list[str]) -> Any:
    is_list, is_text, kind = _kinds(one)[name]
    if is_text:
        return texts if is_list else texts[-1]
    try:
        return msgspec.convert(texts if is_list else texts[-1], kind, strict=False)
    except msgspec.ValidationError as error:
        problem = str(error)
    raise InvalidInput(f'{one.name}: wrong value for "{name}": {problem[:1].lower()}{problem[1:]}.', argument=name)


@functools.cache
def _kinds(one: Operation) -> dict[str, tuple[bool, bool, Any]]:
    """Of each argument: whether it is a list, whether it (or an item of it) may be any text, and its type."""
    found: dict[str, tuple[bool, bool, Any]] = {}
    for field in msgspec.structs.fields(one.arguments):
        options = _options(inspect.type_info(field.type))
        items = [_options(each.item_type) for each in options if isinstance(each, inspect.ListType)]
        is_text = any(isinstance(each, inspect.StrType) for each in (items[0] if items else options))
        found[field.name] = (bool(items), is_text, field.type)
    return found


def _options(kind: inspect.Type) -> list[inspect.Type]:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return [each for option in kind.types for each in _options(option)]
    return [kind]
