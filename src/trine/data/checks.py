"""Evaluating expectations: all rules of a table in one plan, then a look at some rows of those that fail."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from trine.data.expectations import CheckResult, Checks, Expectation, expectations
from trine.data.frames import as_polars, first_line
from trine.data.profiles import LONGEST, Profile
from trine.data.row_rules import LookUp, RowTest, compile_rows, unfit
from trine.data.table_rules import EDGES, judge, value_of
from trine.errors import InvalidInput
from trine.ids import now_us
from trine.workspace import Workspace

EXAMPLES = 5
"""Rows that fail a rule and are kept with its outcome."""

SAMPLE = 100
"""Rows that fail a rule and are kept whole, in an object beside the commit."""

LARGEST = 16 << 20
"""Bytes of such an object; rows are left out until it is no larger."""

TABLE_RULES = frozenset(
    [
        "row_count",
        "row_growth",
        "has_schema",
        "dtype",
        "null_share",
        "distinct_count",
        "distinct_share",
        "mean_between",
        "std_between",
        "median_between",
        "quantile_between",
        "sum_between",
        "minimum_between",
        "maximum_between",
        "includes",
        "fresh",
        "drift",
    ]
)


class Asked(NamedTuple):
    """A rule and the rows it is asked of: those after the first `skipped` ones of the table, of which `known` is known.

    `test` is for rules about rows; `value` for those about the table, if the profile does not tell it.
    """

    rule: Expectation
    rows: pl.LazyFrame
    skipped: int = 0
    known: CheckResult | None = None
    test: RowTest | None = None
    value: pl.Expr | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the answers for parts of the rows make the answer for all."""
        return self.test is not None and self.test.by_row

    def expressions(self, number: int) -> list[pl.Expr]:
        if self.test:
            return [self.test.failing.alias(f"{number} failing"), self.test.asked.alias(f"{number} asked")]
        return [] if self.value is None else [self.value.alias(f"{number} value")]


