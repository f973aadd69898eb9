"""The graph of a dataset's branches: every edge is drawn, lanes are used again, and lines meet from row to row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trine
from trine.data.commits import Commit
from trine.server.ui.branches import LANE, branches
from trine.workspace import Workspace


def commit(id: str, parents: list[str]) -> Commit:
    return Commit(
        dataset="d", id=id, kind="table", branch="main", parents=parents, tree="", schema={}, profile="", checks=[],
        rows=1, files=1, size_bytes=1, message="", author="user:ana", created_us=0, state="accepted",
    )  # fmt: skip


def ends(drawn: str, at: int) -> set[int]:
    """The lanes that a row has at its upper (0) or lower (100) edge."""
    if at == 0:
        return {int(one) // LANE for one in re.findall(r'd="M(\d+) 0[VC]', drawn)}
    straight = re.findall(r'd="M(\d+) \d+V100', drawn)
    bent = re.findall(r'C[^"]* (\d+) 100"', drawn)
    return {int(one) // LANE for one in [*straight, *bent]}


@st.composite
def histories(draw: st.DrawFn) -> list[Commit]:
    """Commits, newest first, each made from none to two older ones."""
    count = draw(st.integers(1, 25))
    made: list[Commit] = []
    for number in range(count):
        known = [one.id for one in made]
        parents = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
        made.append(commit(f"c{number}", parents))
    return made[::-1]


@given(histories())
def test_lines_meet_from_row_to_row_and_every_parent_is_led_to(history: list[Commit]):
    drawn = [str(one) for one in branches(history)]
    assert ends(drawn[0], 0) == set()
    for above, below in itertools.pairwise(drawn):
        assert ends(above, 100) == ends(below, 0)
    assert ends(drawn[-1], 100) == set()  # everything that was awaited has come


def test_a_straight_history_has_one_lane_and_a_merge_two():
    line = [str(one) for one in branches([commit("c", ["b"]), commit("b", ["a"]), commit("a", [])])]
    assert all('viewBox="0 0 16 100"' in one for one in line)
    merged = [commit("m", ["a", "b"]), commit("b", ["r"]), commit("a", ["r"]), commit("r", [])]
    assert all('viewBox="0 0 32 100"' in str(one) for one in branches(merged))


@pytest.fixture
def client(local_ws: Workspace, site: Callable[..., str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site(local_ws, embedded=True), headers={"accept": "text/html"}) as found:
        yield found


def test_a_datasets_page_draws_its_branches_and_leads_to_what_changed(client: httpx.Client, local_ws: Workspace):
    first = trine.dataset("rides").commit(pl.DataFrame({"x": [1, 2]}))
    trine.dataset("rides").branch("night")
    trine.dataset("rides").commit(pl.DataFrame({"x": range(5)}), branch="night")
    last = trine.dataset("rides").commit(pl.DataFrame({"x": [1]}))
    page = client.get("/data/rides").text
    assert page.count('class="lanes"') == 3 and 'viewBox="0 0 32 100"' in page
    assert f'diff?before={first.id[:12]}&amp;after={last.id[:12]}" title="what changed">+1</a>' in page
    assert ">+5</a>" in page
    assert 'aria-hidden="true">/</span></nav>' not in page
    answer = client.get("/data/rides/diff", params={"before": "night", "after": "main"})
    assert answer.status_code == 200 and "7 → 3" in answer.text
