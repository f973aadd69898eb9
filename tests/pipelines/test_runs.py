from __future__ import annotations

import _thread
import io
import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from trine import data, models, pipelines
from trine.access import audit, graph
from trine.errors import Conflict, Failure, InvalidInput, NotFound, Refused, Unavailable
from trine.pipelines import executors, pipeline, step
from trine.pipelines import operations as door
from trine.pipelines.logs import StepLog
from trine.workspace import Workspace, recording_uses


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where steps say that they ran; the working folder is no git repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    return tmp_path / "marks"


def mark(name: str) -> int:
    """Say that a step ran; gives how often it did before."""
    path = Path(os.environ["MARKS"])
    before = path.read_text().split() if path.exists() else []
    with path.open("a") as file:
        file.write(name + "\n")
    return before.count(name)


def ran(marks: Path) -> Counter[str]:
    """How often each step ran since it was last asked for."""
    found = Counter(marks.read_text().split()) if marks.exists() else Counter[str]()
    marks.unlink(missing_ok=True)
    return found


@step
def prepare(n: int) -> pl.DataFrame:
    mark("prepare")
    return pl.DataFrame({"x": range(n)})


@step
def split(rows: pl.DataFrame, at: float = 0.5) -> tuple[pl.DataFrame, pl.DataFrame]:
    mark("split")
    k = int(len(rows) * at)
    return rows[:k], rows[k:]


@step
def total(rows: pl.DataFrame) -> int:
    mark("total")
    return rows["x"].sum()


@step
def join(values: list[int], label: str = "") -> dict[str, Any]:
    mark("join")
    return {"sum": sum(values), "label": label}


@pipeline
def sums(n: int, at: float = 0.5, label: str = "a") -> dict[str, Any]:
    first, second = split(prepare(n), at)
    return {"joined": join([total(first), total(second)], label), "rows": second, "n": n}


ALL = {"prepare": 1, "split": 1, "total": 2, "join": 1}


def states(run: pipelines.PipelineRun) -> dict[str, str]:
    return {one.key: one.state for one in run.steps}


def test_a_run_gives_what_the_plain_call_gives(ws: Workspace, marks: Path) -> None:
    plain = sums(10)
    ran(marks)
    made = sums.run(n=10)
    assert ran(marks) == ALL
    assert made.state == "succeeded"
    assert made.result["joined"] == plain["joined"] == {"sum": 45, "label": "a"}
    assert made.result["rows"].equals(plain["rows"])
    assert set(states(made).values()) == {"succeeded"}
    again = pipelines.get_pipeline_run(made.id)
    assert again.result["joined"] == plain["joined"]
    assert again.result["rows"].equals(plain["rows"])
    assert again.info.params == {"n": "10", "at": "0.5", "label": '"a"'}
    assert [value.summary for value in again.step("split").outputs] == ["DataFrame 5 × 1", "DataFrame 5 × 1"]


def test_moves_are_events_with_their_edges(ws: Workspace) -> None:
    with recording_uses(lambda _: None, "cycle:1"):
        made = sums.run(n=10)
    events = audit.list_events(ws, operation="pipelines.*").items
    assert events[0].operation == "pipelines.start_pipeline_run"
    assert events[-1].operation == "pipelines.finish_pipeline_run"
    assert events[-1].body["pipeline"] == "sums"
    assert events[-1].body["state"] == "succeeded"
    assert events[-1].body["duration_us"] > 0
    moves = [one.body["steps"] for one in events if one.operation == "pipelines.move_steps"]
    assert moves[0] == {"prepare": "running"}
    assert moves[1] == {
        "prepare": "succeeded",
        "split": "running",
    }  # one transaction where one step ends and the next begins
    up = graph.lineage(ws, node=f"step_run:{made.id}/join")
    edges = {(one.source, one.kind, one.target) for one in up.edges}
    run = made.node
    assert ("cycle:1", "triggered", run) in edges
    assert (run, "triggered", f"step_run:{made.id}/join") in edges
    assert (f"step_run:{made.id}/join", "used", f"step_run:{made.id}/total-2") in edges
    assert (run, "used", f"pipeline:sums@{made.info.version[:12]}") in edges


