"""A table against a plain dict: every order of appends, edits, compactions, branches and merges gives what the model says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trine import data
from trine.data.row_edits import Compat
from trine.errors import Conflict
from trine.workspace import connect

Rows = dict[int, float | None]
KEYS = range(12)
values = st.sampled_from([None, 0.0, 1.0, 2.0])
some_rows = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)
branches = st.sampled_from(["main", "side"])
compats = st.sampled_from(["", "", "copy-on-write"])


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame({"id": list(rows), "x": list(rows.values())}, schema={"id": pl.Int64, "x": pl.Float64})


class TableMachine(RuleBasedStateMachine):
    template: Path

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="trine-machine-"))
        (self.root / ".trine").mkdir()
        shutil.copy(self.template, self.root / ".trine" / "ledger.db")
        self.ws = connect(self.root)
        self.commits: dict[str, Rows] = {}
        first = data.commit(frame({0: 0.0, 1: None}), name="t", ws=self.ws)
        data.dataset("t", ws=self.ws).branch("side")
        self.heads = dict.fromkeys(["main", "side"], first.id)
        self.bases = first.id  # where the branches parted
        self.commits[first.id] = {0: 0.0, 1: None}

    def teardown(self) -> None:
        if hasattr(self, "ws"):
            for commit in self.commits:
                assert data.verify(f"t@{commit}", ws=self.ws) == []
            self.ws.close()
            shutil.rmtree(self.root)

    def rows(self, branch: str) -> Rows:
        return self.commits[self.heads[branch]]

    def moved(self, branch: str, made: data.Commit, rows: Rows) -> None:
        assert made.rows == len(rows)
        self.commits[made.id] = rows
        self.heads[branch] = made.id

    @rule(branch=branches, rows=some_rows)
    def append(self, branch: str, rows: Rows) -> None:
        new = {key: value for key, value in rows.items() if key not in self.rows(branch)}
        made = data.commit(frame(new), name="t", branch=branch, ws=self.ws)
        self.moved(branch, made, self.rows(branch) | new)

    @rule(branch=branches, rows=some_rows, compat=compats)
    def upsert(self, branch: str, rows: Rows, compat: Compat) -> None:
        made = data.upsert(frame(rows), name="t", key="id", branch=branch, compat=compat, ws=self.ws)
        self.moved(branch, made, self.rows(branch) | rows)

    @rule(branch=branches, first=st.sampled_from(KEYS), many=st.integers(1, 12), compat=compats)
    def delete(self, branch: str, first: int, many: int, compat: Compat) -> None:
        where = f"id >= {first} AND id < {first + many}"
        made = data.delete(where, name="t", branch=branch, compat=compat, ws=self.ws)
        left = {key: value for key, value in self.rows(branch).items() if not first <= key < first + many}
        self.moved(branch, made, left)

    @rule(branch=branches)
    def compact(self, branch: str) -> None:
        before = data.load(f"t@{branch}", ws=self.ws).collect()
        made = data.compact("t", branch=branch, ws=self.ws)
        assert data.load(made.ref, ws=self.ws).collect().equals(before)
        self.moved(branch, made, self.rows(branch))

    @rule(into=branches)
    def merge(self, into: str) -> None:
        source = "side" if into == "main" else "main"
        base, ours, theirs = self.commits[self.bases], self.rows(into), self.rows(source)
        merged: Rows = {}
        clash = False
        for key in KEYS:
            was, one, two = (side.get(key, "gone") for side in (base, ours, theirs))
            clash = clash or (one != was and two != was and one != two)
            if (now := two if one == was else one) != "gone":
                merged[key] = now  # type: ignore[assignment]
        if clash and self.heads[source] != self.bases:
            with pytest.raises(Conflict, match="changed on both sides"):
                data.merge("t", source, into=into, key="id", ws=self.ws)
            return
        made = data.merge("t", source, into=into, key="id", ws=self.ws)
        self.moved(into, made, merged)
        self.bases = self.heads[source]

    @invariant()
    def rows_and_profile_are_what_the_model_says(self) -> None:
        if not hasattr(self, "ws"):
            return
        for branch in self.heads:
            found, wanted = data.load(f"t@{branch}", ws=self.ws).collect(), self.rows(branch)
            assert dict(found.rows()) == wanted and found.height == len(wanted)
            told, exact = data.profile(f"t@{branch}", ws=self.ws), data.profile_frame(found)
            for one, two in zip(told.columns, exact.columns, strict=True):
                for field in ("count", "nulls", "distinct", "min", "max", "quantiles", "top"):
                    assert getattr(one, field) == getattr(two, field), (branch, one.name, field)


def test_a_table_does_what_its_model_does(sqlite_template: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    TableMachine.template = sqlite_template
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        TableMachine, settings=settings(max_examples=8, stateful_step_count=12, deadline=None)
    )
