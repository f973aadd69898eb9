"""What is cut off: for each promise, work that goes on until it is killed, and what must hold after any kill.

A child does `work` and acknowledges each thing when its call has returned; `verify` looks at the workspace in a fresh
process and is told everything that was ever acknowledged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from trine.errors import Conflict
from trine.workspace import Workspace

Acknowledge = Callable[[Any], None]


class Scenario(Protocol):
    def prepare(self, ws: Workspace) -> None:
        """Once, before the first kill."""
        ...

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        """Until it is killed."""
        ...

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None: ...


class Door:
    """Operations: one event each, with its edges."""

    def prepare(self, ws: Workspace) -> None:
        from trine.access import graph, operations  # noqa: F401 (loaded before the forks)

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        from trine.access import operations as access

        while True:
            name = f"user:{os.urandom(6).hex()}"
            access.create_principal(ws, name=name)
            access.grant_role(ws, principal_name=name, role="viewer")
            acknowledge(name)

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        from trine.access import operations as access
        from trine.operations import every

        found = {one.name: one.roles for one in every(access.list_principals, ws)}
        assert all(found.get(name) == ["viewer"] for name in acknowledged)


class Add:
    """`trine data add` of a folder: objects, packs, trees, a branch that moves."""

    def prepare(self, ws: Workspace) -> None:
        from trine import data

        folder = Path(ws.location) / "files"
        folder.mkdir()
        for index in range(30):
            (folder / f"{index}.bin").write_bytes(os.urandom(2_000))
        data.add(folder, name="files", ws=ws)

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        from trine import data

        folder = Path(ws.location) / "files"
        while True:
            for index in range(3):
                (folder / f"{index}.bin").write_bytes(os.urandom(2_000))
            (folder / "large.bin").write_bytes(os.urandom(400_000))
            try:
                made = data.add(folder, name="files", ws=ws)
            except (
                Conflict
            ):  # killed after its commit and before the folder knew of it: what is here is meant to follow
                made = data.add(folder, name="files", force=True, ws=ws)
            acknowledge(made.id)

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        _verify_dataset(ws, "files", acknowledged)


class Commit:
    """Rows appended to a table: Parquet, profile, a branch that moves."""

    def prepare(self, ws: Workspace) -> None:
        import polars  # noqa: F401 (its threads begin in the children)

        from trine import data

        data.commit  # noqa: B018 (loaded before the forks)

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        import polars as pl

        from trine import data

        while True:
            frame = pl.DataFrame({"id": [os.urandom(4).hex() for _ in range(20)], "x": list(range(20))})
            acknowledge(data.commit(frame, name="rows", ws=ws).id)

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        from trine import data

        _verify_dataset(ws, "rows", acknowledged)
        head = data.resolve("rows", ws=ws) if acknowledged else None
        assert head is None or head.rows == data.load("rows", ws=ws).collect().height >= 20 * len(acknowledged)


def _verify_dataset(ws: Workspace, name: str, acknowledged: list[Any]) -> None:
    """All that was acknowledged is in the branch's history, in order, and each commit's objects are there and whole."""
    from trine import data

    if not acknowledged:
        return
    history = [one.id for one in data.dataset(name, ws=ws).log(limit=1000)]
    kept = [one for one in reversed(history) if one in set(acknowledged)]
    assert kept == acknowledged
    for one in [*history[:3], *acknowledged[-3:], acknowledged[0]]:
        assert data.verify(f"{name}@{one}", ws=ws) == []


class Log:
    """Metric points: acknowledged when `log` returned, whatever had reached the ledger by then."""

    def prepare(self, ws: Workspace) -> None:
        import polars  # noqa: F401

        from trine import tracking

        tracking.run, tracking.history  # noqa: B018

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        from trine import tracking

        while True:
            with tracking.run("killed", capture=False, ws=ws) as run:
                for step in range(400):
                    run.log("loss", 1.0 / (step + 1), step=step)
                    if step % 20 == 19:
                        acknowledge([run.id, step + 1])

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        from trine import tracking

        most: dict[str, int] = dict(acknowledged)
        for run in list(most)[-3:]:
            points = tracking.history(run, "loss", ws=ws)
            steps = points["step"].to_list()
            assert steps == list(range(len(steps))), f"{run}: {steps[:5]}…"
            assert len(steps) >= most[run], f"{run}: {len(steps)} of {most[run]} points"
            assert points["value"].to_list() == [1.0 / (step + 1) for step in steps]
            assert tracking.get_run(run, ws=ws).state in ("killed", "finished")


class Promote:
    """An alias that moves between versions."""

    def prepare(self, ws: Workspace) -> None:
        import polars as pl
        from sklearn.linear_model import LogisticRegression

        from trine import models

        rows = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
        for _ in range(2):
            models.register(LogisticRegression().fit(rows, [0, 0, 1, 1]), "delays", inputs=rows, ws=ws)
        models.promote("delays", 1, ws=ws)

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        from trine import models

        while True:
            now = models.resolve("delays@production", ws=ws).version
            reason = os.urandom(4).hex()
            models.promote("delays", 3 - now, reason=reason, ws=ws)
            acknowledge(reason)

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        from trine import models

        history = models.history("delays", "production", limit=1000, ws=ws)
        moves = sorted(history, key=lambda one: one.time_us)
        assert [one.reason for one in moves if one.reason in set(acknowledged)] == acknowledged
        assert models.resolve("delays@production", ws=ws).version == moves[-1].version
        rows = {"x": [0.0, 3.0]}
        assert models.load_model("delays@production", ws=ws).predict(rows).height == 2


class Serve:
    """Predictions: in the log before their answer is sent, and their way back to the model is whole."""

    def prepare(self, ws: Workspace) -> None:
        from trine import serving
        from trine.serving.app import Application  # noqa: F401

        Promote().prepare(ws)
        serving.create_endpoint("delays", model="delays@production", ws=ws)

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        asyncio.run(self._serve(ws, acknowledge))

    async def _serve(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        import httpx

        from trine.serving.app import Application

        application = Application(ws, ["delays"], log_age_s=0.05)
        inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        started = asyncio.Event()

        async def send(_: Any) -> None:
            started.set()

        inbox.put_nowait({"type": "lifespan.startup"})
        lifespan = asyncio.create_task(application({"type": "lifespan"}, inbox.get, send))
        await started.wait()
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            while not lifespan.done():
                body = {"dataframe_records": [{"x": 1.0}, {"x": 2.0}]}
                answer = await client.post("/endpoints/delays/invocations", json=body)
                assert answer.status_code == 200, answer.text
                acknowledge(answer.headers["x-trine-prediction-id"])

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        from trine import serving

        found = serving.predictions("delays", ws=ws)
        ids = set(found["request_id"].to_list()) | set(found["prediction_id"].to_list())
        lost = [one for one in acknowledged if one not in ids]
        assert not lost, f"{len(lost)} of {len(acknowledged)} predictions are gone, {lost[0]} first"
        if acknowledged:
            one = found.filter(found["request_id"] == acknowledged[-1])["prediction_id"].to_list()
            assert serving.trace((one or [acknowledged[-1]])[0], ws=ws)


class Wire:
    """A server that two of MLflow's clients log into in batches, and register versions with."""

    EACH = 40
    """Points of each of two metrics in a batch."""

    def prepare(self, ws: Workspace) -> None:
        import httpx  # noqa: F401

        from trine.models.receiving import create_model
        from trine.server.app import create_app  # noqa: F401

        create_model(ws, name="churn")

    def work(self, ws: Workspace, acknowledge: Acknowledge) -> None:
        asyncio.run(self._serve(ws, lambda ask: asyncio.gather(*(self._log(ask, acknowledge) for _ in range(2)))))

    async def _serve(self, ws: Workspace, use: Callable[[Any], Any]) -> None:
        """The server, and a function `ask(method, path, values)` that gives its answers."""
        import httpx

        from trine.server.app import create_app

        app = create_app(ws, embedded=True)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

        async def ask(method: str, path: str, values: Any) -> Any:
            url = path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
            given: dict[str, Any] = {"content": values} if isinstance(values, bytes) else {"json": values}
            answer = await client.request(method, url, **({"params": values} if method == "GET" else given))
            assert answer.status_code == 200, answer.text
            return answer.json()

        async with app.router.lifespan_context(app), client:
            await use(ask)

    async def _log(self, ask: Any, acknowledge: Acknowledge) -> None:
        run = (await ask("POST", "runs/create", {"experiment_id": "0"}))["run"]["info"]["run_id"]
        await ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/m/MLmodel", run.encode())
        for number in range(10**9):
            points = [
                {"key": key, "value": number, "step": number * self.EACH + at, "timestamp": 1}
                for key in ("loss", "auc")
                for at in range(self.EACH)
            ]
            params = [{"key": f"p{number}", "value": "x"}]
            await ask("POST", "runs/log-batch", {"run_id": run, "metrics": points, "params": params})
            acknowledge([run, number, 0])
            source = {"name": "churn", "source": f"runs:/{run}/m", "run_id": run}
            made = await ask("POST", "model-versions/create", source)
            acknowledge([run, number, int(made["model_version"]["version"])])

    def verify(self, ws: Workspace, acknowledged: list[Any]) -> None:
        asyncio.run(self._serve(ws, lambda ask: self._check(ask, acknowledged[-60:])))

    async def _check(self, ask: Any, acknowledged: list[Any]) -> None:
        batches: dict[str, set[int]] = {}
        for run, number, version in acknowledged:
            batches.setdefault(run, set()).add(number)
            if version:
                found = await ask("GET", "model-versions/get", {"name": "churn", "version": version})
                assert found["model_version"]["run_id"] == run
        for run, numbers in batches.items():
            data = (await ask("GET", "runs/get", {"run_id": run}))["run"]["data"]
            assert {f"p{number}" for number in numbers} <= {one["key"] for one in data["params"]}
            for key in ("loss", "auc"):
                points = (await ask("GET", "metrics/get-history", {"run_id": run, "metric_key": key}))["metrics"]
                steps = [one["step"] for one in points]
                last = max(numbers)
                assert steps == list(range(len(steps))), f"{run}: {steps[:5]}… {len(steps)}"
                assert len(steps) % self.EACH == 0, f"{run}: half a batch, {len(steps)} points"
                assert len(steps) >= (last + 1) * self.EACH, f"{run}: {len(steps)} points of {last + 1} batches"


SCENARIOS: dict[str, Scenario] = {
    "door": Door(),
    "add": Add(),
    "commit": Commit(),
    "log": Log(),
    "promote": Promote(),
    "serve": Serve(),
    "wire": Wire(),
}
