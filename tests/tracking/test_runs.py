from __future__ import annotations

import datetime as dt
import math
import threading
from pathlib import Path

import numpy as np
import pytest

import trine
from trine import tracking
from trine.access import audit, graph
from trine.errors import Conflict, InvalidInput, NotFound
from trine.ids import new_id
from trine.tracking import operations as door
from trine.tracking.spool import spool_of
from trine.workspace import Workspace, recording_uses


def test_a_run_keeps_what_it_was_told(ws: Workspace) -> None:
    with trine.run("churn", params={"lr": 0.1, "deep": True, "model": "forest"}, tags={"team": "risk"}) as run:
        run.log("loss", 0.5)
        run.log({"loss": 0.25, "auc": np.float32(0.75)}, step=4)
        run.log("loss", 0.3)
        run.param("seed", 7)
        run.tag("team", "growth")
        run.use("dataset:flights@123456789012")
        assert tracking.active_run() is run
    assert tracking.active_run() is None
    info = tracking.get_run(run)
    assert (info.experiment, info.name, info.state, info.parent) == ("churn", "churn-1", "finished", None)
    assert info.params == {"lr": "0.1", "deep": "True", "model": "forest", "seed": "7"}
    assert info.tags == {"team": "growth"}
    loss = info.metrics["loss"]
    assert (loss.count, loss.first, loss.last, loss.last_step, loss.min, loss.max) == (3, 0.5, 0.3, 5, 0.25, 0.5)
    assert (loss.best, loss.best_step, info.metrics["auc"].best) == (0.25, 4, 0.75)
    assert info.inputs == ["dataset:flights@123456789012"]
    assert info.started_us <= info.ended_us  # type: ignore[operator]
    assert info.context.arguments and info.environment and not info.is_lossy
    assert tracking.get_run(info.id[:20]) == tracking.get_run("churn-1") == tracking.get_run(info.node) == info
    assert not list(spool_of(ws).glob("*"))


def test_every_float_comes_back_as_it_was(ws: Workspace) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1]
    with trine.run() as run:
        for value in values:
            run.log("x", value)
        run.log("only nan", math.nan)
    kept = tracking.history(run, "x")["value"].to_list()
    assert [np.float64(one).tobytes() for one in kept] == [np.float64(one).tobytes() for one in values]
    metrics = tracking.get_run(run).metrics
    x, nothing = metrics["x"], metrics["only nan"]
    assert math.isnan(x.first) and (x.last, x.min, x.max, x.count, x.nans) == (0.1, -math.inf, math.inf, 7, 1)
    assert math.isnan(nothing.last) and math.isnan(nothing.min) and math.isnan(nothing.best)
    assert [one.id for one in tracking.search("metrics.x.max = inf and metrics.`only nan` is nan")] == [run.id]


def test_an_exception_marks_the_run_failed_and_goes_on(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), trine.run() as run:
        run.log("loss", 1)
        1 / 0  # noqa: B018
    info = tracking.get_run(run)
    assert (info.state, info.reason, info.metrics["loss"].last) == (
        "failed",
        "ZeroDivisionError: division by zero",
        1.0,
    )
    with pytest.raises(KeyboardInterrupt), trine.run() as run:
        raise KeyboardInterrupt
    assert tracking.get_run(run).state == "killed"
    with pytest.raises(SystemExit), trine.run() as run:
        raise SystemExit(0)
    assert tracking.get_run(run).state == "finished"
    with pytest.raises(Conflict, match="has ended here"):
        run.log("loss", 2)
    run.finish("failed")
    assert tracking.get_run(run).state == "finished"