def test_what_did_not_change_is_taken_from_earlier_runs(ws: Workspace, marks: Path) -> None:
    first = sums.run(n=10)
    ran(marks)
    second = sums.run(n=10)
    assert ran(marks) == {}
    assert set(states(second).values()) == {"cached"}
    assert second.result["joined"] == first.result["joined"]
    assert second.result["rows"].equals(first.result["rows"])
    assert second.step("join").hit == f"step_run:{first.id}/join"
    assert second.explain("join") == f"taken from step_run:{first.id}/join"
    assert f"step_run:{first.id}/prepare" in graph.lineage(ws, node=f"step_run:{second.id}/join").nodes

    third = sums.run(n=10, at=0.2)
    assert ran(marks) == {"split": 1, "total": 2, "join": 1}
    assert states(third) == {"prepare": "cached", **dict.fromkeys(["split", "total", "total-2", "join"], "succeeded")}
    assert third.explain("split") == "input at changed"
    assert third.explain("total") == "input rows (from split) changed"
    fourth = sums.run(n=10, at=0.2, label="b")
    assert ran(marks) == {"join": 1}
    assert fourth.explain("join") == "input label changed"
    assert first.explain("join") == "first time"

    fresh = pipelines.run(sums, {"n": 10}, cache=False)
    assert ran(marks) == ALL
    assert fresh.explain("join") == "cache is off in this run"


def test_an_equal_output_cuts_the_work_short(ws: Workspace, marks: Path) -> None:
    @step
    def floor(x: float) -> int:
        mark("floor")
        return int(x)

    @step
    def after(x: int) -> int:
        mark("after")
        return x + 1

    @pipeline
    def early(x: float) -> int:
        return after(floor(x))

    assert early.run(x=1.2).result == 2
    assert early.run(x=1.7).result == 2
    assert ran(marks) == {"floor": 2, "after": 1}


def test_changed_code_and_salt_are_seen_and_cache_can_be_off(ws: Workspace, marks: Path) -> None:
    def make(rate: float, salt: str = "", cache: bool = True) -> pipelines.Pipeline[..., float]:
        def scale(x: float) -> float:
            mark("scale")
            return x * rate

        def body(x: float) -> float:
            return step(scale, salt=salt, cache=cache)(x) if False else step(salt=salt, cache=cache)(scale)(x)

        return pipeline(name="scaling")(body)

    assert make(2.0).run(x=1.0).result == 2.0
    assert make(2.0).run(x=1.0).result == 2.0
    assert ran(marks) == {"scale": 1}
    changed = make(3.0).run(x=1.0)
    assert changed.result == 3.0
    assert "closure rate" in changed.explain("scale")
    assert make(3.0, salt="v2").run(x=1.0).explain("scale") == "salt changed"
    assert ran(marks) == {"scale": 2}
    for _ in range(2):
        assert make(3.0, cache=False).run(x=1.0).explain("scale") == "cache is off"
    assert ran(marks) == {"scale": 2}


def test_a_name_that_moved_is_no_hit_and_a_pinned_one_is(ws: Workspace, marks: Path) -> None:
    data.commit(pl.DataFrame({"x": [1]}), name="t", tag="jan")

    @step
    def count(ref: str) -> int:
        mark("count")
        return data.load(ref).collect().height

    @pipeline
    def counting(ref: str) -> int:
        return count(ref)

    first = data.resolve("t")
    for ref in ("t", "t@jan"):
        made = counting.run(ref=ref)
        assert made.step("count").uses == [first.node]
        assert counting.run(ref=ref).result == 1
    assert ran(marks) == {"count": 2}
    data.commit(pl.DataFrame({"x": [2]}), name="t")
    moved = counting.run(ref="t")
    assert moved.result == 2
    assert moved.explain("count") == f"dataset t@main was {first.id[:12]}, is {data.resolve('t').id[:12]}"
    assert states(counting.run(ref="t@jan")) == {"count": "cached"}
    assert ran(marks) == {"count": 1}


