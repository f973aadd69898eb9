from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import trine
from trine import tracking
from trine.cli import main
from trine.errors import Conflict, InvalidInput, NotFound
from trine.tracking import operations as door
from trine.workspace import Workspace


def points(run: object, key: str = "loss") -> list[tuple[int, float]]:
    return [(step, value) for step, _, value in tracking.history(run, key).rows()]  # type: ignore[arg-type]


def test_a_fork_goes_on_from_a_step(ws: Workspace) -> None:
    with trine.run("churn", params={"lr": 0.1, "depth": 3}) as first:
        for step in range(10):
            first.log({"loss": 10 - step, "late": step} if step > 5 else {"loss": 10 - step}, step=step)
    with trine.run(fork=(first, 4), params={"lr": 0.01}) as second:
        assert second.experiment == "churn"
        second.log("loss", 0.5)
        second.log("late", 1.0)
    info = tracking.get_run(second)
    assert info.params == {"lr": "0.01", "depth": "3"} and set(info.metrics) == {"loss", "late"}
    assert points(second) == [*((step, 10.0 - step) for step in range(5)), (5, 0.5)]
    assert points(second, "late") == [(0, 1.0)] and len(points(first)) == 10
    assert tracking.search(f"upstream = '{first.node}'")[0].id == second.id
    with trine.run(fork=first.id, capture=False) as whole:
        pass
    assert points(whole) == points(first)
    with pytest.raises(NotFound):
        trine.run(fork="none")
    with pytest.raises(InvalidInput, match="not both"):
        trine.run(fork=first.id, resume=first.id)


def test_a_rewound_run_counts_on_from_there(ws: Workspace) -> None:
    with trine.run() as run:
        for step in range(6):
            run.log("loss", float(step))
        run.log("late", 1.0, step=5)
        with pytest.raises(Conflict, match="is running"):
            tracking.rewind(run, 2)
    info = tracking.rewind(run, 2)
    assert points(run) == [(0, 0.0), (1, 1.0), (2, 2.0)] and set(info.metrics) == {"loss"}
    assert (info.metrics["loss"].last, info.metrics["loss"].max, info.metrics["loss"].count) == (2.0, 2.0, 3)
    with trine.run(resume=run.id) as again:
        again.log("loss", 9.0)
    assert points(run)[-1] == (3, 9.0)
    assert tracking.rewind(run, 100).metrics["loss"].count == 4
    door.delete_run(ws, id=run.id)
    with pytest.raises(Conflict, match="is deleted"):
        tracking.rewind(run, 0)


def test_what_is_purged_is_gone_for_good(ws: Workspace) -> None:
    with trine.run(name="parent") as parent:
        parent.log("loss", 1.0)
        parent.log_text("x" * 1000, "big.txt")
        with trine.run(name="child") as child:
            child.log("loss", 2.0)
    door.delete_run(ws, id=parent.id)
    kept = door.purge_runs(ws)
    assert (kept.runs, kept.points) == (0, 0)
    would = door.purge_runs(ws, older_than_s=0, dry_run=True)
    assert (would.runs, would.points, would.artifact_bytes, would.more) == (1, 1, 1000, False)
    assert door.purge_runs(ws, older_than_s=0) == would and door.purge_runs(ws, older_than_s=0).runs == 0
    for gone in (parent.id, "parent"):
        with pytest.raises(NotFound):
            tracking.get_run(gone)
    assert tracking.get_run("child").parent is None
    with trine.run() as fresh:
        pass
    assert fresh.name == "default-2"
    with pytest.raises(InvalidInput, match="seconds"):
        door.purge_runs(ws, older_than_s=-1)


def test_freed_space_goes_back_to_the_disk(local_ws: Workspace) -> None:
    with trine.run(name="big") as run:
        for part in range(20):
            run.log_batch(f"m{part}", [float(hash((part, at)) % 10**9) for at in range(20_000)])

    def size() -> int:
        return sum(path.stat().st_size for path in (Path(local_ws.location) / ".trine").glob("ledger.db*"))

    def say(*words: str) -> str:
        answer = CliRunner().invoke(main, ["runs", *words, "-w", local_ws.location])
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "Removed big" in say("rm", "big", "--yes")
    assert "would go" in say("gc", "--older-than", "0", "--dry-run")
    before = size()
    assert "1 runs with 400,000 points" in say("gc", "--older-than", "0")
    assert before > 2_000_000 and size() < before / 2


def test_rewinding_on_the_command_line(local_ws: Workspace) -> None:
    with trine.run(name="r") as run:
        run.log_batch("loss", [3.0, 2.0, 1.0])
    answer = CliRunner().invoke(main, ["runs", "rewind", "r", "0", "--yes", "-w", local_ws.location])
    assert "2 points of r after step 0 are gone" in answer.output