def test_runs_nest_and_the_graph_knows(ws: Workspace) -> None:
    used: list[str] = []
    with recording_uses(used.append, "step_run:1/train"), trine.run("search") as parent:
        with trine.run(params={"depth": 3}) as child, trine.run() as grandchild:
            pass
        with trine.run("other", parent="") as alone:
            pass
    with trine.run("late", parent=parent.id) as late:
        pass
    infos = {run.id: tracking.get_run(run) for run in (child, grandchild, alone, late)}
    assert [one.parent for one in infos.values()] == [parent.id, child.id, None, parent.id]
    assert [one.experiment for one in infos.values()] == ["search", "search", "other", "late"]
    assert infos[child.id].code == tracking.get_run(parent).code
    above = graph.lineage(ws, node=grandchild.node).nodes
    assert {"step_run:1/train", parent.node, child.node} <= set(above)
    assert parent.node in graph.lineage(ws, node=late.node).nodes
    assert {one.id for one in tracking.search(f"parent = '{parent.id}'")} == {child.id, late.id}
    assert tracking.get_run(parent).outputs == []


def test_a_param_is_written_once(ws: Workspace) -> None:
    with trine.run() as run:
        run.params({"a": 1, "b": 2})
        run.param("a", "1")
        with pytest.raises(Conflict, match=r"""Param "a" of run default-1 is '1' already and cannot become '2'"""):
            run.params({"c": 3, "a": 2})
    assert tracking.get_run(run).params == {"a": "1", "b": "2"}


def test_a_run_goes_on_where_it_was(ws: Workspace) -> None:
    with trine.run("long") as run:
        run.log("loss", 1)
        run.log("loss", 2)
    with trine.run(resume="long-1", params={"more": 1}, tags={"t": 1}) as again:
        assert again.id == run.id
        again.log("loss", 3)
        assert tracking.get_run(run).state == "running"
        with trine.run(resume=run.id) as joined:
            joined.log("loss", 4, step=3)
        assert tracking.get_run(run).state == "running"
    info = tracking.get_run(run)
    assert (info.state, info.params, info.tags) == ("finished", {"more": "1"}, {"t": "1"})
    assert tracking.history(run, "loss")[["step", "value"]].rows() == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_somebody_else_may_end_a_run_for_good(ws: Workspace) -> None:
    with trine.run() as run:
        run.log("a", 1)
        door.end_run(ws, id=run.id, state="killed", reason="enough")
    info = tracking.get_run(run)
    assert (info.state, info.reason, info.metrics["a"].last) == ("killed", "enough", 1.0)


def test_many_points_at_once(ws: Workspace) -> None:
    size = 250_000
    values, steps = np.random.default_rng(0).normal(size=size), np.arange(size) * 3
    times = 1_700_000_000_000_000 + np.arange(size) * 1000
    with trine.run() as run:
        run.log_batch("x", values, steps=steps, times=times)
        run.log("x", 9)
        run.log_batch("y", [1, 2, 3])
        run.log_batch("y", [True, False], times=[dt.datetime(2026, 1, 1), 5])
        run.log_batch("none", [])
    frame = tracking.history(run, "x")
    assert frame["value"].to_numpy()[:-1].tobytes() == values.tobytes()
    assert frame["step"].to_list()[-2:] == [749_997, 749_998]
    assert frame["time_us"].to_numpy()[:-1].tobytes() == times.tobytes()
    assert tracking.history(run, "y")[["step", "value"]].rows() == [(0, 1), (1, 2), (2, 3), (3, 1), (4, 0)]
    assert set(tracking.get_run(run).metrics) == {"x", "y"}
    thinned = door.read_points(ws, id=run.id, key="x", thin=1000)
    assert len(thinned.values) <= 1002 and max(thinned.values) == 9.0 and min(thinned.values) == values.min()


def test_threads_share_a_run(ws: Workspace) -> None:
    with trine.run() as run:

        def work(number: int) -> None:
            for at in range(500):
                run.log(f"key {at % 7}", number, step=at)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    metrics = tracking.get_run(run).metrics
    assert sum(one.count for one in metrics.values()) == 2_000
    rows = tracking.history(run, "key 3")[["step", "value"]].rows()
    assert sorted(rows) == sorted((at, float(number)) for number in range(4) for at in range(3, 500, 7))


