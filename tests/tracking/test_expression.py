from __future__ import annotations

import contextlib
import datetime as dt
import math
import operator
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trine
from trine import tracking
from trine.errors import InvalidInput, NotFound
from trine.tracking import operations as door
from trine.tracking.expression import DEEPEST, NOES, PARTS, parse, parse_order
from trine.tracking.runs import RunInfo, is_loss
from trine.workspace import Workspace

TEXTS = [
    "a",
    "A",
    "b",
    "ab",
    "ä",
    "Ä",
    "100%",
    "a_c",
    "axc",
    "a*c",
    "[x]",
    "a?b",
    "back\\slash",
    "",
    "it's",
    'say "x"',
    "1",
    "1.0",
    "-3",
    "1e2",
    "zß",
    "\U0001f600",
]
NUMBERS = [0.0, 1.0, -3.0, 0.5, 100.0, 1e300, -1e300, math.inf, -math.inf]
PATTERNS = ["a", "^a", "b$", r"^-?[0-9.]+$", "(?i)AB?", "x|ä", r"[*?\[]", "^$", r"\\"]
KEYS = ["loss", "acc", "val/loss", "two words", "dots.in.it", "x.min"]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def number(value: float) -> str:
    return repr(value)


def field(kind: str, key: str, part: str = "") -> str:
    plain = re.fullmatch(r"[\w./:-]+", key) and key.rpartition(".")[2] not in PARTS
    return f"{kind}.{key if plain else f'`{key}`'}" + (f".{part}" if part else "")


# -- an evaluator of its own, over what runs are known to hold ---------------------------------------------------------


class Known:
    """What the test put into one run."""

    def __init__(
        self, name: str, state: str, params: dict[str, str], tags: dict[str, str], metrics: dict[str, list[float]]
    ):
        self.name, self.state, self.params, self.tags, self.metrics = name, state, params, tags, metrics

    def metric(self, key: str, part: str) -> float | None:
        values = self.metrics.get(key)
        if values is None:
            return None
        if part == "count":
            return float(len(values))
        if part in ("first", "last"):
            return values[0 if part == "first" else -1]
        least = part == "min" or (part == "best" and is_loss(key))
        finite = [one for one in values if one == one]
        return (min if least else max)(finite) if finite else math.nan


def as_number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE) else None


SIGNS: dict[str, Any] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def like(text: str, pattern: str, ignore_case: bool) -> bool:
    """As SQL does it; case only of ASCII letters."""
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        else:
            out += {"%": ".*", "_": "."}.get(char, re.escape(char))
        at += 1
    flags = re.DOTALL | (re.IGNORECASE | re.ASCII if ignore_case else 0)
    if ignore_case:  # without the ASCII flag's exceptions for non-ASCII letters
        text, out = (re.sub("[A-Z]", lambda m: m[0].lower(), one) for one in (text, out))
        flags = re.DOTALL
    return re.fullmatch(out, text, flags) is not None


Truth = tuple[str, Any]
"""An expression: its text, and a function from Known to bool."""