def test_a_name_that_stood_for_nothing_and_now_does_is_no_hit(ws: Workspace) -> None:
    @step
    def count(ref: str) -> int:
        try:
            return data.load(ref).collect().height
        except NotFound:
            return -1

    body = pipeline(name="p")(lambda: count("t"))
    assert body.run().result == -1
    assert states(body.run()) == {"count": "cached"}
    data.commit(pl.DataFrame({"x": [1]}), name="t")
    made = body.run()
    assert made.result == 1
    assert made.explain("count").startswith("dataset t@main was nothing, is ")


def test_an_alias_of_a_model_that_moved_is_no_hit(ws: Workspace, marks: Path) -> None:
    rows = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})

    @step
    def predict(ref: str) -> list[Any]:
        mark("predict")
        return models.load_model(ref).predict(rows)["prediction"].to_list()

    body = pipeline(name="p")(lambda: predict("m@production"))
    for flip in (False, True):
        model = LogisticRegression().fit(rows, [flip, flip, not flip, not flip])
        models.register(model, "m", inputs=rows)
        models.promote("m", 2 if flip else 1)
        for _ in range(2):
            assert body.run().result == [flip, flip, not flip, not flip]
    assert ran(marks) == {"predict": 2}
    assert body.run().step("predict").uses == []


def test_what_a_step_makes_leads_back_to_what_it_read(ws: Workspace) -> None:
    source = data.commit(pl.DataFrame({"x": [1, 2]}), name="source")

    @step
    def read(ref: str) -> pl.DataFrame:
        return data.load(ref).collect()

    @step
    def write(rows: pl.DataFrame) -> str:
        return data.commit(rows * 2, name="made").ref

    @pipeline
    def copying() -> str:
        return write(read(data.resolve("source").ref))

    made = copying.run()
    assert made.result == data.resolve("made").ref
    up = graph.lineage(ws, node=data.resolve("made").node)
    assert {source.node, made.node, f"step_run:{made.id}/read", f"step_run:{made.id}/write"} <= set(up.nodes)


@step
def fragile(x: int) -> int:
    mark("fragile")
    if not Path("mended").exists():
        raise ValueError(f"cannot do {x}")
    return x


@step
def side(x: int) -> int:
    mark("side")
    return x * 100


@pipeline
def breaking(x: int) -> list[int]:
    return [side(x), side(fragile(side(fragile(x))))]


def test_a_failed_step_names_itself_and_the_rest_waits_for_a_resume(ws: Workspace, marks: Path) -> None:
    with pytest.raises(Failure) as caught:
        breaking.run(x=1)
    run_id = caught.value.details["run"]
    assert str(caught.value).startswith(f'Step "fragile" of pipeline run {run_id} failed: ValueError: cannot do 1')
    assert f"trine pipeline resume {run_id}" in str(caught.value)
    made = pipelines.get_pipeline_run(run_id)
    assert made.state == "failed"
    assert states(made) == {
        "side": "succeeded", "fragile": "failed", "side-2": "upstream_failed",
        "fragile-2": "upstream_failed", "side-3": "upstream_failed",
    }  # fmt: skip
    error = made.step("fragile").error
    assert error is not None
    assert error.text == "ValueError: cannot do 1"
    assert "in fragile\n    raise ValueError" in error.traceback
    assert "engine" not in error.traceback
    assert "Traceback (most recent call last)" in made.log("fragile")
    assert made.error is not None
    assert made.error.step == "fragile"
    with pytest.raises(Conflict, match="has no result: it is failed"):
        made.result  # noqa: B018
    assert ran(marks) == {"side": 1, "fragile": 1}
    Path("mended").touch()
    done = breaking.resume(run_id)
    assert done.result == [100, 10_000]
    # the first side is not run again, and the second is the first one over again: the same code on the same input
    assert ran(marks) == {"fragile": 2, "side": 1}
    assert states(done)["side-2"] == "cached"
    with pytest.raises(Conflict, match="has succeeded; there is nothing to resume"):
        breaking.resume(run_id)


