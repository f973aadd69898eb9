"""MLflow's filter strings, `params.lr = '0.1' AND metrics.loss < 0.5`: read here once for runs, experiments, models and traces.

Runs are searched by Trine's own grammar, into which a filter is translated; what MLflow cannot say (OR, NOT, parentheses,
`metrics.auc.max`) may be said as Trine says it. The rest are few, and matched here.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from trine.errors import InvalidInput
from trine.server.mlflow.errors import WireError, invalid
from trine.tracking import expression

T = TypeVar("T")


class Clause(NamedTuple):
    """One comparison: of what kind (metric, parameter, tag, attribute, dataset, …), its key, a comparator in capitals, a value."""

    kind: str
    key: str
    comparator: str
    value: Any


class Term(NamedTuple):
    """One term of an order."""

    kind: str
    key: str
    descending: bool


KINDS = {
    "metric": "metric", "metrics": "metric", "param": "parameter", "params": "parameter", "parameter": "parameter",
    "parameters": "parameter", "tag": "tag", "tags": "tag", "attr": "attribute", "attribute": "attribute",
    "attributes": "attribute", "run": "attribute", "dataset": "dataset", "datasets": "dataset", "trace": "attribute",
    "metadata": "metadata", "request_metadata": "metadata", "trace_metadata": "metadata", "feedback": "feedback",
    "expectation": "expectation", "span": "span", "assessment": "feedback",
}  # fmt: skip
_FIELD = r"""(?:[^\W\d]\w*\.)?(?:"[^"]+"|`[^`]+`|[^\s"'`<>=!,()]+)"""
_TEXT = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_CLAUSE = re.compile(
    rf"""\s*(?P<field>{_FIELD})\s*
    (?P<comparator><=|>=|!=|<>|==|=|<|>|(?:NOT\s+)?(?:IN|LIKE|ILIKE)(?![\w])|RLIKE(?![\w])|IS\s+(?:NOT\s+)?NULL(?!\w))\s*
    (?P<value>{_TEXT}|\((?:\s*(?:{_TEXT})\s*,?)*\)|[+-]?[\w.+-]+)?\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"and(?!\w)\s*", re.IGNORECASE)
_ORDER = re.compile(rf"\s*(?P<field>{_FIELD})(?:\s+(?P<way>asc|desc))?\s*", re.IGNORECASE)


def parse(text: str) -> list[Clause]:
    """The comparisons of a filter. Raises WireError."""
    found: list[Clause] = []
    at = 0
    while text[at:].strip():
        match = _CLAUSE.match(text, at)
        if match is None:
            raise invalid(f"Invalid clause(s) in filter string: {text[at:].strip()!r}")
        comparator = re.sub(r"\s+", " ", match["comparator"].upper())
        comparator = {"<>": "!=", "==": "="}.get(comparator, comparator)
        if comparator.startswith("IS "):
            if match["value"] and not _AND.match(match["value"] + " "):
                raise invalid(f"Invalid clause(s) in filter string: {match['value']!r}")
            at = match.start("value") if match["value"] else match.end()
            value = None
        elif match["value"] is None:
            raise invalid(f"Invalid clause(s) in filter string: {match[0].strip()!r}. Expected 3 tokens found 2")
        else:
            value, at = _value(match["value"]), match.end()
        kind, key = _field(match["field"])
        found.append(Clause(kind, key, comparator, value))
        rest = text[at:]
        if not rest.strip():
            break
        joined = _AND.match(rest.lstrip())
        if joined is None or not rest.lstrip()[joined.end() :].strip():
            raise invalid(f"Invalid clause(s) in filter string: {rest.strip()!r}")
        at += len(rest) - len(rest.lstrip()) + joined.end()
    return found


def _value(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1].replace(text[0] * 2, text[0])
    if text[0] == "(":
        values = [_value(one) for one in re.findall(_TEXT, text)]
        if not values:
            raise invalid(
                "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
            )
        return values
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise invalid(
            f"Parameter value is either not quoted or unidentified quote types used for string value {text}. "
            "Use either single or double quotes."
        ) from None


def _field(text: str) -> tuple[str, str]:
    head, dot, key = text.partition(".")
    if not dot or text[0] in '"`':
        return "attribute", text.strip('"`')
    kind = KINDS.get(head.lower())
    if kind is None:
        raise invalid(
            f"Invalid entity type '{head}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"
        )
    return kind, key[1:-1] if key[0] in '"`' and key[-1] == key[0] else key


def parse_order(terms: Iterable[str]) -> list[Term]:
    """The terms of an order. Raises WireError."""
    found: list[Term] = []
    for text in terms:
        match = _ORDER.fullmatch(text)
        if match is None:
            raise invalid(f"Invalid order_by clause '{text}'. Could not be parsed.")
        kind, key = _field(match["field"])
        found.append(Term(kind, key, (match["way"] or "").lower() == "desc"))
    return found


# -- runs ---------------------------------------------------------------------------------------------------------------

_NUMERIC = ("=", "!=", ">", ">=", "<", "<=")
_TEXTUAL = ("=", "!=", "LIKE", "ILIKE")
_ATTRIBUTES = {
    "run_id": "id", "run_uuid": "id", "run_name": "name", "run name": "name", "Run name": "name", "Run Name": "name",
    "status": "state", "user_id": "author", "start_time": "started", "created": "started", "Created": "started",
    "end_time": "ended", "artifact_uri": "artifact_uri",
}  # fmt: skip


def run_expression(text: str, datasets: Callable[[list[Clause]], list[str]]) -> str:
    """The same search in Trine's grammar. `datasets` gives the ids of runs for which comparisons of datasets are true."""
    try:
        clauses = parse(text)
    except WireError as error:
        return _as_ours(text, error)
    about = [one for one in clauses if one.kind == "dataset"]
    parts = [_run_clause(one) for one in clauses if one.kind != "dataset"]
    if about:
        ids = datasets(about)
        parts.append(f"id in ({', '.join(map(quoted, ids))})" if ids else "id = ''")
    return " and ".join(parts)


def _as_ours(text: str, error: WireError) -> str:
    """A filter that MLflow could not read, when Trine can: it is then passed on as it is."""
    try:
        expression.parse(text)
    except InvalidInput as ours:
        raise invalid(f"{error.message} {ours.message}") from None
    return text


def _run_clause(one: Clause) -> str:
    kind, key, comparator, value = one
    if kind == "metric":
        _allow(comparator, _NUMERIC)
        if not isinstance(value, (int, float)):
            raise invalid(f"Expected numeric value type for metric. Found {_shown(value)}")
        return f"{named('metrics', key)} {comparator} {value!r}"
    if kind == "tag" and key in ("mlflow.runName", "mlflow.parentRunId"):
        if key == "mlflow.runName":
            return "name is not null" if comparator == "IS NOT NULL" else textual("name", comparator, value)
        told = [textual(field, comparator, value) for field in ("parent", 'tags."mlflow.parentRunId"')]
        return f"({(' and ' if comparator == 'IS NULL' else ' or ').join(told)})"
    if kind in ("parameter", "tag"):
        _allow(comparator, (*_TEXTUAL, "IS NULL", "IS NOT NULL"))
        return textual(named("params" if kind == "parameter" else "tags", key), comparator, value)
    if kind != "attribute":
        raise invalid(f"Invalid search expression type '{kind}'")
    attribute = _ATTRIBUTES.get(key)
    if attribute is None:
        raise invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{set(_ATTRIBUTES)}'")
    if comparator.startswith("IS "):
        raise invalid(f"IS NULL / IS NOT NULL is only supported for tags and params, not for 'attribute' '{key}'")
    if attribute in ("started", "ended"):
        _allow(comparator, _NUMERIC)
        if not isinstance(value, (int, float)):
            raise invalid(f"Expected numeric value type for numeric attribute: {key}. Found {_shown(value)}")
        return moment(attribute, comparator, int(value))
    _allow(comparator, (*_TEXTUAL, "IN", "NOT IN"))
    if isinstance(value, list) and attribute != "id":
        raise invalid("Only ['run_id'] attributes support comparison with a list of quoted string values.")
    if attribute == "state":
        value = value.lower() if isinstance(value, str) else value
    if attribute == "artifact_uri":
        found = re.fullmatch(r"mlflow-artifacts:/[^/]+/([0-9a-f]{32})/artifacts", str(value))
        attribute, value = "id", found[1] if found else str(value)
    return textual(attribute, comparator, value)


def textual(field: str, comparator: str, value: Any) -> str:
    if comparator.startswith("IS "):
        return f"{field} {comparator.lower()}"
    if isinstance(value, list):
        return f"{field} {comparator.lower()} ({', '.join(map(quoted, value))})"  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(value, str):
        raise invalid(
            f"Expected a quoted string value for {field} (e.g. 'my-value'). Got value {_shown(value)}. "
            "Parameter value is either not quoted or unidentified quote types used for string value."
        )
    if comparator in ("LIKE", "ILIKE"):
        value = value.replace("\\", "\\\\")
    return f"{field} {comparator.lower()} {quoted(value)}"


def moment(field: str, comparator: str, ms: int) -> str:
    """A comparison with a millisecond, of which there are a thousand moments."""
    first, following = _time(ms * 1_000), _time(ms * 1_000 + 1_000)
    match comparator:
        case "=":
            return f"({field} >= {first} and {field} < {following})"
        case "!=":
            return f"({field} < {first} or {field} >= {following})"
        case ">":
            return f"{field} >= {following}"
        case "<=":
            return f"{field} < {following}"
        case _:
            return f"{field} {comparator} {first}"


def _time(us: int) -> str:
    us = min(max(us, 0), 253_402_300_799_000_000)
    return f"'{(dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=us)).isoformat()}'"


def _allow(comparator: str, known: tuple[str, ...]) -> None:
    if comparator not in known:
        raise invalid(f"Invalid comparator '{comparator}' not one of '{set(known)}'")


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def named(kind: str, key: str) -> str:
    return f"{kind}.`{key}`" if '"' in key else f'{kind}."{key}"'


def run_order(terms: Iterable[str]) -> str:
    """An order of runs in Trine's grammar."""
    found: list[str] = []
    for kind, key, descending in parse_order(terms):
        if kind == "attribute":
            field = _ATTRIBUTES.get(key)
            if field is None:
                raise invalid(f"Invalid order_by key '{key}' specified. Valid keys are '{set(_ATTRIBUTES)}'")
            field = "id" if field == "artifact_uri" else field
        elif kind == "tag" and key == "mlflow.runName":
            field = "name"
        elif kind in ("metric", "parameter", "tag"):
            field = named({"metric": "metrics", "parameter": "params", "tag": "tags"}[kind], key)
        else:
            raise invalid(f"Invalid order_by entity type '{kind}'")
        if field not in {one.split(" ")[0] for one in found}:
            found.append(f"{field} {'desc' if descending else 'asc'}")
    return ", ".join(found)


# -- what is few --------------------------------------------------------------------------------------------------------

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


def holds(clause: Clause, value: Any) -> bool:
    """Whether a comparison is true of a value; None is what is not there, of which only IS NULL is true."""
    comparator, wanted = clause.comparator, clause.value
    if comparator.startswith("IS "):
        return (value is None) == (comparator == "IS NULL")
    if value is None:
        return False
    if comparator in ("IN", "NOT IN"):
        return (value in wanted) == (comparator == "IN")
    if comparator.endswith("LIKE"):
        if comparator == "RLIKE":
            return re.search(str(wanted), str(value)) is not None
        found = _like(str(wanted), ignore_case="ILIKE" in comparator).fullmatch(str(value)) is not None
        return found != comparator.startswith("NOT ")
    if isinstance(value, (int, float)) != isinstance(wanted, (int, float)):
        if isinstance(value, str) and not isinstance(wanted, list):
            return _COMPARE[comparator](value, str(wanted))
        raise invalid(
            f"Expected {'a number' if isinstance(value, (int, float)) else 'a quoted text'} for {clause.key}, got {_shown(wanted)}"
        )
    return _COMPARE[comparator](value, wanted)


def _like(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG))


def chosen(items: Iterable[T], clauses: list[Clause], value_of: Callable[[T, str, str], Any]) -> list[T]:
    """The items for which all comparisons are true; `value_of(item, kind, key)` may raise WireError for a key that is none."""
    return [one for one in items if all(holds(clause, value_of(one, clause.kind, clause.key)) for clause in clauses)]


def sort(items: list[T], terms: list[Term], value_of: Callable[[T, str, str], Any]) -> list[T]:
    """The items in an order; what lacks a value comes last."""
    for kind, key, descending in reversed(terms):
        there = [one for one in items if value_of(one, kind, key) is not None]
        lacking = [one for one in items if value_of(one, kind, key) is None]
        there.sort(key=lambda one, kind=kind, key=key: value_of(one, kind, key), reverse=descending)
        items = there + lacking
    return items
