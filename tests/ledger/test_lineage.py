from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import InvalidInput, NotFound
from trine.ledger import lineage
from trine.ledger.lineage import EDGE_KINDS, Edge, Lineage, add_edges, path_between, walk
from trine.workspace import Workspace

CAUSE_FIRST = {"produced", "triggered"}


def causes(edges: list[Edge], start: str, direction: str) -> set[str]:
    """The oracle: a plain closure."""
    found = {start}
    while True:
        grown = set(found)
        for one in edges:
            up, down = (one.source, one.target) if one.kind in CAUSE_FIRST else (one.target, one.source)
            near, far = (down, up) if direction == "up" else (up, down)
            if near in found:
                grown.add(far)
        if grown == found:
            return found
        found = grown


nodes = st.integers(0, 12).map(lambda index: f"thing:n{index}")
graphs = st.lists(st.builds(Edge, nodes, st.sampled_from(EDGE_KINDS), nodes), min_size=1, max_size=30)


@pytest.mark.parametrize("few", [0, lineage.FEW])  # all edges of a level at once, and node by node
@settings(max_examples=60)
@given(edges=graphs, direction=st.sampled_from(["up", "down"]), data=st.data())
def test_a_walk_finds_exactly_the_closure(
    lineage_ws: Workspace,
    edges: list[Edge],
    direction: str,
    data: st.DataObject,
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lineage, "FEW", few)
    _project[0] += 1
    project = f"p{_project[0]}"
    with lineage_ws.ledger.transaction(write=True) as connection:
        add_edges(connection, project, edges, 1)
        add_edges(connection, project, edges, 2)
        start = data.draw(st.sampled_from([edges[0].source, edges[0].target]))
        found = walk(connection, project, start, direction=direction)  # type: ignore[arg-type]
    assert set(found.nodes) == causes(edges, start, direction)
    assert found.nodes[0] == start
    assert set(found.edges) <= set(edges)
    assert len(found.edges) == len(set(found.edges))


_project = [0]


@pytest.fixture(scope="module")
def lineage_ws(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    from trine.workspace import connect

    with connect(tmp_path_factory.mktemp("lineage")) as ws:
        yield ws


def test_depth_limits_a_walk(local_ws: Workspace) -> None:
    edges = [Edge(f"thing:{i}", "derived", f"thing:{i + 1}") for i in range(10)]
    with local_ws.ledger.transaction(write=True) as connection:
        add_edges(connection, "default", edges, 1)
        assert walk(connection, "default", "thing:0", direction="up", depth=3).nodes == [f"thing:{i}" for i in range(4)]
        with pytest.raises(NotFound, match="thing:9"):
            walk(connection, "default", "thing:99", direction="up")
        with pytest.raises(InvalidInput, match="kind:name@version"):
            add_edges(connection, "default", [Edge("nothing", "used", "thing:1")], 1)
        with pytest.raises(InvalidInput, match="used"):
            add_edges(connection, "default", [Edge("thing:1", "user", "thing:1")], 1)


def test_the_way_between_two_kinds_and_dot() -> None:
    found = Lineage(
        "prediction:p",
        ["prediction:p", "model:m@1", "run:r", 'code:"x"'],
        [
            Edge("prediction:p", "answered", "model:m@1"),
            Edge("run:r", "produced", "model:m@1"),
            Edge("run:r", "used", 'code:"x"'),
        ],
    )
    assert [one.kind for one in path_between(found, "code")] == ["answered", "produced", "used"]
    assert path_between(found, "dataset") == []
    assert '\\"x\\"' in found.dot()


def test_a_name_without_version_is_its_newest(lineage_ws: Workspace) -> None:
    with lineage_ws.ledger.transaction(write=True) as connection:
        for version in ("1", "2"):
            add_edges(connection, "newest", [Edge(f"model:m@{version}", "derived", f"dataset:d@{version}")], 1)
        add_edges(connection, "newest", [Edge("model:m2@1", "derived", "dataset:d@1")], 1)
        assert walk(connection, "newest", "model:m", direction="up").nodes == ["model:m@2", "dataset:d@2"]
        with pytest.raises(NotFound):
            walk(connection, "newest", "model:n", direction="up")


def test_names_of_a_change_that_was_taken_back_are_not_kept(local_ws: Workspace) -> None:
    def names(project: str, second: str, *, write: bool) -> list[str]:
        with local_ws.ledger.transaction(write=write) as connection:
            if write:
                add_edges(connection, project, [Edge("model:m@1", "used", f"dataset:{second}@1")], 1)
            found = walk(connection, project, "model:m@1", direction="up").nodes
            if second == "lost":
                connection.rollback()
            return found

    assert names("p", "lost", write=True) == ["model:m@1", "dataset:lost@1"]
    assert names("p", "kept", write=True) == ["model:m@1", "dataset:kept@1"]
    assert names("p", "", write=False) == names("p", "", write=False) == ["model:m@1", "dataset:kept@1"]


@pytest.mark.parametrize("few", [0, lineage.FEW])
def test_both_databases_walk_the_same_way(ws: Workspace, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if ws.remote is not None:
        return  # a server walks as its database does
    monkeypatch.setattr(lineage, "FEW", few)
    edges = [
        Edge("run:a", "used", "dataset:d@1"),
        Edge("run:a", "produced", "model:m@1"),
        Edge("run:b", "used", "dataset:d@1"),
    ]
    with ws.ledger.transaction(write=True) as connection:
        add_edges(connection, "default", edges, 1)
        down = walk(connection, "default", "dataset:d@1", direction="down")
        up = walk(connection, "default", "model:m@1", direction="up")
    assert down.nodes == ["dataset:d@1", "run:a", "run:b", "model:m@1"] and set(down.edges) == set(edges)
    assert up.nodes == ["model:m@1", "run:a", "dataset:d@1"] and set(up.edges) == set(edges[:2])
