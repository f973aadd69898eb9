"""A workspace in which every page has something true to show: what the pages' tests look at."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import trine
from trine import access, data, evaluation, features, models, monitoring, pipelines, serving
from trine.errors import ApprovalRequired
from trine.ids import now_us
from trine.workspace import Workspace, using

PIPELINE = """
from pathlib import Path

from trine import pipelines


@pipelines.step
def count() -> int:
    print("counting")
    return 7


@pipelines.step
def double(number: int) -> int:
    if not Path("ready").exists():
        raise RuntimeError("the other half is not ready")
    return number * 2


@pipelines.pipeline
def flow() -> int:
    return double(count())
"""


def rides(seed: int, rows: int, shift: float = 0.0) -> pl.DataFrame:
    """Two inputs and whether a ride was late, which hangs on both."""
    rng = np.random.default_rng(seed)
    x, n = rng.normal(shift, 1, rows), rng.integers(0, 40, rows)
    late = rng.random(rows) < 1 / (1 + np.exp(-(1.5 * x + 0.05 * n - 1)))
    return pl.DataFrame({"x": x, "n": n, "town": ["<b>ost</b>" if one % 2 else "west" for one in n], "late": late})


def build(ws: Workspace) -> None:
    """Fill a local workspace; about five seconds."""
    with using(ws):
        _people(ws)
        _data(ws)
        _runs()
        _models(ws)
        _features()
        _traffic(ws)
        _pipeline(Path(str(ws.root)).parent, ws)
        _loop(ws)


def _people(ws: Workspace) -> None:
    for name, role in (("user:ana", "maintainer"), ("user:rita", "approver"), ("user:vic", "viewer")):
        access.create_principal(ws, name=name, password="correct horse")
        access.grant_role(ws, principal_name=name, role=role)
    access.create_token(ws, principal_name="user:vic", description="<script>alert(1)</script>")


def _data(ws: Workspace) -> None:
    checks = [data.not_null("x"), data.between("n", 0, 30, severity="warn")]
    trine.dataset("rides").commit(rides(1, 1500), message="the first month", checks=checks)
    trine.dataset("rides").commit(rides(2, 2000, 0.4), message="the second", tag="second", checks=checks)
    trine.dataset("holdout").commit(rides(3, 1500))
    folder = Path(str(ws.root)).parent / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "note.txt").write_text("<script>alert(1)</script>")
    (folder / "drawing.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = "run"</script><rect width="9" height="9"/></svg>'
    )
    data.add(folder, name="pictures")


def _runs() -> None:
    rng = np.random.default_rng(7)
    for number in range(40):
        rate = float(10 ** rng.uniform(-4, -1))
        with trine.run("sweep", name=f"net-{number:02d}", capture=not number) as run:
            run.params({"lr": f"{rate:.5f}", "model": ["mlp", "resnet"][number % 2]})
            steps = np.arange(60)
            run.log_batch(
                "loss", (1 + abs(np.log10(rate) + 2.5)) * np.exp(-steps / 30) + rng.normal(0, 0.02, 60), steps=steps
            )
            run.log("auc", 0.99 if number == 17 else 0.5 + number / 100)
            if not number:
                run.tag("note", "<img src=x onerror=alert(1)>")
                run.log_text("<script>alert(1)</script>", "notes.html")
    with trine.run("sweep", name="broken") as run:
        run.finish("failed")


def _models(ws: Workspace) -> None:
    from sklearn.linear_model import LogisticRegression

    for number in (1, 2):
        with trine.run("rides", name=f"fit-{number}", capture=False):
            rows = trine.load("rides").collect()
            inputs = rows.select("x", "n")
            seen = (
                inputs if number == 2 else inputs.with_columns(pl.col("x").shuffle(1))
            )  # the first learned too little
            fit = LogisticRegression().fit(seen, rows["late"])
            models.register(fit, "rides", inputs=inputs, metrics={"roc_auc": 0.7 + number / 10}, ws=ws)
    models.promote("rides", 1, reason="the first", ws=ws)
    gate = evaluation.Gate("roc_auc", slices=("town",))
    evaluation.compare("rides@2", "rides@1", "holdout", label="late", gate=gate, ws=ws)
    evaluation.evaluate("rides@2", "holdout", label="late", slices=("town",), ws=ws)
    access.set_policy(ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})
    token = access.create_token(ws, principal_name="user:ana").text
    with ws.ledger.transaction(write=False) as connection:
        from trine.access.principals import by_token

        ana = ws.acting_as(by_token(connection, token, now_us()))
    with contextlib.suppress(ApprovalRequired):
        models.promote("rides", 2, reason="better on every slice", ws=ana)


def _features() -> None:
    town = features.Entity("town", {"town": str})
    view = features.FeatureView("towns", town, source="rides", time=None, features=["n"])
    features.apply(view, features.FeatureService("all", [view]))


def _traffic(ws: Workspace) -> None:
    serving.create_endpoint("rides", model="rides@1", ws=ws)
    rule = monitoring.AlertRule(for_windows=1)
    monitoring.create_monitor(
        ws, name="rides", subject="endpoint:rides", reference="dataset:rides@second", columns=["n"], rule=rule
    )
    with _running(ws) as client:
        for seed, low in ((4, 0), (5, 25)):
            rows = rides(seed, 600).with_columns(n=pl.col("n").clip(low))
            since = now_us()
            answers = client.predict("rides", rows.select("x", "n"))
            serving.log_labels(
                "rides", {"prediction_id": [one.id for one in answers], "label": rows["late"].to_list()}, ws=ws
            )
            monitoring.check("rides", since, now_us() + 1, ws=ws)
    serving.deploy("rides", "rides@1", reason="again", ws=ws)
    serving.start_rollout("rides", "rides@2", canary=serving.Canary(steps=(10, 100)), ws=ws)


@contextlib.contextmanager
def _running(ws: Workspace) -> Iterator[serving.Client]:
    import uvicorn

    from trine.serving.app import Application

    application: Any = Application(ws, ["rides"])
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    with serving.Client(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}") as client:
        yield client
    server.should_exit = True
    thread.join(30)


def _pipeline(folder: Path, ws: Workspace) -> None:
    (folder / "rides_flow.py").write_text(PIPELINE)
    with contextlib.chdir(folder), contextlib.suppress(Exception):
        pipelines.run("rides_flow.py:flow", {}, ws=ws)  # a name of its own: other tests import a flow too


def _loop(ws: Workspace) -> None:
    from trine.loop import Loop, OnVerdict

    Loop("rides", model="rides", pipeline="rides_flow.py:flow", triggers=[OnVerdict("rides")], endpoint="rides").save(
        ws=ws
    )
