"""A request as its handler sees it, and the table of handlers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trine.server.mlflow import limits
from trine.server.mlflow.errors import WireError, invalid, needed, wrong_type
from trine.workspace import Workspace

Json = dict[str, Any]


class Call:
    """What is asked: values of body or query by name (of a query always text, or a list of it), and who asks (`ws`)."""

    def __init__(self, ws: Workspace, values: Json, *, deliver: Callable[[str], None] = lambda _: None) -> None:
        self.ws = ws
        self.values = values
        self.deliver = deliver
        """Brings what was logged of a run (or of all: "") into the ledger, before it is read."""

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without a default it has to be there. The other spelling (`runId`) is taken too."""
        value = self.get(name)
        if value is None or (value == "" and default is None):
            if default is None:
                raise needed(name)
            return default
        if isinstance(value, list) and value and isinstance(value[-1], str):  # pyright: ignore[reportUnknownArgumentType]
            return value[-1]  # a query that names it more than once
        if not isinstance(value, str):
            raise wrong_type(name, value)
        return value

    def whole(self, name: str, default: int | None = None) -> int | None:
        value = self.get(name)
        return default if value is None or value == "" else limits.check_whole(value, name)

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value in (None, True, False):
            return bool(value)
        if str(value).lower() not in ("true", "false"):
            raise invalid(f"Invalid boolean value: {value}, must be 'true' or 'false'.")
        return str(value).lower() == "true"

    def list(self, name: str) -> list[Any]:
        value = self.get(name)
        if value is None:
            return []
        if isinstance(value, str) and self.values.get("") == "query":
            return [value]
        if not isinstance(value, list):
            raise wrong_type(name, value)
        return value  # pyright: ignore[reportUnknownVariableType]

    def texts(self, name: str) -> list[str]:
        found = self.list(name)
        for one in found:
            if not isinstance(one, str):
                raise wrong_type(name, found)
        return found

    def pairs(self, name: str) -> dict[str, str]:
        """A list of `{"key": …, "value": …}`."""
        return pairs(self.list(name), name)

    def get(self, name: str) -> Any:
        found = self.values.get(name)
        return self.values.get(_camel(name)) if found is None else found

    def results(self, default: int, most: int = limits.MOST_RESULTS) -> int:
        """How many results are asked for."""
        found = self.whole("max_results")
        if found is None:
            return default
        if not 1 <= found <= most:
            raise invalid(
                f"Invalid value {found} for parameter 'max_results' supplied: It must be at most {most} and at least 1"
            )
        return found


def pairs(items: Iterable[Any], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, one in enumerate(items):
        if not isinstance(one, dict):
            raise wrong_type(name, one)
        key, value = one.get("key"), one.get("value")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if key is None or key == "":
            raise needed(f"{name}[{index}].key")
        limits.check_key(key, f"{name}[{index}].key")
        found[str(key)] = "" if value is None else str(value)  # pyright: ignore[reportUnknownArgumentType]
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def decoded(body: bytes) -> Json:
    """A body as an object; old clients send an object in a text."""
    if not body:
        return {}
    try:
        found: Any = msgspec.json.decode(body)
        if isinstance(found, str):
            found = msgspec.json.decode(found)
    except (ValueError, RecursionError) as error:
        raise WireError("BAD_REQUEST", f"The body is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise WireError("BAD_REQUEST", f"The body must be an object, not {type(found).__name__}.")
    return found  # pyright: ignore[reportUnknownVariableType]


Handler = Callable[[Call], Any]
_FIXED: dict[tuple[str, str], Handler] = {}
_PATTERNS: list[tuple[str, re.Pattern[str], Handler]] = []


def route(*where: str) -> Callable[[Handler], Handler]:
    """Make a function answer "METHOD path/{parameter}" (below `/api/2.0/mlflow/`, or wherever else MLflow's clients ask)."""

    def register(handler: Handler) -> Handler:
        for one in where:
            method, _, path = one.partition(" ")
            if "{" in path:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
                _PATTERNS.append((method, re.compile(pattern), handler))
            else:
                _FIXED[method, path] = handler
        return handler

    return register


def find(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """The handler of a path and the values in it. Raises WireError when there is none."""
    if fixed := _FIXED.get((method, path)):
        return fixed, {}
    for allowed, pattern, handler in _PATTERNS:
        if allowed == method and (found := pattern.fullmatch(path)):
            return handler, found.groupdict()
    raise WireError("ENDPOINT_NOT_FOUND", f"There is nothing at {method} {path} of the MLflow interface of Trine.")