@st.composite
def conditions(draw: st.DrawFn) -> Truth:
    kind = draw(st.sampled_from(["metrics", "metric", "params", "tags", "state", "name"]))
    if kind in ("metrics", "metric"):
        return draw(metric_conditions(kind))
    if kind in ("state", "name"):
        get: Any = operator.attrgetter(kind)
        said = draw(st.sampled_from([kind, f"attributes.{kind}", f"run.{kind}"]))
    else:
        key = draw(st.sampled_from(KEYS))
        get = lambda run: getattr(run, kind).get(key)  # noqa: E731
        said = field(kind, key)
    what = draw(st.sampled_from(["compare", "number", "in", "like", "null", "between", "match", "bare"]))
    if what == "bare" and kind in ("params", "tags"):
        return said, lambda run: get(run) is not None and get(run) not in NOES
    if what == "match":
        pattern, negated = draw(st.sampled_from(PATTERNS)), draw(st.booleans())
        return (
            f"{said} {'!~' if negated else '~'} {quoted(pattern)}",
            lambda run: get(run) is not None and negated != bool(re.search(pattern, get(run))),
        )
    if what == "between":
        negated = draw(st.booleans())
        numeric = kind in ("params", "tags") and draw(st.booleans())
        low, high = (draw(st.sampled_from(NUMBERS if numeric else TEXTS)) for _ in range(2))

        def lies_between(run: Known) -> bool:
            text = get(run)
            if text is None:
                return False
            found = as_number(text) if numeric else text
            return negated != (found is not None and low <= found <= high)

        shown = number if numeric else quoted
        return f"{said} {'not ' if negated else ''}BETWEEN {shown(low)} and {shown(high)}", lies_between
    if what == "number" and kind in ("params", "tags"):
        sign, value = draw(st.sampled_from(list(SIGNS))), draw(st.sampled_from(NUMBERS))

        def holds(run: Known) -> bool:
            text = get(run)
            if text is None:
                return False
            found = as_number(text)
            return SIGNS[sign](found, value) if found is not None else sign in ("!=", "<>")

        return f"{said} {sign} {number(value)}", holds
    if what == "in":
        values = draw(st.lists(st.sampled_from([*TEXTS, "finished", "failed"]), min_size=1, max_size=4))
        numbers = draw(st.lists(st.sampled_from(NUMBERS), max_size=2)) if kind in ("params", "tags") else []
        negated = draw(st.booleans())
        listed = ", ".join([*map(quoted, values), *map(number, numbers)])

        def contained(run: Known) -> bool:
            text = get(run)
            return text is not None and negated != (text in values or as_number(text) in numbers)

        return f"{said} {'NOT IN' if negated else 'in'} ({listed})", contained
    if what == "like":
        pattern = draw(st.text("aAbxc%_\\*?[]äÄ1.", max_size=5))
        ignore_case, negated = draw(st.booleans()), draw(st.booleans())
        word = ("not " if negated else "") + ("ILIKE" if ignore_case else "LIKE")
        return (
            f"{said} {word} {quoted(pattern)}",
            lambda run: get(run) is not None and negated != like(get(run), pattern, ignore_case),
        )
    if what == "null" and kind in ("params", "tags"):
        negated = draw(st.booleans())
        return f"{said} IS {'NOT ' if negated else ''}NULL", lambda run: (get(run) is None) != negated
    sign, value = draw(st.sampled_from(list(SIGNS))), draw(st.sampled_from([*TEXTS, "failed"]))
    return f"{said}{sign}{quoted(value)}", lambda run: get(run) is not None and SIGNS[sign](get(run), value)


@st.composite
def metric_conditions(draw: st.DrawFn, kind: str) -> Truth:
    key, part = draw(st.sampled_from(KEYS)), draw(st.sampled_from(["", *PARTS]))
    said = field(kind, key, part)

    def get(run: Known) -> float | None:
        return run.metric(key, part or "last")

    what = draw(st.sampled_from(["compare", "compare", "in", "null", "nan", "between"]))
    negated = draw(st.booleans())
    if what == "between":
        low, high = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(NUMBERS))
        text = f"{said} {'not ' if negated else ''}between {number(low)} and {number(high)}"
        return text, lambda run: (f := get(run)) is not None and f == f and negated != (low <= f <= high)
    if what == "in":
        values = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3))
        text = f"{said} {'not in' if negated else 'IN'} ({','.join(map(number, values))})"
        return text, lambda run: (found := get(run)) is not None and found == found and negated != (found in values)
    if what == "null":
        return f"{said} is {'not ' if negated else ''}null", lambda run: (get(run) is None) != negated
    if what == "nan":
        text = f"{said} is {'not ' if negated else ''}nan"
        return text, lambda run: (found := get(run)) is not None and (found != found) != negated
    sign, value = draw(st.sampled_from(list(SIGNS))), draw(st.sampled_from(NUMBERS))
    return (
        f"{said} {sign} {number(value)}",
        lambda run: (found := get(run)) is not None and found == found and SIGNS[sign](found, value),
    )


def join(parts: list[Truth], word: str) -> Truth:
    text = f" {word} ".join(f"({part})" for part, _ in parts)
    every = all if word.lower() == "and" else any
    return text, lambda run: every(holds(run) for _, holds in parts)


expressions = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.tuples(st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "AND", "or", "Or"])).map(
            lambda p: join(*p)
        ),
        inner.map(lambda p: (f"not ({p[0]})", lambda run: not p[1](run))),
    ),
    max_leaves=6,
)


