"""Playback: what a run does differently when its process was started to reproduce another one (`trine reproduce`).

The process is told by an environment variable which run it reproduces. The run that has that one's place in its process
takes over its random states, and says in the graph that it is derived from it.
"""

from __future__ import annotations

import os

from trine.tracking import operations as door
from trine.tracking.environment import set_states
from trine.tracking.runs import RunInfo
from trine.workspace import Workspace

REPRODUCES = "TRINE_REPRODUCES"
TAG = "trine.reproduces"


def play_back(ws: Workspace, made: RunInfo) -> None:
    """Called for each run that a process makes with capture, just after it is there."""
    original = door.get_run(ws, id=os.environ[REPRODUCES])
    if made.parent or made.context.number != original.context.number:
        return
    if original.context.states:
        set_states(ws.store.get(original.context.states))
    door.set_tags(ws, id=made.id, tags={TAG: original.id})
    door.derive_run(ws, id=made.id, source=original.id)
