"""What a commit says of its rows before its branch moves: profile and expectations, in one scan of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import polars as pl
from blake3 import blake3

from trine.data.checks import Checking
from trine.data.commits import Commit
from trine.data.expectations import CheckResult, Expectation
from trine.data.foreign import foreign_rows
from trine.data.one_pass import Rows, look_through
from trine.data.profiles import Profile
from trine.data.reading import profile_of, scan_commit
from trine.data.sketched import Sketched
from trine.data.sketches import Sketch
from trine.workspace import Workspace


class Seen(NamedTuple):
    """What the rules say, the profile of the whole table, and objects to store beside it: sketches, and rows that fail."""

    results: list[CheckResult]
    profile: Profile
    objects: list[bytes]


class Gate:
    """Rows on their way into a table. What does not depend on the table is made once, however often `look` is called.

    With `gone`, these rows leave the table that the new ones come to; `whole` gives the rows of the table as it will be.
    """

    def __init__(
        self,
        ws: Workspace,
        rows: Rows,
        *,
        gone: pl.DataFrame | None = None,
        whole: Callable[[], pl.LazyFrame] | None = None,
    ) -> None:
        self._ws = ws
        self._rows = rows
        self._gone = gone if gone is not None and gone.height else None
        self._whole = whole
        self._sketch: Sketch | None = None

    def look(self, rules: Sequence[Expectation], *, base: Commit | None, head: Commit | None) -> Seen:
        """See the table that these rows make: after those of `base`, or alone. `head` is the commit before, whose profile
        drift and growth are measured against.

        One plan over the new rows, which takes the old ones in only where a rule has to see them.
        """
        ws, rows = self._ws, self._rows.lazy()
        parent = profile_of(ws, head) if head and head.profile and (base or rules) else None
        before = parent if base else None
        table = Sketched.read(ws, base, before) if base and before else Sketched()
        if self._gone is not None and before:
            table = table.without_rows(look_through(self._gone)[0])
            before = msgspec.structs.replace(before, rows=before.rows - self._gone.height)
        whole = self._whole or (lambda: pl.concat([scan_commit(ws, base), rows]) if base else rows)
        checking = Checking(
            rules,
            rows,
            before=before,
            parent=parent,
            known=self._known(base) if base else None,
            whole=whole,
            look_up=foreign_rows(ws),
        )
        try:
            if self._sketch:
                collected = pl.collect_all(checking.plans, engine="streaming")
            else:
                self._sketch, collected = look_through(self._rows, checking.by_row, checking.other_plans)
        except pl.exceptions.PolarsError as error:
            raise checking.blame(error) from error
        profile, objects = table.with_rows(self._sketch).summed_up(whole)
        results = checking.results(collected, profile)
        if sample := checking.sample():
            profile = msgspec.structs.replace(profile, failing=blake3(sample).hexdigest())
            objects.append(sample)
        return Seen(results, profile, objects)

    def _known(self, base: Commit) -> dict[Expectation, CheckResult]:
        """What is known of the old rows that stay, by the question that was asked of them."""
        known = {one.rule.question: one for one in base.checks}
        if self._gone is None:
            return known
        # of a rule that some rows failed it is not known which: all are asked again
        held = [one.rule.question for one in base.checks if one.asked and not one.failing]
        checking = Checking(held, self._gone.lazy(), look_up=foreign_rows(self._ws))
        went = checking.results(pl.collect_all(checking.plans))
        return {
            one.rule: msgspec.structs.replace(known[one.rule], asked=known[one.rule].asked - one.asked) for one in went
        }