def make_runs(ws: Workspace) -> dict[str, Known]:
    """Runs with all kinds of values, some lacking each."""
    runs: list[Known] = []
    nan = math.nan
    series = [
        [0.5],
        [1.0, nan],
        [nan],
        [nan, -3.0, 0.5],
        [math.inf, 1.0],
        [-math.inf],
        [0.0, 100.0, -3.0],
        [1e300, 1.0],
    ]
    for index, text in enumerate(TEXTS):
        keys = [key for at, key in enumerate(KEYS) if (index + at) % 3]
        texts = {key: TEXTS[(index + at) % len(TEXTS)] for at, key in enumerate(keys)}
        tags = {key: TEXTS[(index * 3 + at) % len(TEXTS)] for at, key in enumerate(keys[::2])}
        metrics = {key: series[(index + at) % len(series)] for at, key in enumerate(keys)}
        runs.append(
            Known(f"{text or 'empty'} {index}", "failed" if index % 4 == 0 else "finished", texts, tags, metrics)
        )
    for known in runs:
        with trine.run(name=known.name, params=known.params, tags=known.tags, capture=False) as run:
            for key, values in known.metrics.items():
                run.log_batch(key, values)
            if known.state == "failed":
                run.finish("failed")
    return {known.name: known for known in runs}


def test_search_means_what_it_says(ws: Workspace) -> None:
    runs = make_runs(ws)

    @settings(max_examples=100)
    @given(expressions)
    def check(expression: Truth) -> None:
        text, holds = expression
        found = {one.name for one in door.search_runs(ws, expression=text, limit=1000).items}
        assert found == {name for name, known in runs.items() if holds(known)}, text

    check()


def test_order_and_pages_cut_nothing_and_double_nothing(ws: Workspace) -> None:
    runs = make_runs(ws)

    def by(get: Any, descending: bool) -> Any:
        def key(name: str) -> tuple[bool, Any]:
            value = get(runs[name])
            missing = value is None or value != value
            return (missing, 0 if missing else -value if descending else value)

        return key

    for key in ("loss", "two words"):
        for part in PARTS:
            for descending in (False, True):
                order = f"{field('metrics', key, part)} {'desc' if descending else 'ASC'}, name"
                whole = [one.name for one in tracking.search(order_by=order)]
                expected = sorted(sorted(runs), key=by(lambda run: run.metric(key, part), descending))  # noqa: B023
                assert whole == expected, order
                pages: list[str] = []
                page = ""
                while True:
                    found = door.search_runs(ws, order_by=order, limit=5, page=page)
                    pages += [one.name for one in found.items]
                    if not (page := found.next):
                        break
                assert pages == whole
    texts = [one.params.get("acc") for one in tracking.search(order_by="params.acc, name")]
    numbers = [as_number(text) for text in texts if text is not None]
    there = [one for one in numbers if one is not None]
    assert there == sorted(there) and all(one is None for one in numbers[len(there) :])
    words = [text for text in texts if text is not None and as_number(text) is None]
    assert words == sorted(words) and None not in texts[: len(there) + len(words)]
    newest = [one.started_us for one in tracking.search()]
    assert newest == sorted(newest, reverse=True)
    assert len(tracking.search(limit=3)) == 3
    for order in ("started", "duration desc", "ended", "parent, state desc", "tags.acc desc", "experiment, lost"):
        page = door.search_runs(ws, order_by=order, limit=4)
        rest = door.search_runs(ws, order_by=order, limit=1000, page=page.next)
        assert len({one.id for one in [*page.items, *rest.items]}) == len(runs)
    token = door.search_runs(ws, order_by="name", limit=4).next
    for order in ("metrics.loss", "started", ""):
        with pytest.raises(InvalidInput, match="page token"):
            door.search_runs(ws, order_by=order, limit=4, page=token)


def test_attributes_of_a_run(ws: Workspace) -> None:
    with trine.run("one") as first:
        pass
    info = tracking.get_run(first)
    with pytest.raises(ValueError), trine.run("two", parent=info) as second:
        raise ValueError("no luck")

    def found(expression: str) -> set[str]:
        return {one.experiment for one in tracking.search(expression)}

    assert found("experiment = 'one'") == {"one"}
    assert found("state in ('failed', 'killed')") == found("reason like '%no luck%'") == {"two"}
    assert found(f"id = '{second.id}' or parent = '{second.id}'") == {"two"}
    assert found("parent is null") == {"one"} and found("not parent is null") == {"two"}
    assert found("parent != 'x'") == {"two"} and found("not parent = 'x'") == {"one", "two"}
    assert found("started > '2020-01-01' and ended < '2200-01-01T00:00+02:00'") == {"one", "two"}
    assert found("duration < 3600 and duration >= 0") == {"one", "two"}
    assert found("lost > 0") == set()
    assert found(f"author = {quoted(info.author)}") == {"one", "two"}
    assert found("  ") == {"one", "two"}
    assert {one.name for one in tracking.search("name like 'one-%'", experiment="one")} == {"one-1"}
    with pytest.raises(NotFound, match='Did you mean "one"'):
        tracking.search(experiment="onee")
    running = trine.run("three")
    assert found("ended is null and duration is null") == {"three"}
    running.finish()


