"""What a search of traces may ask, in the grammar that runs are searched by.

state = 'error' and duration > 2 and (tags.env = 'prod' or not feedback.correct) and span.name = 'retrieve' order by started desc
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from trine.errors import nearest
from trine.tracking.expression import Builder, Field

if TYPE_CHECKING:
    from lark import Token

ATTRIBUTES: dict[str, Literal["text", "number", "time"]] = {
    "id": "text", "name": "text", "state": "text", "experiment": "text", "run": "text", "session": "text", "user": "text",
    "request": "text", "response": "text", "client_request": "text", "started": "time", "ended": "time",
    "duration": "number", "spans": "number", "size": "number", "input_tokens": "number", "output_tokens": "number",
    "tokens": "number", "cost": "number",
}  # fmt: skip
"""What can be asked of a trace itself. Times compare with quoted dates (UTC), `duration` is in seconds."""

SPAN = {
    "id": "text", "name": "text", "type": "text", "state": "text", "model": "text", "started": "time",
    "duration": "number", "input_tokens": "number", "output_tokens": "number", "tokens": "number", "cost": "number",
    "text": "text",
}  # fmt: skip
"""What can be asked of a span: conditions that `and` joins are about one span. `text` is all it says, `span.attributes.KEY` one
of its attributes: those are read from the spans themselves, of the traces for which all else is true."""

_ENTITIES = {
    "tag": "tag", "tags": "tag", "metadata": "metadata", "feedback": "feedback", "expectation": "expectation",
    "span": "span", "spans": "span", "trace": "attribute", "attribute": "attribute", "attributes": "attribute",
}  # fmt: skip
READ = "attributes."
"""The beginning of a span's field that stands only in the span itself."""


class TraceBuilder(Builder):
    """Knows what can be asked of a trace."""

    bare = ("tag", "metadata", "feedback", "expectation")

    def field(self, token: Token) -> Field:
        quoted = re.fullmatch(r"(\w+)\.(.*?)(?:\"([^\"]+)\"|`([^`]+)`)(?:\.(\w+))?", token, re.DOTALL)
        if quoted:
            entity, key = quoted[1], quoted[2] + (quoted[3] or quoted[4]) + (f".{quoted[5]}" if quoted[5] else "")
        else:
            entity, _, key = token.partition(".")
        if not key:
            return Field("attribute", self._known(token, str(token), ATTRIBUTES, "trace"))
        kind: Any = _ENTITIES.get(entity.lower())
        if kind is None:
            close = nearest(entity, ("tags", "metadata", "feedback", "expectation", "span"))
            self.fail(
                token,
                f'"{entity}" is nothing a trace has: write tags, metadata, feedback, expectation, span or an attribute.{close}',
            )
        if kind == "attribute":
            return Field(kind, self._known(token, key, ATTRIBUTES, "trace"))
        if kind == "span" and not key.startswith(READ):
            return Field(kind, self._known(token, key, SPAN, "span"))
        return Field(kind, key)

    def _known(self, token: Token, name: str, among: Any, what: str) -> str:
        if name.lower() not in among:
            self.fail(token, f'a {what} has no "{name}".{nearest(name, among)} There is {", ".join(among)}.')
        return name.lower()

    @staticmethod
    def type_of(field: Field) -> str:
        if field.kind == "attribute":
            return ATTRIBUTES[field.key]
        if field.kind == "span" and not field.key.startswith(READ):
            return SPAN[field.key]
        return "any"
