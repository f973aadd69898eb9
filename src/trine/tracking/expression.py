"""The expression grammar of run search: what a person writes, as a tree that is checked and knows its columns.

metrics.auc.best > 0.9 and (params.model = 'forest' or not tags.team like 'risk%') and state in ('finished', 'failed')
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec

from trine.errors import InvalidInput, nearest
from trine.ids import to_us

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

LONGEST = 10_000
MOST_CONDITIONS = 200
DEEPEST = 20

PARTS = ("last", "first", "min", "max", "count", "best")
"""What can be asked of a metric; `last` when nothing is said."""

ATTRIBUTES: dict[str, Literal["text", "number", "time"]] = {
    "id": "text", "name": "text", "experiment": "text", "state": "text", "reason": "text", "author": "text",
    "parent": "text", "code": "text", "started": "time", "ended": "time", "duration": "number", "lost": "number",
}  # fmt: skip
"""What can be asked of a run itself. Times compare with quoted dates (UTC), `duration` is in seconds."""

_ENTITIES = {
    "metric": "metric", "metrics": "metric", "param": "param", "params": "param", "parameter": "param",
    "parameters": "param", "tag": "tag", "tags": "tag", "attribute": "attribute", "attributes": "attribute",
    "attr": "attribute", "run": "attribute",
}  # fmt: skip

_GRAMMAR = r"""
    search: any
    ?any: all (_OR all)*
    ?all: one (_AND one)*
    ?one: _NOT one -> negation
        | "(" any ")"
        | FIELD COMPARE (NUMBER | TEXT) -> comparison
        | FIELD _IN list -> contained
        | FIELD _NOT _IN list -> not_contained
        | FIELD (LIKE | ILIKE) TEXT -> like
        | FIELD _NOT (LIKE | ILIKE) TEXT -> not_like
        | FIELD _IS (NULL | NAN) -> is_
        | FIELD _IS _NOT (NULL | NAN) -> is_not
    list: "(" (NUMBER | TEXT) ("," (NUMBER | TEXT))* ")"

    order: term ("," term)*
    term: FIELD (ASC | DESC)?

    _AND.2: /and(?![\w.\/:-])/i
    _OR.2: /or(?![\w.\/:-])/i
    _NOT.2: /not(?![\w.\/:-])/i
    _IN.2: /in(?![\w.\/:-])/i
    _IS.2: /is(?![\w.\/:-])/i
    LIKE.2: /like(?![\w.\/:-])/i
    ILIKE.2: /ilike(?![\w.\/:-])/i
    NULL.2: /null(?![\w.\/:-])/i
    NAN.2: /nan(?![\w.\/:-])/i
    ASC.2: /asc(?![\w.\/:-])/i
    DESC.2: /desc(?![\w.\/:-])/i
    COMPARE: /<=|>=|<>|!=|==|=|<|>/
    NUMBER: /[+-]?(?:inf(?:inity)?(?!\w)|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?!\w))/i
    TEXT: /'(?:[^']|'')*'|"(?:[^"]|"")*"/
    FIELD: /[^\W\d](?:[\w\/:-]|\.(?!["`]))*(?:\.(?:"[^"]+"|`[^`]+`)(?:\.\w+)?)?/
    %ignore /\s+/
"""

_WORDS = {
    "FIELD": "a field such as metrics.loss, params.lr, tags.team or state",
    "COMPARE": "a comparison",
    "NUMBER": "a number",
    "TEXT": "a quoted text",
    "_AND": '"and"',
    "_OR": '"or"',
    "_NOT": '"not"',
    "_IN": '"in"',
    "_IS": '"is"',
    "LIKE": '"like"',
    "NULL": '"null"',
    "NAN": '"nan"',
    "ASC": '"asc"',
    "DESC": '"desc"',
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "$END": "the end",
}


class Field(msgspec.Struct, frozen=True):
    """A metric (`part` says which of its values), a param, a tag or an attribute of the run."""

    kind: Literal["metric", "param", "tag", "attribute"]
    key: str
    part: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """`value` is a float, a text, or for times the microseconds since the epoch."""

    field: Field
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    value: float | int | str


class Contained(msgspec.Struct, frozen=True):
    """`in (…)`: the field is there, and is one of the values (or, negated, none of them)."""

    field: Field
    values: tuple[float | int | str, ...]
    negated: bool


class Like(msgspec.Struct, frozen=True):
    """`%` stands for any text, `_` for one character, a backslash before one of them for itself."""

    field: Field
    pattern: str
    ignore_case: bool
    negated: bool


class Missing(msgspec.Struct, frozen=True):
    """IS NULL: the run has no such thing."""

    field: Field
    negated: bool


class NotNumber(msgspec.Struct, frozen=True):
    """IS NAN: the metric is there and its value is not a number."""

    field: Field
    negated: bool


class Group(msgspec.Struct, frozen=True):
    """Parts joined by and, or by or."""

    joined: Literal["and", "or"]
    parts: tuple[Expression, ...]


class Negation(msgspec.Struct, frozen=True):
    """True where its part is false."""

    part: Expression


Expression = Comparison | Contained | Like | Missing | NotNumber | Group | Negation


class Order(msgspec.Struct, frozen=True):
    """One term of an order."""

    field: Field
    descending: bool


def parse(text: str) -> Expression | None:
    """The tree of an expression, or None for an empty one. Raises InvalidInput pointing at the column.

    A condition on what a run does not have is false, so its negation is true: there is no third truth value.
    """
    if not text.strip():
        return None
    tree = _tree(text, "search")
    if sum(1 for _ in tree.find_pred(lambda one: one.data in _CONDITIONS)) > MOST_CONDITIONS:
        raise InvalidInput(
            f"The expression has more than {MOST_CONDITIONS} conditions. Use in (…) for lists of values."
        )
    return _Builder(text).expression(tree.children[0], 0)


def parse_order(text: str) -> list[Order]:
    """`metrics.auc.best desc, started` as terms. Raises InvalidInput pointing at the column."""
    if not text.strip():
        return []
    build = _Builder(text)
    terms: list[Any] = _tree(text, "order").children
    return [
        Order(build.field(term.children[0]), len(term.children) > 1 and term.children[1].type == "DESC")
        for term in terms
    ]


_CONDITIONS = frozenset(("comparison", "contained", "not_contained", "like", "not_like", "is_", "is_not"))


@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", start=["search", "order"], maybe_placeholders=False)


def _tree(text: str, start: str) -> Tree[Token]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    if len(text) > LONGEST:
        raise InvalidInput(f"An expression has at most {LONGEST:,} characters, not {len(text):,}.")
    try:
        return _parser().parse(text, start=start)
    except UnexpectedToken as error:
        ended = error.token.type == "$END"
        column = len(text.rstrip()) + 1 if ended else (error.token.start_pos or 0) + 1
        found = "the end" if ended else f'"{error.token}"'
        expected = set(error.accepts or error.expected)
    except UnexpectedCharacters as error:
        column = error.pos_in_stream + 1
        word = re.match(r"[\w.]+|.", text[error.pos_in_stream :])
        found = f'"{word[0] if word else ""}"'
        expected = set(error.allowed or ())
    hint = ""
    if {"NUMBER", "TEXT"} <= expected and re.fullmatch(r'"(?!(and|or|not|in|is|like|null)")[^\W\d][\w.]*"', found):
        hint = f" Text has quotes: '{found[1:-1]}'."
    elif found in ('"\'"', '"""', '"`"'):
        hint = " The quote is not closed."
    raise _error(text, column, f"expected {_said(expected)}, found {found}.{hint}")


def _said(expected: set[str]) -> str:
    words = list(dict.fromkeys(word for name, word in _WORDS.items() if name in expected))
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words) or "something else"


def _error(text: str, column: int, problem: str) -> InvalidInput:
    line = text.replace("\n", " ").replace("\t", " ")
    start = max(0, column - 60)
    shown = ("…" if start else "") + line[start : column + 40] + ("…" if column + 40 < len(line) else "")
    pointer = " " * (column - 1 - start + bool(start)) + "^"
    return InvalidInput(f"Column {column} of the expression: {problem}\n  {shown}\n  {pointer}", column=column)


class _Builder:
    """Turns the parser's tree into ours, checking what each field can be compared with."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, token: Token, problem: str) -> NoReturn:
        raise _error(self.text, (token.start_pos or 0) + 1, problem)

    def expression(self, tree: Any, depth: int) -> Expression:
        if depth > DEEPEST:
            raise InvalidInput(f"The expression is nested more than {DEEPEST} deep. Write it flatter.")
        parts = tree.children
        if tree.data in ("any", "all"):
            made = tuple(self.expression(part, depth + 1) for part in parts)
            return Group("or" if tree.data == "any" else "and", made)
        if tree.data == "negation":
            return Negation(self.expression(parts[0], depth + 1))
        return self.condition(str(tree.data), parts)

    def condition(self, kind: str, parts: list[Any]) -> Expression:
        field = self.field(parts[0])
        negated = kind in ("not_contained", "not_like", "is_not")
        if kind == "comparison":
            sign: Any = {"==": "=", "<>": "!="}.get(str(parts[1]), str(parts[1]))
            return Comparison(field, sign, self.value(field, parts[2]))
        if kind in ("contained", "not_contained"):
            return Contained(field, tuple(self.value(field, one) for one in parts[1].children), negated)
        if kind in ("like", "not_like"):
            if self._type(field) not in ("text", "any"):
                self.fail(parts[1], f'"{parts[0]}" is a {self._type(field)}; like is for text.')
            return Like(field, _unquoted(parts[2]), parts[1].type == "ILIKE", negated)
        if parts[1].type == "NULL":
            return Missing(field, negated)
        if field.kind != "metric":
            self.fail(parts[1], "only metrics can be NaN.")
        return NotNumber(field, negated)

    def field(self, token: Token) -> Field:
        quoted = re.fullmatch(r"(.*?)\.(?:\"([^\"]+)\"|`([^`]+)`)(?:\.(\w+))?", token, re.DOTALL)
        if quoted:
            entity, key, part = quoted[1], quoted[2] or quoted[3], quoted[4] or ""
        else:
            entity, _, key = token.partition(".")
            part = ""
        if not quoted and not key:
            return Field("attribute", self._attribute(token, str(token)))
        kind: Any = _ENTITIES.get(entity.lower())
        if kind is None:
            close = nearest(entity, ("metrics", "params", "tags", "attributes"))
            self.fail(token, f'"{entity}" is nothing a run has: write metrics, params, tags or attributes.{close}')
        if kind == "attribute":
            return Field(kind, self._attribute(token, key))
        if kind != "metric":
            return Field(kind, f"{key}.{part}" if part else key)
        if not quoted and (split := key.rpartition("."))[2] in PARTS and split[0]:
            key, part = split[0], split[2]
        if part and part not in PARTS:
            self.fail(token, f'A metric has no "{part}": there is {", ".join(PARTS)}.{nearest(part, PARTS)}')
        return Field(kind, key, part or "last")

    def _attribute(self, token: Token, name: str) -> str:
        if name.lower() not in ATTRIBUTES:
            self.fail(
                token,
                f'a run has no attribute "{name}".{nearest(name, ATTRIBUTES)} There is {", ".join(ATTRIBUTES)}; '
                f"params, metrics and tags are written params.{name}, metrics.{name}, tags.{name}.",
            )
        return name.lower()

    @staticmethod
    def _type(field: Field) -> str:
        if field.kind == "metric":
            return "number"
        return ATTRIBUTES[field.key] if field.kind == "attribute" else "any"

    def value(self, field: Field, token: Token) -> float | int | str:
        wanted, number = self._type(field), token.type == "NUMBER"
        if number and wanted in ("number", "any"):
            return float(token)
        if wanted == "number":
            self.fail(token, f"a number is compared with numbers, not with {token}.")
        if wanted == "time":
            return self._time(token)
        if number:
            self.fail(token, f"a text is compared with quoted text: '{token}'.")
        text = _unquoted(token)
        if "\0" in text:
            self.fail(token, "a text cannot hold a NUL character.")
        return text

    def _time(self, token: Token) -> int:
        try:
            return to_us(dt.datetime.fromisoformat(_unquoted(token)))
        except (ValueError, OverflowError):
            self.fail(token, "a time is compared with a quoted date, such as '2026-03-01' or '2026-03-01T12:30' (UTC).")


def _unquoted(token: Token) -> str:
    quote = token[0]
    return token[1:-1].replace(quote * 2, quote)