BAD = [
    ("metrics.loss >", 15, "expected a number or a quoted text, found the end."),
    ("metrics.loss > and x", 16, 'expected a number or a quoted text, found "and".'),
    ("params.a = b", 12, "Text has quotes: 'b'."),
    ("metrics.loss ! 5", 14, 'found "!".'),
    ("metrics.a > 1 metrics.b > 2", 15, 'expected "and", "or", "order by" or the end, found "metrics.b".'),
    ("(metrics.a > 1", 15, 'expected ")", found the end.'),
    ("metrics.a > 1)", 14, 'found ")".'),
    ("not", 4, "expected a field such as"),
    ("= 5", 1, "expected a field such as"),
    ("params.a in 'x'", 13, 'expected "(", found "\'x\'".'),
    ("params.a in ()", 14, "expected a number or a quoted text"),
    ("params.a in ('x' 'y')", 18, 'expected ")" or ","'),
    ("params.a like 5", 15, "expected a quoted text"),
    ("params.a = 'open", 12, "The quote is not closed."),
    ("metrics.a = 'x'", 13, "a number is compared with numbers, not with 'x'."),
    ("metrics.a like 'x'", 11, "is a number; like is for text."),
    ("metrics.`a`.median > 1", 1, 'A metric has no "median"'),
    ("params.a is nan", 13, "only metrics can be NaN."),
    ("states = 'x'", 1, 'Did you mean "state"?'),
    ("loss > 1", 1, "metrics.loss"),
    ("metricz.a > 1", 1, 'Did you mean "metrics"?'),
    ("state = 5", 9, "a text is compared with quoted text: '5'."),
    ("started > 5", 11, "a time is compared with a quoted date"),
    ("state = 'a' and started > 'soon'", 27, "a time is compared with a quoted date"),
    ("duration > '5'", 12, "a number is compared with numbers"),
    ("state = 'a\0'", 9, "NUL"),
    ("metrics.a between 1 or 2", 21, 'expected "and", found "or".'),
    ("tags.a between 'a' and 5", 24, "both ends are numbers, or both are texts"),
    ("metrics.loss and state = 'a'", 1, "alone says nothing"),
    ("metrics.a ~ 'x'", 11, "~ is for text"),
    ("data > 'flights'", 6, "has no order"),
    ("tags.a order by data", 17, "cannot be ordered"),
]