def test_artifacts_are_kept_by_content(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "ü.bin").write_bytes(bytes(range(256)) * 2000)
    (folder / "note.txt").write_text("one")
    with trine.run() as run:
        run.log_artifact(folder / "note.txt")
        run.log_artifact(folder / "note.txt", "notes/first.txt")
        run.log_artifacts(folder, "all")
        run.log_text("héllo", "t.txt")
        run.log_json({"a": [1, None]}, "j.json")
        run.log_text("changed", "note.txt")
        with pytest.raises(InvalidInput, match="is a folder"):
            run.log_artifact(folder)
        with pytest.raises(NotFound, match="no folder"):
            run.log_artifacts(tmp_path / "missing")
        for path in ("../x", "/x", "a//b", "a/./b", "a\\b", "", "a\0"):
            with pytest.raises(InvalidInput, match="no path of an artifact"):
                run.log_text("x", path)
        with pytest.raises(InvalidInput, match="cannot be written as JSON"):
            run.log_json(object(), "o.json")
    found = tracking.artifacts(run)
    assert [one.path for one in found] == [
        "all/note.txt",
        "all/sub/ü.bin",
        "j.json",
        "note.txt",
        "notes/first.txt",
        "t.txt",
    ]
    assert found[0].hash == found[4].hash
    assert tracking.read_artifact(run, "note.txt") == b"changed"
    assert tracking.read_artifact(run, "all/sub/ü.bin") == (folder / "sub" / "ü.bin").read_bytes()
    assert [one.path for one in tracking.artifacts(run, "all/")] == ["all/note.txt", "all/sub/ü.bin"]
    with pytest.raises(NotFound, match=r'Did you mean "notes/first\.txt"'):
        tracking.read_artifact(run, "notes/firts.txt")
    paths = tracking.download_artifacts(run, tmp_path / "back", "all")
    assert paths[0].read_bytes() == b"one"
    with pytest.raises(NotFound, match="no object"):
        door.record_artifacts(ws, id=run.id, artifacts=[tracking.Artifact("x", "0" * 64, 1)])
    (folder / "away").symlink_to("/etc")
    with trine.run() as run, pytest.raises(InvalidInput, match="leaves"):
        run.log_artifacts(folder)


def test_bad_input_is_named_and_nothing_is_kept(ws: Workspace) -> None:
    with trine.run() as run:
        for bad, message in (
            (lambda: run.log("a", "0.5"), "\"a\" needs a number, not '0.5'"),
            (lambda: run.log("a"), '"a" needs a number, not nothing'),
            (lambda: run.log("a", [1, 2]), '"a" needs a number, not list'),
            (lambda: run.log("a", 10**400), '"a" needs a number, not int'),
            (lambda: run.log("a", 1, step=0.5), 'step of metric "a" is an integer, not 0.5'),  # type: ignore[arg-type]
            (lambda: run.log("a", 1, step=2**63), "64 bits"),
            (lambda: run.log("a", 1, step=-(2**63) - 1), "64 bits"),
            (lambda: run.log("a", 1, time="now"), "datetime or microseconds"),  # type: ignore[arg-type]
            (lambda: run.log("", 1), "1 to 250 characters"),
            (lambda: run.log("a\nb", 1), "1 to 250 characters"),
            (lambda: run.log("\ud800", 1), "1 to 250 characters"),
            (lambda: run.log(5, 1), "is text, not int"),  # type: ignore[arg-type]
            (lambda: run.log({"a": 1}, 2), "as a mapping, or"),
            (lambda: run.log_batch("a", [1, 2], steps=[1]), "one length, not 1 steps, 2 times, 2 values"),
            (lambda: run.log_batch("a", ["x"]), "hold <U1, not numbers"),
            (lambda: run.log_batch("a", [1.0], steps=[0.5]), "steps of metric"),
            (lambda: run.log_batch("a", [[1], [1, 2]]), "not numbers of one kind"),
            (lambda: run.param("p", "x" * 6001), "at most 6,000"),
            (lambda: run.tag("t", "a\0b"), "no valid text"),
            (lambda: run.use("flights"), "is no node"),
            (lambda: tracking.get_run(7), "given as its id"),  # type: ignore[arg-type]
            (lambda: tracking.compare(run), "two or more"),
        ):
            with pytest.raises(InvalidInput, match=message.replace("(", r"\(")):
                bad()
    info = tracking.get_run(run)
    assert not info.metrics and not info.params and not info.tags and not info.inputs
    with pytest.raises(NotFound, match='Did you mean "default-1"'):
        tracking.get_run("defualt-1")
    with pytest.raises(NotFound, match='has no metric "a"'):
        tracking.history(run, "a")
    with pytest.raises(Conflict, match="There is a run"):
        door.create_run(ws, id=run.id)
    with pytest.raises(NotFound, match="No run"):
        trine.run(parent="0" * 32)
    assert len(tracking.search()) == 1