@step
def numbered() -> int:
    return mark("numbered") // 2  # 0, 0, 1: the second time the same as the first


@pipeline
def counted() -> int:
    return side(numbered())


def test_a_step_is_done_again_past_the_cache_and_what_needs_it_only_when_its_output_is_another(
    ws: Workspace, marks: Path
) -> None:
    made = counted.run()
    same = pipelines.retry(made.id, "numbered", pipeline=counted)
    assert (same.id, same.state, same.result) == (made.id, "succeeded", 0)
    assert same.explain("numbered") == "asked for again"
    assert Counter(marks.read_text().split()) == {"numbered": 2, "side": 1}
    other = pipelines.retry(made.id, "numbered", pipeline=counted)
    assert other.result == 100 and Counter(marks.read_text().split()) == {"numbered": 3, "side": 2}
    assert audit.list_events(ws, operation="pipelines.claim_pipeline_run").items[-1].body["again"] == ["numbered"]
    with pytest.raises(NotFound, match=r'has no step "numberd"\. Did you mean "numbered"\?'):
        pipelines.retry(made.id, "numberd", pipeline=counted)
    with pytest.raises(InvalidInput, match="which step"):
        pipelines.retry(made.id, pipeline=counted)
    assert pipelines.get_pipeline_run(made.id).state == "succeeded"


def test_a_step_whose_code_was_mended_runs_again_and_what_does_not_need_it_does_not(ws: Workspace, marks: Path) -> None:
    def make(rate: int) -> pipelines.Pipeline[..., Any]:
        @step
        def begin(x: int) -> int:
            mark("begin")
            return x

        @step
        def scale(x: int) -> int:
            mark("scale")
            return x * rate

        @step
        def invert(x: int) -> float:
            mark("invert")
            return 1 / x

        @pipeline
        def mending(x: int) -> float:
            return invert(scale(begin(x)))

        return mending

    with pytest.raises(Failure, match="division by zero") as caught:
        make(0).run(x=5)
    ran(marks)
    done = make(2).resume(caught.value.details["run"])
    assert done.result == 0.1
    assert ran(marks) == {"scale": 1, "invert": 1}
    assert "closure rate" in done.explain("scale")
    assert done.explain("scale").endswith("since the run began")


def test_retries_wait_for_named_errors_only(ws: Workspace, marks: Path) -> None:
    @step(retries=3, backoff_s=0.001, retry_on=OSError)
    def flaky() -> str:
        if mark("flaky") < 2:
            raise ConnectionError("not yet")
        return "there"

    @step(retries=3, backoff_s=0.001, retry_on=OSError)
    def wrong() -> str:
        mark("wrong")
        raise ValueError("never")

    @step(retries=1, backoff_s=0.001)
    def hopeless() -> str:
        mark("hopeless")
        raise OSError("gone")

    made = pipeline(name="p1")(lambda: flaky()).run()
    assert made.result == "there"
    assert made.step("flaky").attempt == 3
    assert made.log("flaky").count("ConnectionError: not yet") == 2
    retried = [e.body["steps"] for e in audit.list_events(ws, operation="pipelines.move_steps").items]
    assert {"flaky": "retrying"} in retried
    with pytest.raises(Failure, match="ValueError: never"):
        pipeline(name="p2")(lambda: wrong()).run()
    with pytest.raises(Failure, match="OSError: gone"):
        pipeline(name="p3")(lambda: hopeless()).run()
    assert ran(marks) == {"flaky": 3, "wrong": 1, "hopeless": 2}


def test_a_step_that_takes_too_long_is_ended_at_its_next_line(ws: Workspace) -> None:
    ended = threading.Event()

    @step(timeout_s=0.05, cache=False)
    def endless() -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(Failure, match=r"TimeoutError: took longer than 0\.05 s"):
        pipeline(name="p")(lambda: endless()).run()
    assert ended.wait(10)