@pytest.mark.parametrize(("text", "column", "problem"), BAD)
def test_an_error_points_at_the_column(text: str, column: int, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.details["column"] == column, caught.value.message
    assert problem in caught.value.message
    line, pointer = caught.value.message.splitlines()[1:]
    assert pointer.index("^") - 2 == column - 1 and line.strip() == text.replace("\n", " ").strip()


def test_a_long_expression_shows_the_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(" and ".join(f"params.a{i} = 'x'" for i in range(20)) + " and state = 5")
    line, pointer = caught.value.message.splitlines()[1:]
    assert line[pointer.index("^")] == "5" and len(line) < 120


def test_an_expression_has_bounds(local_ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="10,000 characters"):
        parse("state = 'x' or " * 1000)
    with pytest.raises(InvalidInput, match="200 conditions"):
        parse(" or ".join(["state='x'"] * 201))
    for deep in ("not " * 500 + "state='x'", "(" * 400 + "state='x'" + ")" * 400):
        if deep.startswith("not"):
            with pytest.raises(InvalidInput, match="nested more than"):
                parse(deep)
        else:
            parse(deep)
    with pytest.raises(InvalidInput, match="Column 16 of the expression: expected"):
        parse_order("metrics.a desc asc")
    assert parse_order(" ") == []
    widest = " and ".join(["not (state = 'x' or metrics.a > 1)"] * 100)
    inner = "metrics.a > 1"
    for _ in range(DEEPEST // 2 - 1):
        inner = f"not (state = 'x' and {inner})"
    listed = f"params.a in ({', '.join(['1'] * 3000)})"
    for text in (widest, inner, listed):
        assert tracking.search(text) == []


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse, parse_order):
        with contextlib.suppress(InvalidInput):
            read(text)


def test_infos_are_what_search_gives(local_ws: Workspace) -> None:
    with trine.run() as run:
        run.log("a", 1)
    assert tracking.search() == [tracking.get_run(run)]
    assert isinstance(tracking.search()[0], RunInfo)
    day = dt.datetime.now(dt.UTC).date()
    assert len(tracking.search(f"started >= '{day - dt.timedelta(days=1)}'")) == 1


def names_of(expression: str, **more: Any) -> list[str]:
    return [one.name for one in tracking.search(expression, **more)]


def test_an_expression_says_its_order(ws: Workspace) -> None:
    for index in range(4):
        with trine.run(
            name=f"r{index}", params={"lr": f"1e-{index}"}, tags={"bad": "yes"} if index == 3 else {}
        ) as run:
            run.log("auc", 0.7 + index / 10)
    expression = (
        "metrics.auc.max > 0.75 and (params.lr in ('1e-1', '1e-3') or not tags.bad) order by metrics.auc.best desc"
    )
    assert names_of(expression) == ["r3", "r2", "r1"]
    assert names_of("order by name desc") == ["r3", "r2", "r1", "r0"]
    with pytest.raises(InvalidInput, match="said twice"):
        tracking.search("order by name", order_by="started")
    with pytest.raises(InvalidInput, match=r"Column 10 of the expression: the pattern cannot be read"):
        tracking.search("tags.a ~ '('")


def test_runs_are_found_by_what_they_read_and_what_came_of_it(ws: Workspace) -> None:
    first = trine.dataset("flights").commit(pl.DataFrame({"x": [1, 2]}))
    trine.dataset("flights").tag("2013-03")
    second = trine.dataset("flights").commit(pl.DataFrame({"x": [1, 2, 3]}))
    with trine.run(name="old"):
        trine.load("flights@2013-03")
    with trine.run(name="new"):
        trine.load("flights")
    with trine.run(name="none"):
        pass
    with trine.run(name="child", parent="old") as child:
        child.use("model:delays@1")
    assert (
        names_of('data = "flights@2013-03"') == names_of(f"data = 'flights@{first.node.partition('@')[2]}'") == ["old"]
    )
    assert names_of("data = 'flights'") == names_of("data like 'fli%'") == ["new", "old"]
    assert names_of("data in ('flights@main', 'flights@2013-03')") == ["new", "old"]
    assert names_of("data != 'flights@2013-03'") == names_of("data not in ('flights@2013-03')") == ["new"]
    assert names_of("data is null") == ["child", "none"] and names_of("not data is null") == ["new", "old"]
    assert names_of("input = 'model:delays@1'") == ["child"]
    assert names_of(f"upstream = '{second.node}'") == ["new"]
    assert names_of(f"upstream = '{first.node}' order by name") == ["child", "new", "old"]
    assert names_of(f"downstream = 'run:{child.id}'") == ["old"] and names_of("upstream = 'dataset:x@1'") == []
    with pytest.raises(NotFound, match='"2013-04"'):
        tracking.search("data = 'flights@2013-04'")


def test_the_best_is_what_the_project_says_it_is(ws: Workspace) -> None:
    for value in (3, 1, 2):
        with trine.run(name=f"r{value}") as run:
            run.log_batch("gap", [value, value + 10])
    assert tracking.get_run("r1").metrics["gap"].best == 11
    tracking.declare_metric("gap", better="less")
    assert tracking.get_run("r1").metrics["gap"].best == 1
    assert names_of("metrics.gap.best < 2.5 order by metrics.gap.best") == ["r1", "r2"]


def test_a_search_is_a_table(local_ws: Workspace) -> None:
    with trine.run(name="a <b>", params={"lr": 0.1}) as run:
        run.log_batch("auc", [0.5, 0.9, 0.7])
    with trine.run(name="c", params={"lr": 0.2}, tags={"bad": ""}):
        pass
    found = tracking.search("order by name")
    frame = found.polars(part="max")
    assert frame["name"].to_list() == ["a <b>", "c"] and frame["metrics.auc"].to_list() == [0.9, None]
    assert frame["params.lr"].to_list() == ["0.1", "0.2"] and frame["tags.bad"].to_list() == [None, ""]
    assert frame["started"].dtype == pl.Datetime("us", "UTC")
    page = found._repr_html_()
    assert "a &lt;b&gt;" in page and "0.7" in page and "No runs" in tracking.search("name = 'x'")._repr_html_()
    with pytest.raises(InvalidInput, match='no "median"'):
        found.polars(part="median")
    assert tracking.search("name = 'x'").polars().is_empty()
