"""Gate reports, evaluations, loops and their cycles: how a candidate was judged and what came of it."""

from __future__ import annotations

from starlette.responses import Response

from trine.access.audit import list_events
from trine.evaluation import operations as evaluations
from trine.ids import now_us
from trine.loop import operations as loops
from trine.loop.triggers import described
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page

STATES = ("triggered", "training", "gating", "promoting", "awaiting", "rolling", "done")
"""Of a cycle, in the order in which it passes them."""


@page("/gates/{id}")
def gate(asked: Asked) -> Response:
    """A gate's report: the difference with its bounds, slice by slice."""
    return asked.show("gate.html", report=evaluations.get_gate(asked.ws, gate_id=asked.path["id"]))


@page("/evaluations/{id}")
def evaluation(asked: Asked) -> Response:
    """What a version measured on a dataset."""
    return asked.show("evaluation.html", found=evaluations.get_evaluation(asked.ws, evaluation_id=asked.path["id"]))


@page("/loops/{name}")
def loop(asked: Asked) -> Response:
    """One loop and its cycles."""
    found = loops.get_loop(asked.ws, name=asked.path["name"])
    return asked.show(
        "loop.html",
        loop_=found,
        triggers=[described(one, now_us()) for one in found.definition.triggers],
        cycles=loops.list_cycles(asked.ws, name=found.name, limit=50, page=asked.text("page")),
    )


@page("/cycles/{id}")
def cycle(asked: Asked) -> Response:
    """One turn of a loop: why, through which states, to what end."""
    found = loops.get_cycle(asked.ws, cycle_id=asked.path["id"])
    events = list_events(asked.ws, object=found.node, limit=100).items
    return asked.show("cycle.html", cycle=found, states=STATES, events=events)


@action("/loops/{name}/trigger")
def trigger(asked: Asked) -> Response:
    name = asked.path["name"]
    loops.trigger_loop(asked.ws, name=name, reason=asked.form.get("reason", ""))
    return asked.back(path("loops", name), "Asked for a cycle; whoever drives the loop starts it.")


@action("/loops/{name}/pause")
def pause(asked: Asked) -> Response:
    name, paused = asked.path["name"], asked.form.get("paused") == "1"
    loops.pause_loop(asked.ws, name=name, paused=paused)
    return asked.back(path("loops", name), "The loop is paused." if paused else "The loop turns again.")