def test_a_step_inside_one_long_call_is_given_up(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.pipelines.engine.GRACE_S", 0.05)
    release = threading.Event()

    @step(timeout_s=0.05, retries=2, cache=False)
    def stuck() -> int:
        release.wait()  # one call that Python cannot interrupt
        return 1

    with pytest.raises(Failure, match="does not end: it is inside one long call"):
        pipeline(name="p")(lambda: stuck()).run()
    release.set()
    assert states(pipelines.get_pipeline_run("p")) == {"stuck": "failed"}


def test_what_steps_print_and_log_is_kept_apart(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    meet = threading.Barrier(2)

    @step(cache=False)
    def talk(name: str) -> None:
        meet.wait(30)
        for number in range(50):
            print(name, number)
            print(name, "err", number, file=sys.stderr)
        logging.getLogger("talk").warning("%s warns", name)
        meet.wait(30)
        print("x" * 5_000)

    @step
    def silent() -> None:
        pass

    @pipeline(parallel=2)
    def talking() -> Any:
        return [talk("ann"), talk("bob"), silent()]

    made = talking.run()
    for key, name in (("talk", "ann"), ("talk-2", "bob")):
        lines = made.log(key).splitlines()
        assert [line for line in lines if "err" not in line and line.startswith(name)] == [
            f"{name} {n}" for n in range(50)
        ]
        assert f"WARNING talk: {name} warns" in lines
        assert lines[-1] == "x" * 5_000
        assert ("bob" if name == "ann" else "ann") not in made.log(key)
    assert made.log("silent") == ""
    out, err = capsys.readouterr()
    said = [f"{name} {{}}{n}" for name in ("ann", "bob") for n in range(50)]
    assert sorted(out.splitlines()) == sorted([*(one.format("") for one in said), "x" * 5_000, "x" * 5_000])
    assert {one.format("err ") for one in said} <= set(err.splitlines())  # no line was broken by the other step's
    assert not list(ws.spool.rglob("*.log"))


@pytest.mark.parametrize(
    ("echo", "before", "after"), [("plain", "50 %", "50 %left"), ("labelled", "", "s │ 50 %left\n")]
)
def test_a_line_that_was_begun_is_shown_when_it_is_flushed_or_ends(
    tmp_path: Path, echo: Any, before: str, after: str
) -> None:
    screen, log = io.StringIO(), StepLog(tmp_path / "s.log", label="s", echo=echo)
    log.show(screen, "50 %")
    assert screen.getvalue() == ""
    log.flush(screen)
    assert screen.getvalue() == before
    log.show(screen, "left")
    log.close()
    log.close()
    assert screen.getvalue() == after


def test_steps_run_at_once_up_to_the_limit(ws: Workspace) -> None:
    meet = threading.Barrier(3)
    at_once = [0, 0]
    lock = threading.Lock()

    @step(cache=False)
    def together(n: int) -> int:
        meet.wait(30)  # needs all three at once
        return n

    @step(cache=False)
    def alone(n: int) -> int:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        time.sleep(0.002)
        with lock:
            at_once[0] -= 1
        return n

    assert pipeline(name="p", parallel=3)(lambda: [together(n) for n in range(3)]).run().result == [0, 1, 2]
    assert pipeline(name="q", parallel=2)(lambda: [alone(n) for n in range(12)]).run().result == list(range(12))
    assert at_once[1] <= 2


def test_a_step_does_not_see_what_another_did_to_its_input(ws: Workspace) -> None:
    @step
    def make() -> np.ndarray[Any, Any]:
        return np.zeros(1_000)

    @step
    def spoil(values: np.ndarray[Any, Any]) -> float:
        values += 1
        return float(values.sum())

    @pipeline
    def spoiling() -> Any:
        values = make()
        return [spoil(values), spoil(values), spoil(values), values]

    result = spoiling.run().result
    assert result[:3] == [1_000.0] * 3
    assert result[3].sum() == 0


def test_a_run_can_be_cancelled_and_resumed(ws: Workspace, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.pipelines.engine.POLL_S", 0.01)
    begun, failures = threading.Event(), list[Failure]()

    @step
    def first() -> int:
        mark("first")
        return 1

    @step(cache=False)
    def waiting(x: int) -> int:
        begun.set()
        while not Path("go").exists():
            time.sleep(0.001)
        return x

    @step
    def last(x: int) -> int:
        return x

    body = pipeline(name="p")(lambda: last(waiting(first())))

    def drive() -> None:
        try:
            body.run(ws=ws)
        except Failure as error:
            failures.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    assert begun.wait(30)
    run = pipelines.get_pipeline_run("p")
    assert run.state == "running"
    with pytest.raises(Conflict, match="is being run by"):
        body.resume(run.id)
    pipelines.cancel(run.id)
    thread.join(30)
    (error,) = failures
    assert "was cancelled by" in str(error)
    run = pipelines.get_pipeline_run("p")
    assert run.state == "cancelled"
    assert states(run) == {"first": "succeeded", "waiting": "cancelled", "last": "cancelled"}
    with pytest.raises(Conflict, match="is cancelled; there is nothing to cancel"):
        pipelines.cancel(run.id)
    Path("go").touch()
    assert body.resume(run.id).result == 1
    assert ran(marks) == {"first": 1}


def test_ctrl_c_leaves_a_run_that_can_be_resumed(ws: Workspace, marks: Path) -> None:
    @step
    def first() -> int:
        mark("first")
        return 1

    @step(cache=False)
    def interrupted(x: int) -> int:
        if mark("interrupted") == 0:
            _thread.interrupt_main()
            while True:
                time.sleep(0.001)
        return x + 1

    body = pipeline(name="p")(lambda: interrupted(first()))
    with pytest.raises(KeyboardInterrupt) as caught:
        body.run()
    assert "Go on with: " in caught.value.__notes__[0]
    run = pipelines.get_pipeline_run("p")
    assert run.state == "interrupted"
    assert states(run) == {"first": "succeeded", "interrupted": "interrupted"}
    assert body.resume(run.id).result == 2
    assert ran(marks) == {"first": 1, "interrupted": 2}


def test_of_two_claims_one_wins_and_a_late_owner_changes_nothing(ws: Workspace) -> None:
    begun, go, errors = threading.Event(), threading.Event(), list[Exception]()

    @step(cache=False)
    def slow() -> int:
        begun.set()
        while not go.is_set():
            time.sleep(0.001)
        return 1

    body = pipeline(name="p")(lambda: slow())

    def drive() -> None:
        try:
            body.run(ws=ws)
        except Conflict as error:
            errors.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    assert begun.wait(30)
    info = door.get_pipeline_run(ws, id="p")
    claim: dict[str, Any] = {"id": info.id, "epoch": info.epoch, "version": info.version, "gone": True}
    taken = door.claim_pipeline_run(ws, owner="elsewhere/1/2/3/4", **claim)
    with pytest.raises(Conflict, match="taken over by somebody else"):
        door.claim_pipeline_run(ws, owner="third/1/2/3/4", **claim)
    with pytest.raises(Conflict, match="is being run by process 3 on elsewhere"):
        door.claim_pipeline_run(ws, owner="third/1/2/3/4", **{**claim, "epoch": taken.epoch, "gone": False})
    go.set()
    thread.join(30)
    assert "taken over by process 3 on elsewhere" in str(errors[0])
    assert states(pipelines.get_pipeline_run("p")) == {"slow": "pending"}
    assert door.get_pipeline_run(ws, id="p").state == "running"
    with pytest.raises(Conflict, match="no longer this process's"):
        door.finish_pipeline_run(ws, id=info.id, epoch=info.epoch, state="succeeded")


def called(one: Any) -> Any:
    return lambda: one()


def test_a_step_that_leaves_the_program_fails_and_so_does_one_with_a_wrong_output(ws: Workspace) -> None:
    @step
    def leave() -> int:
        sys.exit(3)

    @step
    def pair() -> tuple[int, int]:
        return (1, 2, 3)  # type: ignore[return-value]

    @step
    def strange() -> Any:
        return threading.Lock()

    for one, words in [
        (leave, "SystemExit: 3"),
        (pair, "annotated to return 2 values; it returned 3 values"),
        (strange, 'The output of step "strange": a _thread.lock cannot be stored'),
    ]:
        with pytest.raises(Failure, match=words):
            pipeline(name="p")(called(one)).run()


def test_texts_that_no_store_can_carry_come_through(ws: Workspace) -> None:
    odd = "a\0b\ud800"

    @step
    def same(x: dict[str, str]) -> dict[str, str]:
        print("nul \0 and half a pair \ud800")
        return x

    @step
    def fail(x: dict[str, str]) -> None:
        raise ValueError(odd)

    made = pipeline(name="p")(lambda: same({odd: odd})).run()
    assert made.result == {odd: odd}
    assert made.log("same") == "nul � and half a pair ?\n"
    with pytest.raises(Failure, match="ValueError: a�b"):
        pipeline(name="q")(lambda: fail({odd: odd})).run()


class Custom:
    """Only pickle can store it."""

    def __init__(self, x: int) -> None:
        self.x = x


def test_pickle_has_to_be_asked_for(ws: Workspace, marks: Path) -> None:
    @step(pickle=True)
    def make() -> Custom:
        mark("make")
        return Custom(7)

    @step
    def use(custom: Custom) -> int:
        mark("use")
        return custom.x

    @pipeline
    def pickling() -> Any:
        custom = make()
        return custom, use(custom)

    assert pickling.run().result[1] == 7
    again = pickling.run()
    assert ran(marks) == {"make": 1, "use": 1}
    assert again.result[0].x == 7
    stored = pipelines.get_pipeline_run(again.id)
    with pytest.raises(Refused, match="runs what is in it"):
        stored.result  # noqa: B018
    assert stored.read_result(pickle=True)[0].x == 7


class Handle:
    """Has no content."""


handle = Handle()


@step
def uses_handle() -> bool:
    mark("uses_handle")
    return handle is not None


def test_a_step_that_uses_what_has_no_content_is_never_cached(ws: Workspace, marks: Path) -> None:
    body = pipeline(name="p")(lambda: uses_handle())
    body.run()
    made = body.run()
    assert ran(marks) == {"uses_handle": 2}
    assert made.explain("uses_handle").startswith("never cached: it uses ")
    assert "handle" in made.explain("uses_handle")


def test_nothing_is_written_when_a_run_cannot_begin(ws: Workspace) -> None:
    for words, call in [
        ('no parameter "m"', lambda: sums.run(m=1)),
        ('needs the parameter "n"', lambda: sums.run()),
        ('no executor "threads".* Did you mean "thread"', lambda: pipelines.run(sums, {"n": 1}, executor="threads")),
        ("parallel is -1", lambda: pipelines.run(sums, {"n": 1}, parallel=-1)),
        ("no pipeline: write file.py:name", lambda: pipelines.run("sums")),
    ]:
        with pytest.raises(InvalidInput, match=words):
            call()
    with pytest.raises(NotFound, match="no file"):
        pipelines.run("nowhere.py:sums")
    assert pipelines.list_pipeline_runs() == []


def test_runs_are_found_by_id_beginning_and_name(ws: Workspace) -> None:
    first, second = sums.run(n=1), sums.run(n=2)
    assert [one.id for one in pipelines.list_pipeline_runs("sums")] == [second.id, first.id]
    assert pipelines.get_pipeline_run("sums").id == second.id
    assert pipelines.get_pipeline_run(first.id[:31]).id == first.id
    with pytest.raises(InvalidInput, match="beginning of several"):
        pipelines.get_pipeline_run(first.id[:6])
    with pytest.raises(NotFound, match=r'no pipeline of that name has run\. Did you mean "sums"'):
        pipelines.get_pipeline_run("sum")
    with pytest.raises(NotFound, match=r'has no step "jon"\. Did you mean "join"'):
        first.step("jon")
    page = door.list_pipeline_runs(ws, limit=1)
    assert [one.id for one in door.list_pipeline_runs(ws, limit=1, page=page.next).items] == [first.id]
    assert first.wait().state == "succeeded"


def test_a_pipeline_without_steps_and_one_that_returns_nothing(ws: Workspace) -> None:
    assert pipeline(name="p")(lambda: 5).run().result == 5
    assert pipeline(name="q")(lambda: None).run().result is None


def test_an_output_that_left_the_store_is_made_again(local_ws: Workspace, marks: Path) -> None:
    @step
    def big() -> pl.DataFrame:
        mark("big")
        return pl.DataFrame({"x": range(100_000)})

    @step
    def height(rows: pl.DataFrame) -> int:
        if not Path("mended").exists():
            raise ValueError("not yet")
        return rows.height

    def lose(run: pipelines.PipelineRun) -> None:
        (name,) = run.step("big").outputs[0].objects
        assert local_ws.root is not None
        for path in (local_ws.root / "store").rglob(f"*{name}*"):
            path.unlink()

    body = pipeline(name="p")(lambda: height(big()))
    for _ in range(2):
        with pytest.raises(Failure):
            body.run()
        run = pipelines.get_pipeline_run("p")
        lose(run)
    assert run.explain("big").startswith("the output of step_run:")
    Path("mended").touch()
    done = body.resume(run.id)
    assert done.result == 100_000
    assert done.explain("big") == "its output is not in the store any more"
    assert ran(marks) == {"big": 3}


def test_what_a_step_prints_can_be_read_while_it_runs_from_elsewhere_too(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trine.pipelines.engine.POLL_S", 0.01)
    monkeypatch.setattr("trine.pipelines.engine.LEASE_S", 0.03)
    begun, go = threading.Event(), threading.Event()

    @step(cache=False)
    def talk() -> None:
        print("halfway")
        begun.set()
        go.wait()

    body = pipeline(name="p")(lambda: talk())
    thread = threading.Thread(target=lambda: body.run(ws=ws))
    thread.start()
    assert begun.wait(30)
    run = pipelines.get_pipeline_run("p")
    assert run.log("talk") == "halfway\n"
    while not door.get_step_log(ws, id=run.id, step="talk").text:  # what another machine sees
        assert thread.is_alive()
        time.sleep(0.01)
    assert door.get_step_log(ws, id=run.id, step="talk").text == "halfway\n"
    go.set()
    thread.join(30)
    assert run.wait(30).log("talk") == "halfway\n"


def test_a_ledger_that_is_away_for_a_moment_loses_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    move, calls = door.move_steps, list[int]()

    def away(*args: Any, **values: Any) -> Any:
        calls.append(1)
        done = move(*args, **values) if len(calls) % 2 == 0 or len(calls) == 3 else None
        if len(calls) in (1, 3):  # the first time before it is written, the second time after
            raise Unavailable("away")
        return done or move(*args, **values)

    monkeypatch.setattr("trine.pipelines.operations.move_steps", away)
    assert sums.run(n=4).result["joined"] == {"sum": 6, "label": "a"}


def test_another_executor_can_be_brought_along(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Inline:
        name = "inline"

        def check(self, step: Any) -> None:
            pass

        def start(self, call: Any, done: Any) -> Any:
            done(call.execute())

        def close(self) -> None:
            closed.append(True)

    class Entry:
        name = "inline"

        def load(self) -> type[Inline]:
            return Inline

    closed: list[bool] = []
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [Entry()] if group == "trine.executors" else []
    )
    executors._known.cache_clear()  # type: ignore[attr-defined]
    try:
        assert pipelines.run(sums, {"n": 4}, executor="inline").result["joined"]["sum"] == 6
    finally:
        executors._known.cache_clear()  # type: ignore[attr-defined]
    assert closed == [True]
