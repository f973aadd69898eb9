"""What a commit says of its rows before its branch moves: profile and expectations, in one scan of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import polars as pl
from blake3 import blake3

from trine.data.checks import Checking
from trine.data.commits import Commit
from trine.data.expectations import CheckResult, Expectation
from trine.data.foreign import foreign_rows
from trine.data.merging import fold, merge
from trine.data.profiles import Profile
from trine.data.reading import local_file, profile_of, scan_commit
from trine.data.sketches import FORMAT, Sketch, count_values, sketch, summarise
from trine.data.trees import read_tree
from trine.errors import Damaged, NotFound
from trine.workspace import Workspace


class Seen(NamedTuple):
    """What the rules say, the profile of the whole table, and objects to store beside it: sketches, and rows that fail."""

    results: list[CheckResult]
    profile: Profile
    objects: list[bytes]


class Gate:
    """Rows on their way into a table. What does not depend on the table is made once, however often `look` is called."""

    def __init__(self, ws: Workspace, rows: pl.DataFrame) -> None:
        self._ws = ws
        self._rows = rows
        self._sketch: Sketch | None = None

    def look(self, rules: Sequence[Expectation], *, base: Commit | None, head: Commit | None) -> Seen:
        """See the table that these rows make: after those of `base`, or alone. `head` is the commit before, whose profile
        drift and growth are measured against.

        One plan over the new rows, which takes the old ones in only where a rule has to see them.
        """
        ws, rows = self._ws, self._rows.lazy()
        before = profile_of(ws, base) if base else None
        parent = before or (profile_of(ws, head) if head and head.profile and rules else None)
        checking = Checking(
            rules,
            rows,
            before=before,
            parent=parent,
            known={one.rule.question: one for one in base.checks} if base else None,
            whole=lambda: pl.concat([scan_commit(ws, base), rows]) if base else rows,
            look_up=foreign_rows(ws),
        )
        try:
            plans = checking.plans if self._sketch else [*checking.plans, count_values(rows)]
            collected = pl.collect_all(plans, engine="streaming")
        except pl.exceptions.PolarsError as error:
            raise checking.blame(error) from error
        self._sketch = self._sketch or sketch(self._rows, collected.pop())
        old = _sketches(ws, base, before) if base and before else []
        profile, objects = _summed_up([*old, (self._sketch, "")])
        results = checking.results(collected, profile)
        if sample := checking.sample():
            profile = msgspec.structs.replace(profile, failing=blake3(sample).hexdigest())
            objects.append(sample)
        return Seen(results, profile, objects)


def _summed_up(parts: list[tuple[Sketch, str]]) -> tuple[Profile, list[bytes]]:
    """The profile of sketches, of which some are stored under a name, and those to store."""
    sketches = fold([one for one, _ in parts])
    names = {id(one): name for one, name in parts if name}
    objects = {id(one): msgspec.msgpack.encode(one) for one in sketches if id(one) not in names}
    names |= {key: blake3(data).hexdigest() for key, data in objects.items()}
    return summarise(merge(sketches), [names[id(one)] for one in sketches]), list(objects.values())


def _sketches(ws: Workspace, base: Commit, before: Profile) -> list[tuple[Sketch, str]]:
    """The sketches of a table and their objects; made anew, part by part, when they cannot be used."""
    try:
        found = [(msgspec.msgpack.decode(ws.store.get(name), type=Sketch), name) for name in before.sketches]
    except (NotFound, Damaged, msgspec.DecodeError):  # all of it can be had from the rows; verify names what is damaged
        found = []
    if found and all(one.format == FORMAT for one, _ in found):
        return found
    made: list[Sketch] = []
    for entry in read_tree(ws.store, base.tree):
        made = fold([*made, sketch(pl.read_parquet(local_file(ws, entry.hash), glob=False))])
    return [(one, "") for one in made]
