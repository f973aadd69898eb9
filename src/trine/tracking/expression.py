"""The expression grammar of run search: what a person writes, as a tree that is checked and knows its columns.

metrics.auc.best > 0.9 and (params.model = 'forest' or not tags.bad) and data = 'flights@2013-03' order by metrics.auc desc
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

LINKS = ("data", "input", "output", "upstream", "downstream")
"""What can be asked of a run's place in the lineage graph: the datasets it read, all it used or made, and, any number of steps
away, what it came from and what came of it. `data` takes `name@ref`, the others take nodes (`model:delays@3`)."""

_ENTITIES = {
    "metric": "metric", "metrics": "metric", "param": "param", "params": "param", "parameter": "param",
    "parameters": "param", "tag": "tag", "tags": "tag", "attribute": "attribute", "attributes": "attribute",
    "attr": "attribute", "run": "attribute",
}  # fmt: skip

_GRAMMAR = r"""
    search: any? (_ORDER order)?
    ?any: all (_OR all)*
    ?all: one (_AND one)*
    ?one: _NOT one -> negation
        | "(" any ")"
        | FIELD -> bare
        | FIELD COMPARE (NUMBER | TEXT) -> comparison
        | FIELD (MATCHES | UNLIKE) TEXT -> matches
        | FIELD _BETWEEN (NUMBER | TEXT) _AND (NUMBER | TEXT) -> between
        | FIELD _NOT _BETWEEN (NUMBER | TEXT) _AND (NUMBER | TEXT) -> not_between
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
    _BETWEEN.2: /between(?![\w.\/:-])/i
    _ORDER.3: /order\s+by(?![\w.\/:-])/i
    _IN.2: /in(?![\w.\/:-])/i
    _IS.2: /is(?![\w.\/:-])/i
    LIKE.2: /like(?![\w.\/:-])/i
    ILIKE.2: /ilike(?![\w.\/:-])/i
    NULL.2: /null(?![\w.\/:-])/i
    NAN.2: /nan(?![\w.\/:-])/i
    ASC.2: /asc(?![\w.\/:-])/i
    DESC.2: /desc(?![\w.\/:-])/i
    MATCHES: "~"
    UNLIKE: "!~"
    COMPARE: /<=|>=|<>|!=|==|=|<|>/
    NUMBER: /[+-]?(?:inf(?:inity)?(?!\w)|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?!\w))/i
    TEXT: /'(?:[^']|'')*'|"(?:[^"]|"")*"/
    FIELD: /[^\W\d](?:[\w\/:-]|\.(?!["`]))*(?:\.(?:"[^"]+"|`[^`]+`)(?:\.\w+)?)?/
    %ignore /\s+/
"""

_WORDS = {
    "FIELD": "a field such as metrics.loss, params.lr, tags.team or state",
    "COMPARE": "a comparison",
    "MATCHES": '"~"',
    "NUMBER": "a number",
    "TEXT": "a quoted text",
    "_AND": '"and"',
    "_OR": '"or"',
    "_NOT": '"not"',
    "_BETWEEN": '"between"',
    "_ORDER": '"order by"',
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
    """A metric (`part` says which of its values), a param, a tag, an attribute of the run, or what it is linked to; of a trace,
    metadata, an assessment, or something of its spans."""

    kind: Literal["metric", "param", "tag", "attribute", "link", "metadata", "feedback", "expectation", "span"]
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


class Matches(msgspec.Struct, frozen=True):
    """`~`: a regular expression is found in the text; the syntax is Rust's, which takes linear time. `column` is for errors."""

    field: Field
    pattern: str
    negated: bool
    text: str
    column: int


class Between(msgspec.Struct, frozen=True):
    """`between a and b`, both included."""

    field: Field
    low: float | int | str
    high: float | int | str
    negated: bool


class Marked(msgspec.Struct, frozen=True):
    """A param or tag alone: it is there, and does not say no."""

    field: Field


NOES = ("false", "False", "FALSE", "no", "No", "0", "0.0")
"""Values with which a bare param or tag counts as not set."""


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


Expression = Comparison | Contained | Like | Matches | Between | Marked | Missing | NotNumber | Group | Negation


class Order(msgspec.Struct, frozen=True):
    """One term of an order."""

    field: Field
    descending: bool


def parse(text: str) -> Expression | None:
    """The tree of an expression, or None for an empty one. Raises InvalidInput pointing at the column."""
    return parse_search(text)[0]


def parse_search(text: str, builder: type[Builder] | None = None) -> tuple[Expression | None, list[Order]]:
    """The tree of an expression (None: all runs) and its order. Raises InvalidInput pointing at the column.

    `builder` knows the fields of what is searched when that is not runs. A condition on what a run does not have is false, so its negation is true: there is no third truth value.
    """
    if not text.strip():
        return None, []
    tree = _tree(text, "search")
    if sum(1 for _ in tree.find_pred(lambda one: one.data in _CONDITIONS)) > MOST_CONDITIONS:
        raise InvalidInput(
            f"The expression has more than {MOST_CONDITIONS} conditions. Use in (…) for lists of values."
        )
    build = (builder or Builder)(text)
    parts: list[Any] = list(tree.children)
    order = build.order(parts.pop()) if parts and parts[-1].data == "order" else []
    return build.expression(parts[0], 0) if parts else None, order


def parse_order(text: str, builder: type[Builder] | None = None) -> list[Order]:
    """`metrics.auc.best desc, started` as terms. Raises InvalidInput pointing at the column."""
    if not text.strip():
        return []
    return (builder or Builder)(text).order(_tree(text, "order"))


_CONDITIONS = frozenset(
    (
        "bare", "comparison", "between", "not_between", "matches", "contained", "not_contained", "like", "not_like",
        "is_", "is_not",
    )
)  # fmt: skip


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
    raise mistake(text, column, f"expected {_said(expected)}, found {found}.{hint}")


def _said(expected: set[str]) -> str:
    words = list(dict.fromkeys(word for name, word in _WORDS.items() if name in expected))
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words) or "something else"


def mistake(text: str, column: int, problem: str) -> InvalidInput:
    """An error that points at a column of an expression."""
    line = text.replace("\n", " ").replace("\t", " ")
    start = max(0, column - 60)
    shown = ("…" if start else "") + line[start : column + 40] + ("…" if column + 40 < len(line) else "")
    pointer = " " * (column - 1 - start + bool(start)) + "^"
    return InvalidInput(f"Column {column} of the expression: {problem}\n  {shown}\n  {pointer}", column=column)


class Builder:
    """Turns the parser's tree into ours, checking what each field can be compared with. Others than runs know other fields."""

    bare = ("param", "tag")
    """What can stand alone."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, token: Token, problem: str) -> NoReturn:
        raise mistake(self.text, (token.start_pos or 0) + 1, problem)

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
        negated = kind in ("not_contained", "not_like", "not_between", "is_not")
        if kind == "bare":
            if field.kind not in self.bare:
                alone = " and ".join(f"{one}s" for one in self.bare)
                self.fail(parts[0], f'"{parts[0]}" alone says nothing: compare it. Only {alone} stand alone.')
            return Marked(field)
        if kind in ("between", "not_between"):
            if field.kind == "link":
                self.fail(parts[0], f'"{parts[0]}" has no order: use =, in, like or is null.')
            low, high = (self.value(field, one) for one in parts[1:])
            if isinstance(low, str) != isinstance(high, str):
                self.fail(parts[2], f"both ends are numbers, or both are texts: {parts[1]} and {parts[2]} are not.")
            return Between(field, low, high, negated)
        if kind == "matches":
            if self.type_of(field) not in ("text", "any") or field.kind == "link":
                self.fail(parts[1], f'"{parts[0]}" is no text; ~ is for text.')
            column = (parts[2].start_pos or 0) + 1
            return Matches(field, _unquoted(parts[2]), parts[1].type == "UNLIKE", self.text, column)
        if kind == "comparison":
            sign: Any = {"==": "=", "<>": "!="}.get(str(parts[1]), str(parts[1]))
            if field.kind == "link" and sign not in ("=", "!="):
                self.fail(parts[1], f'"{parts[0]}" has no order: use =, !=, in, like or is null.')
            return Comparison(field, sign, self.value(field, parts[2]))
        if kind in ("contained", "not_contained"):
            return Contained(field, tuple(self.value(field, one) for one in parts[1].children), negated)
        if kind in ("like", "not_like"):
            if self.type_of(field) not in ("text", "any"):
                self.fail(parts[1], f'"{parts[0]}" is a {self.type_of(field)}; like is for text.')
            return Like(field, _unquoted(parts[2]), parts[1].type == "ILIKE", negated)
        if parts[1].type == "NULL":
            return Missing(field, negated)
        if field.kind != "metric":
            self.fail(parts[1], "only metrics can be NaN.")
        return NotNumber(field, negated)

    def order(self, tree: Any) -> list[Order]:
        terms: list[Order] = []
        for term in tree.children:
            field = self.field(term.children[0])
            if field.kind == "link":
                self.fail(term.children[0], f'results cannot be ordered by "{term.children[0]}": there may be several.')
            terms.append(Order(field, len(term.children) > 1 and term.children[1].type == "DESC"))
        return terms

    def field(self, token: Token) -> Field:
        quoted = re.fullmatch(r"(.*?)\.(?:\"([^\"]+)\"|`([^`]+)`)(?:\.(\w+))?", token, re.DOTALL)
        if quoted:
            entity, key, part = quoted[1], quoted[2] or quoted[3], quoted[4] or ""
        else:
            entity, _, key = token.partition(".")
            part = ""
        if not quoted and not key:
            if entity.lower() in LINKS:
                return Field("link", entity.lower())
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
                f'a run has no attribute "{name}".{nearest(name, (*ATTRIBUTES, *LINKS))} There is {", ".join(ATTRIBUTES)}; '
                f"params, metrics and tags are written params.{name}, metrics.{name}, tags.{name}.",
            )
        return name.lower()

    @staticmethod
    def type_of(field: Field) -> str:
        if field.kind == "metric":
            return "number"
        if field.kind == "link":
            return "text"
        return ATTRIBUTES[field.key] if field.kind == "attribute" else "any"

    def value(self, field: Field, token: Token) -> float | int | str:
        wanted, number = self.type_of(field), token.type == "NUMBER"
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
