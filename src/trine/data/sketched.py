"""What a table's profile is made from: sketches of the rows that came, and of those that went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import polars as pl
import zstandard
from blake3 import blake3

from trine.data.commits import Commit
from trine.data.merging import fold, merge
from trine.data.one_pass import look_through
from trine.data.parts import read_parts, scan_parts
from trine.data.profiles import Profile
from trine.data.removals import with_extremes, without
from trine.data.sketches import FORMAT, Sketch, summarise
from trine.errors import Damaged, NotFound
from trine.workspace import Workspace

MOST_GONE = 0.25
"""When a greater share of all rows that came went again, the profile is made anew from those that are left."""

Named = tuple[Sketch, str]
"""A sketch, and the object it is stored as, or nothing."""


class Sketched(NamedTuple):
    """Sketches of rows that came to a table, in their order, and of rows that went."""

    came: Sequence[Named] = ()
    went: Sequence[Named] = ()

    @classmethod
    def read(cls, ws: Workspace, table: Commit, profile: Profile) -> Sketched:
        """Those that a table's profile was made from; made anew, part by part, when they cannot be used."""
        try:
            came, went = _read(ws, profile.sketches), _read(ws, profile.gone)
        except (
            NotFound,
            Damaged,
            msgspec.DecodeError,
            zstandard.ZstdError,
        ):  # all can be had from the rows; verify names what is damaged
            came, went = [], []
        if came and all(one.format == FORMAT for one, _ in (*came, *went)):
            return cls(came, went)
        made: list[Sketch] = []
        parts = read_parts(ws.store, table.tree)
        for part in parts:
            made = fold([*made, look_through(scan_parts(ws, [part]))[0]])
        return cls([(one, "") for one in made])

    def with_rows(self, rows: Sketch) -> Sketched:
        return Sketched([*self.came, (rows, "")], self.went)

    def without_rows(self, rows: Sketch) -> Sketched:
        """How many different values they had is of no use: what went may be there in other rows."""
        bare = tuple(msgspec.structs.replace(column, distinct=0, hashes=b"") for column in rows.columns)
        return Sketched(self.came, [*self.went, (msgspec.structs.replace(rows, columns=bare), "")])

    def summed_up(self, whole: Callable[[], pl.LazyFrame]) -> tuple[Profile, list[bytes]]:
        """The profile, and the sketches that have to be stored. `whole` gives all rows, and is asked where sketches do not tell."""
        came, went = (fold([one for one, _ in each]) for each in (self.came, self.went))
        if sum(one.rows for one in went) > MOST_GONE * sum(one.rows for one in came):
            came, went = [look_through(whole())[0]], []
        total = merge(came)
        if went:
            total, unknown = without(total, merge(went))
            total = with_extremes(total, unknown, whole())
        names = {id(one): name for one, name in (*self.came, *self.went) if name}
        fresh = {id(one): _encode(one) for one in (*came, *went) if id(one) not in names}
        names |= {key: blake3(data).hexdigest() for key, data in fresh.items()}
        profile = summarise(total, [names[id(one)] for one in came])
        return msgspec.structs.replace(profile, gone=tuple(names[id(one)] for one in went)), list(fresh.values())


def _read(ws: Workspace, names: Sequence[str]) -> list[Named]:
    return [(msgspec.msgpack.decode(zstandard.decompress(ws.store.get(name)), type=Sketch), name) for name in names]


def _encode(one: Sketch) -> bytes:
    return zstandard.compress(msgspec.msgpack.encode(one))