class Checking:
    """The rules of a table, ready to run: `plans` are to be collected (together with others), and `results` reads them; or
    `by_row` of all rows in batches, and `other_plans`.

    For rows that are added to a table, `before` is its profile, `known` what is known of its rows, and `whole` gives the
    old rows and the new ones; it is asked only where the new rows and what is known do not tell. `parent` is the profile
    of the commit before, whether or not its rows stay. `look_up` gives the rows of another dataset.
    """

    def __init__(
        self,
        rules: Sequence[Expectation],
        rows: pl.LazyFrame,
        *,
        before: Profile | None = None,
        parent: Profile | None = None,
        known: Mapping[Expectation, CheckResult] | None = None,
        whole: Callable[[], pl.LazyFrame] | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        """Raises InvalidInput for an unknown column, or a rule that does not go with the column's type."""
        schema = rows.collect_schema()
        together: pl.LazyFrame | None = None
        self._parent = parent or before
        self._tests: list[Asked] = []
        self.failing = pl.DataFrame()
        for rule in rules:
            if rule.kind in TABLE_RULES:
                one = Asked(rule, rows, value=value_of(rule, schema, rows))
                needs_all = one.value is not None
            else:
                test = compile_rows(rule, schema, rows, look_up or _nothing_to_look_up)
                past = (known or {}).get(rule.question) if test.by_row else None
                one = Asked(rule, rows, before.rows if before else 0, past, test)
                needs_all = past is None
            if needs_all and before is not None and whole is not None:
                together = whole() if together is None else together
                one = one._replace(rows=together, skipped=0)
            self._tests.append(one)
        self.by_row: list[pl.Expr] = []
        self.other_plans: list[pl.LazyFrame] = []
        self._rows = rows
        for frame in (rows, together):
            mine = [(i, one) for i, one in enumerate(self._tests) if one.rows is frame]
            if frame is rows:
                self.by_row = [each for i, one in mine if one.adds_up for each in one.expressions(i)]
                mine = [(i, one) for i, one in mine if not one.adds_up]
            if frame is not None and (asked := [each for i, one in mine for each in one.expressions(i)]):
                self.other_plans.append(frame.select(asked))

    @property
    def plans(self) -> list[pl.LazyFrame]:
        """All that has to be asked; of the rows at once, `by_row` too, whose answers for parts of them can be added up."""
        return [*([self._rows.select(self.by_row)] if self.by_row else []), *self.other_plans]

    @property
    def columns_to_profile(self) -> list[str] | None:
        """The columns whose profile is needed; None when none is, not even the number of rows."""
        told = [one.rule for one in self._tests if one.test is None and (one.value is None or one.rule.kind in EDGES)]
        if any(rule.kind == "has_schema" for rule in told):
            return list(self._tests[0].rows.collect_schema())
        return list(dict.fromkeys(column for rule in told for column in rule.columns)) if told else None

    def results(self, collected: Sequence[pl.DataFrame], profile: Profile | None = None) -> list[CheckResult]:
        """The outcomes in the order of the rules, given the profile of the whole table; reads rows that fail.

        `failing` are these rows afterwards, whole, at most `SAMPLE` for a rule.
        """
        values: dict[str, Any] = {}
        for frame in collected:
            for name, value in frame.row(0, named=True).items():
                values[name] = value if values.get(name) is None else values[name] + (value or 0)
        now = now_us()
        made: list[CheckResult] = []
        kept: list[pl.DataFrame] = []
        for number, one in enumerate(self._tests):
            if one.test is None:
                about = profile or Profile(0, ())
                failing, found = judge(one.rule, values.get(f"{number} value"), about, self._parent, now)
                made.append(CheckResult(one.rule, failing, found=found))
                continue
            failing, asked = int(values[f"{number} failing"] or 0), int(values[f"{number} asked"] or 0)
            if failing and one.test.repeated and one.test.fails is not None:
                failing = int(one.rows.select(one.test.fails.sum()).collect(engine="streaming").item())
            rows = _failing(one, failing)
            if rows is not None:
                kept.append(rows.insert_column(0, pl.lit(number, pl.UInt32).alias(_free("check", rows.columns))))
            made.append(_result(one, failing, asked, rows))
        self.failing = pl.concat(kept) if kept else pl.DataFrame()
        return made

    def sample(self) -> bytes:
        """Rows that failed, as Parquet; nothing when none did, or when they cannot be kept as such."""
        rows = self.failing
        while rows.height:
            buffer = io.BytesIO()
            rows.write_parquet(buffer, compression="zstd")
            if len(data := buffer.getvalue()) <= LARGEST:
                return data
            rows = rows.gather_every(2) if rows.height > 1 else rows.clear()
        return b""

    def blame(self, error: pl.exceptions.PolarsError) -> InvalidInput:
        """The error of plans that could not be run, with the name of the rule that it is about."""
        for number, one in enumerate(self._tests):
            try:
                one.rows.select(one.expressions(number)).collect(engine="streaming")
            except pl.exceptions.PolarsError as found:
                return unfit(one.rule, found)
        return InvalidInput(f"The rows cannot be looked at: {first_line(error)}")


def check(frame: Any, checks: Checks, *, ws: Workspace | None = None) -> list[CheckResult]:
    """What a first commit of a frame with these expectations would say about them; nothing is stored.

    A workspace is needed only for `foreign_key` to another dataset.
    """
    from trine.data.foreign import foreign_rows
    from trine.data.one_pass import look_through
    from trine.data.sketches import summarise

    rows = as_polars(frame)
    checking = Checking(expectations(checks), rows.lazy(), look_up=foreign_rows(ws))
    columns = checking.columns_to_profile
    try:
        if columns is None:
            return checking.results(pl.collect_all(checking.plans, engine="streaming"))
        told = summarise(look_through(rows.select(columns))[0])
        return checking.results(pl.collect_all(checking.plans, engine="streaming"), Profile(rows.height, told.columns))
    except pl.exceptions.PolarsError as error:
        raise checking.blame(error) from error


def failing(frame: pl.LazyFrame, rule: Expectation, look_up: LookUp | None = None) -> pl.LazyFrame:
    """The rows that fail a rule, with their number in front; none for a rule about the whole table."""
    schema = frame.collect_schema()
    fails = None
    if rule.kind not in TABLE_RULES:
        fails = compile_rows(rule, schema, frame, look_up or _nothing_to_look_up).fails
    return frame.with_row_index(_free("row", schema)).filter(pl.lit(False) if fails is None else fails)


def _nothing_to_look_up(ref: str) -> pl.LazyFrame:
    raise InvalidInput(f"{ref} cannot be looked up here.")


def _failing(one: Asked, count: int) -> pl.DataFrame | None:
    if not count or one.test is None or one.test.fails is None:
        return None
    number = _free("row", one.rows.collect_schema())
    rows = one.rows.with_row_index(number, offset=one.skipped).filter(one.test.fails).head(SAMPLE)
    return rows.collect(engine="streaming")


def _result(one: Asked, failing: int, asked: int, rows: pl.DataFrame | None) -> CheckResult:
    examples: tuple[dict[str, Any], ...] = ()
    if rows is not None:
        number = _free("row", rows.columns[2:])
        shown = (
            rows.select(number, *dict.fromkeys((*one.rule.columns, *_by(one.rule))))
            if one.rule.columns
            else rows[:, 1:]
        )
        examples = tuple({key: _plain(value) for key, value in row.items()} for row in shown.head(EXAMPLES).to_dicts())
    if one.known:
        failing, asked = failing + one.known.failing, asked + one.known.asked
        examples = (*one.known.examples, *examples)[:EXAMPLES]
    return CheckResult(one.rule, failing, examples, asked)


def _by(rule: Expectation) -> tuple[str, ...]:
    return rule.others if rule.kind in ("increasing", "decreasing") else ()


def _free(name: str, taken: Any) -> str:
    return name if name not in taken else f"{name}_number" if name == "row" else f"{name}_name"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    return value if isinstance(value, (bool, int, type(None))) else str(value)[:LONGEST]
