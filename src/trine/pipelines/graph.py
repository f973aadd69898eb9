"""The graph of a run: its steps with their arguments, as kept in the ledger. A run keeps its graph until it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from trine.errors import InvalidInput
from trine.pipelines.tracing import Call, Symbol, Trace
from trine.pipelines.values import Encoder, Value
from trine.storage import Store
from trine.types import Name


class GraphStep(msgspec.Struct, frozen=True):
    """One call of a step: its arguments as documents by parameter, and the keys of the steps whose outputs they hold."""

    key: Name
    step: Name
    inputs: dict[str, Any]
    needs: list[str]


class Graph(msgspec.Struct, frozen=True):
    """The steps in the order of the body, the document of what the pipeline returns, and the objects both need."""

    steps: list[GraphStep]
    result: Any = None
    objects: list[str] = []

    def dot(self) -> str:
        """Graphviz text."""
        edges = [f'  "{need}" -> "{one.key}";' for one in self.steps for need in one.needs]
        return "\n".join(
            ["digraph pipeline {", "  rankdir=LR;", *(f'  "{one.key}";' for one in self.steps), *edges, "}"]
        )


def freeze(trace: Trace, store: Store | None = None) -> Graph:
    """A trace as a graph, large constants in the store. Raises InvalidInput naming step and argument."""
    encoder = Encoder(store, reference=refer)
    steps = [_step(call, encoder) for call in trace.calls]
    result = _document(encoder, trace.result, "The result")
    encoder.save()
    return Graph(steps, result, encoder.objects)


def refer(value: Any) -> dict[str, Any] | None:
    """The document of a symbol."""
    if not isinstance(value, Symbol):
        return None
    item = {} if value.item is None else {"item": value.item}
    return {"$": "output", "v": value.call.key, **item}


def _step(call: Call, encoder: Encoder) -> GraphStep:
    inputs = {
        name: _document(encoder, value, f'{call.place}: argument "{name}" of step "{call.step.name}"')
        for name, value in call.bound.arguments.items()
    }
    needs = list(dict.fromkeys(key for key, _ in references(list(inputs.values()))))
    return GraphStep(call.key, call.step.name, inputs, needs)


def _document(encoder: Encoder, value: Any, what: str) -> Any:
    try:
        return encoder.document(value)
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error.message}.") from None


def references(document: Any) -> Iterator[tuple[str, int | None]]:
    """The outputs that a document refers to: key and item, in order, each as often as it is there."""
    if isinstance(document, list):
        for one in document:
            yield from references(one)
    elif isinstance(document, dict):
        if document.get("$") == "output":
            yield document["v"], document.get("item")
        else:
            for one in document.values():
                yield from references(one)


def shown(document: Any, outputs: dict[str, list[Value]]) -> str:
    """A document in a few words: outputs by their summaries."""
    if isinstance(document, dict):
        found = cast(dict[str, Any], document)
        if found.get("$") == "output":
            made, item = outputs.get(found["v"], []), found.get("item") or 0
            return made[item].summary if item < len(made) else "?"
        if "type" in found:
            inside = (
                ", ".join(f"{name}={shown(one, outputs)}" for name, one in found["v"].items())
                if isinstance(found["v"], dict)
                else found["v"]
            )
            return f"{found['type'].rpartition(':')[2]}({inside})"
        content = found.get("v", found) if "$" in found else found
        if isinstance(content, dict):
            return (
                "{"
                + ", ".join(f"{name}: {shown(one, outputs)}" for name, one in cast(dict[str, Any], content).items())
                + "}"
            )
        return shown(content, outputs)
    if isinstance(document, list):
        return "[" + ", ".join(shown(one, outputs) for one in cast(list[Any], document)) + "]"
    return str(document)
