"""Cache keys: what decides a step's result, and why an earlier result could not be taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from trine.ids import digest
from trine.pipelines.code import Code
from trine.pipelines.graph import GraphStep, references
from trine.pipelines.records import Lookup, Parts
from trine.pipelines.steps import Step
from trine.pipelines.values import Value

FORM = 1
"""Goes up when keys are made differently, so that older ones are not taken for equal."""


def parts_of(step: Step[..., Any], code: Code, node: GraphStep, stored: Mapping[str, list[Value]]) -> Parts:
    """Code, inputs by content and salt of a step whose inputs are there."""
    inputs = {name: _content(document, stored) for name, document in node.inputs.items()}
    return Parts(code.parts, inputs, step.salt)


def key_of(parts: Parts) -> str:
    """The cache key."""
    return digest([FORM, parts])


def _content(document: Any, stored: Mapping[str, list[Value]]) -> str:
    """The content id of an argument: references to outputs count as what those are."""
    if isinstance(document, dict) and cast(dict[str, Any], document).get("$") == "output":
        return _output(cast(dict[str, Any], document), stored).id
    return digest(msgspec.json.encode(_filled(document, stored)))


def _filled(document: Any, stored: Mapping[str, list[Value]]) -> Any:
    if isinstance(document, list):
        return [_filled(one, stored) for one in cast(list[Any], document)]
    if isinstance(document, dict):
        found = cast(dict[str, Any], document)
        if found.get("$") == "output":
            return {"$": "content", "v": _output(found, stored).id}
        return {name: _filled(one, stored) for name, one in found.items()}
    return document


def _output(document: dict[str, Any], stored: Mapping[str, list[Value]]) -> Value:
    return stored[document["v"]][document.get("item") or 0]


def why(node: GraphStep, parts: Parts, found: Lookup) -> str:
    """Why a step is run instead of taken from the cache, in a few words."""
    if found.moved:
        return f"{found.moved}"
    if found.latest is None:
        return "first time"
    changes = list(changes_of(node, found.latest, parts))
    return (
        "; ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "") or "made in another way"
    )


def changes_of(node: GraphStep, before: Parts, now: Parts) -> Iterator[str]:
    """What differs between the parts of two keys."""
    for name in _changed(before.code, now.code):
        yield f"code of {name.partition(' ')[0].rpartition('.')[2] if ' ' not in name else name} changed"
    for name in _changed(before.inputs, now.inputs):
        sources = ", ".join(dict.fromkeys(key for key, _ in references(node.inputs.get(name))))
        yield f"input {name}{f' (from {sources})' if sources else ''} changed"
    if before.salt != now.salt:
        yield "salt changed"


def _changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]