def test_a_deleted_run_is_hidden_and_refuses_changes(ws: Workspace) -> None:
    with trine.run("e") as run:
        run.log("a", 1)
    assert door.delete_run(ws, id=run.id).changed
    assert tracking.search() == [] and tracking.experiments()[0].runs == 0
    assert [one.id for one in door.search_runs(ws, deleted=True).items] == [run.id]
    for change in (run.tag, lambda name: run.params({name: 1}), lambda _: trine.run(resume=run.id)):
        with pytest.raises(Conflict, match="is deleted"):
            change("x")
    door.restore_run(ws, id=run.id)
    assert tracking.search()[0].metrics["a"].last == 1.0
    run.tag("gone", "soon")
    door.delete_tag(ws, id=run.id, tag="gone")
    with pytest.raises(NotFound, match='no tag "gone"'):
        door.delete_tag(ws, id=run.id, tag="gone")


def test_names_may_be_anything_and_ids_may_be_given(ws: Workspace) -> None:
    identity = new_id()
    door.create_run(ws, id=identity, experiment_name="/Users/ana/50 % & more", started_us=1_500_000_000_000_000)
    info = tracking.get_run("/Users/ana/50 % & more-1")
    assert (info.id, info.started_us, info.author) == (identity, 1_500_000_000_000_000, info.author)
    door.create_run(ws, experiment_name="/Users/ana/50 % & more", name="/Users/ana/50 % & more-1")
    with pytest.raises(InvalidInput, match="means several runs"):
        tracking.get_run("/Users/ana/50 % & more-1")
    assert [(one.name, one.runs) for one in tracking.experiments()] == [("/Users/ana/50 % & more", 2)]


def test_what_differs_between_runs(ws: Workspace) -> None:
    with trine.run(params={"lr": 0.1, "same": 1}) as one:
        one.log("auc", 0.5)
    with trine.run(params={"lr": 0.2, "same": 1}, capture=False) as two:
        two.log("loss", 0.5)
    found = tracking.compare(one, two)
    assert found.different_params == {"lr": ["0.1", "0.2"]}
    assert found.params["same"] == ["1", "1"]
    assert found.metrics["auc"][1] is None and found.metrics["loss"][1] is not None
    assert found.packages["polars"][1] is None


def test_each_change_is_an_event(ws: Workspace) -> None:
    with trine.run("e") as run:
        run.log("a", 1)
    told = {one.operation: one for one in audit.list_events(ws, object=run.node).items}
    assert {"tracking.create_run", "tracking.fold_segment", "tracking.end_run"} <= set(told)
    ended = told["tracking.end_run"].body
    assert (ended["experiment"], ended["state"]) == ("e", "finished") and ended["duration_us"] >= 0
    assert told["tracking.fold_segment"].body["points"] == 1
