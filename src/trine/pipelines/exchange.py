"""Outputs on their way from step to step, so that a frame is not read back from the store while it is still in memory.

A library object is handed over itself to the last step that wants it; those before get what reading it back gives, so
that no step sees what another did to its input.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from trine.pipelines.calls import load_output
from trine.pipelines.codecs import codec_of
from trine.pipelines.graph import Graph, GraphStep, references
from trine.pipelines.values import Value
from trine.workspace import Workspace

Place = tuple[str, int | None]


class Exchange:
    """The outputs of finished steps: as they are stored, and in memory while somebody may want them."""

    def __init__(self, ws: Workspace, graph: Graph, pickled: frozenset[str]) -> None:
        self.stored: dict[str, list[Value]] = {}
        self._ws = ws
        self._pickled = pickled
        self._memory: dict[Place, Any] = {}
        self._lock = threading.Lock()
        self._wanted = Counter(place for one in graph.steps for place in references(one.inputs))
        self._wanted.update(references(graph.result))

    def put(self, key: str, stored: list[Value], made: list[Any]) -> None:
        """What a step made. Only library objects are worth keeping: the rest is read from its document at once."""
        with self._lock:
            self.stored[key] = stored
            for number, value in enumerate(made):
                for place in ((key, number), (key, None)):
                    if self._wanted[place] > 0 and _is_worth_keeping(value):
                        self._memory[place] = value

    def take(self, key: str, item: int | None) -> Any:
        """An output, for one of those that want it."""
        place = (key, item)
        with self._lock:
            self._wanted[place] -= 1
            if place in self._memory:
                value = self._memory[place] if self._wanted[place] > 0 else self._memory.pop(place)
                if self._wanted[place] <= 0:
                    return value
                if type(value).__module__.startswith("polars"):
                    return value.clone()  # the columns are shared and cannot be changed
        return load_output(self._ws, self.stored[key], item, pickle=key in self._pickled)

    def pass_over(self, step: GraphStep) -> None:
        """Say that a step will not want its inputs."""
        with self._lock:
            for place in references(step.inputs):
                self._wanted[place] -= 1
                if self._wanted[place] <= 0:
                    self._memory.pop(place, None)


def _is_worth_keeping(value: Any) -> bool:
    return codec_of(value) is not None and type(value).__name__ != "LazyFrame"
