"""Pipelines: runs, their steps as a graph and over time, step logs; cancel, resume, retry a step."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response

from trine.errors import Failure, NotFound, Refused
from trine.ids import now_us
from trine.pipelines import operations as door
from trine.pipelines.graph import Graph
from trine.pipelines.records import PipelineRunInfo, StepRun
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page

PATIENCE_S = 2.0
"""How long a resumed run may take to say that it cannot go on."""


class Bar(msgspec.Struct, frozen=True):
    """A step on the time axis of its run, in thousandths."""

    key: str
    state: str
    x: float
    width: float
    seconds: float | None


@page("/pipelines")
def pipelines(asked: Asked) -> Response:
    """Pipeline runs, newest first."""
    name = asked.text("pipeline")
    found = door.list_pipeline_runs(asked.ws, pipeline=name, limit=50, page=asked.text("page"))
    return asked.show("pipelines.html", found=found, pipeline=name)


@page("/pipelines/{id}")
def pipeline_run(asked: Asked) -> Response:
    """One pipeline run, and the log of a step."""
    found = door.get_pipeline_run(asked.ws, id=asked.path["id"])
    steps = door.list_step_runs(asked.ws, id=found.id)
    graph = door.get_run_graph(asked.ws, id=found.id)
    chosen = asked.text("step")
    return asked.show(
        "pipeline_run.html",
        run=found,
        seconds=((found.ended_us or now_us()) - found.created_us) / 1e6,
        steps=steps,
        graph=_drawn(found, graph, steps),
        bars=_bars(found, steps),
        step=chosen,
        log=_log(asked, found.id, chosen) if chosen else None,
        can_resume=found.state in ("failed", "interrupted", "cancelled"),
        can_retry=found.state != "running" and bool(found.entry) and asked.viewer.principal.local,
    )


def _log(asked: Asked, run: str, step: str) -> str:
    found = door.get_step_log(asked.ws, id=run, step=step)
    if found.object:
        return asked.ws.store.get(found.object).decode("utf-8", "replace")[-200_000:]
    return found.text


def _drawn(run: PipelineRunInfo, graph: Graph, steps: list[StepRun]) -> dict[str, Any]:
    """The steps as nodes for the graph island."""
    states = {one.key: ("cached" if one.hit else one.state) for one in steps}
    needs = {one.key: one.needs for one in graph.steps} or {one.key: one.needs for one in steps}
    here = path("pipelines", run.id)
    return {
        "nodes": [
            {
                "id": key,
                "kind": states.get(key, "pending"),
                "name": key,
                "href": f"{here}?step={key}#log",
                "state": states.get(key, ""),
            }
            for key in needs
        ],
        "edges": [{"from": need, "to": key, "kind": "needs"} for key, before in needs.items() for need in before],
    }


def _bars(run: PipelineRunInfo, steps: list[StepRun]) -> list[Bar]:
    started = [one.started_us for one in steps if one.started_us is not None]
    if not started:
        return []
    first = min(started)
    last = max([one.ended_us or now_us() for one in steps if one.started_us is not None])
    scale = 1000 / max(1, last - first)
    found: list[Bar] = []
    for one in steps:
        if one.started_us is None:
            found.append(Bar(one.key, "cached" if one.hit else one.state, 0, 0, None))
            continue
        end = one.ended_us or now_us()
        wide = max(4.0, (end - one.started_us) * scale)
        state = "cached" if one.hit else one.state
        found.append(
            Bar(one.key, state, min(996.0, (one.started_us - first) * scale), wide, (end - one.started_us) / 1e6)
        )
    return found


@action("/pipelines/{id}/cancel")
def cancel(asked: Asked) -> Response:
    found = door.cancel_pipeline_run(asked.ws, id=asked.path["id"])
    return asked.back(path("pipelines", found.id), "The run is asked to stop.")


@action("/pipelines/{id}/resume")
def resume(asked: Asked) -> Response:
    """Go on with a run where it stopped."""
    return _drive(asked, "resume")


@action("/pipelines/{id}/retry")
def retry(asked: Asked) -> Response:
    """Do one step again, and what needs it."""
    step = asked.form.get("step", "")
    door.get_step_log(asked.ws, id=asked.path["id"], step=step)  # raises for a step that there is not
    return _drive(asked, "retry", step)


def _drive(asked: Asked, verb: str, *arguments: str) -> Response:
    """A command on a run, in a process of its own: only on one's own machine, where the code is."""
    found = door.get_pipeline_run(asked.ws, id=asked.path["id"])
    told_to = ["pipeline", verb, found.id]
    if not asked.viewer.principal.local or asked.ws.root is None:
        raise Refused(f"The code is not on the server. Go on where it is: trine {' '.join([*told_to, *arguments])}")
    folder = _folder_of(found.entry, asked.ws.root.parent)
    place = ["-w", str(asked.ws.root.parent)]
    command = [sys.executable, "-m", "trine.cli", *told_to, *place, "--", *arguments]
    environment = os.environ | {"TRINE_PROJECT": asked.ws.project}
    told: list[str] = []

    def go_on() -> None:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            told.append((done.stderr.strip().splitlines() or ["It could not go on."])[-1][:1000])

    worker = threading.Thread(target=go_on, daemon=True)
    worker.start()
    worker.join(PATIENCE_S)
    if told:
        raise Failure(told[0])
    return asked.back(path("pipelines", found.id), "It goes on." if worker.is_alive() else "It went on to its end.")


def _folder_of(entry: str, home: Path) -> Path:
    """Where the pipeline's file is: here, or beside the workspace."""
    file = entry.rpartition(":")[0]
    for folder in (Path.cwd(), home):
        if not file.endswith(".py") or (folder / file).is_file():
            return folder
    raise NotFound(f"{file} is neither in {Path.cwd()} nor in {home}: start trine ui where the code is.")
