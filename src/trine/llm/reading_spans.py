"""Whether a condition of a search is true of a span that is at hand."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from trine.llm.expression import READ
from trine.llm.spans import Span
from trine.tracking.expression import NOES, Between, Comparison, Contained, Expression, Like, Marked, Missing

_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def holds(one: Expression, span: Span) -> bool:
    """Whether a condition is true of a span; of what is not there, only `is null` is."""
    assert isinstance(one, (Comparison, Contained, Like, Between, Marked, Missing)), one
    value = _value(span, one.field.key)
    if isinstance(one, Missing):
        return (value is not None) == one.negated
    if value is None:
        return False
    if isinstance(one, Like):
        found = _pattern(one.pattern, one.ignore_case).fullmatch(_text(value)) is not None
        return found != one.negated
    if isinstance(one, Marked):
        return _text(value) not in NOES
    if isinstance(one, Contained):
        return any(_compare("=", value, wanted) for wanted in one.values) != one.negated
    if isinstance(one, Between):
        found = _compare(">=", value, one.low) and _compare("<=", value, one.high)
        return found != one.negated
    return _compare(one.operator, value, one.value)


def _value(span: Span, key: str) -> Any:
    if key == "text":
        return msgspec.json.encode((span.name, span.attributes, span.events), enc_hook=repr).decode()
    if key.startswith(READ):
        return span.attributes.get(key.removeprefix(READ))
    usage = span.usage
    known = {
        "id": span.id, "name": span.name, "type": span.type, "state": span.state, "model": span.model,
        "started": span.start_ns // 1_000, "duration": None if span.duration_us is None else span.duration_us / 1e6,
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "tokens": usage.total_tokens,
        "cost": usage.cost,
    }  # fmt: skip
    return known[key]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()


def _compare(sign: str, value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return _SIGNS[sign](_text(value), wanted)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return sign == "!="
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return _SIGNS[sign](value, wanted) if is_number else sign == "!="


def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    parts: list[str] = []
    escaped = False
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        parts.append({"%": ".*", "_": "."}.get(char, re.escape(char)) if not escaped else re.escape(char))
        escaped = False
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG))
