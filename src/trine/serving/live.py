"""What a serving process serves right now: an immutable snapshot for each endpoint, swapped when the ledger has a new route.

A request takes the snapshot once and finishes on it, so a swap drops nothing. Models of the last routes stay in memory:
going back loads nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from trine.errors import Conflict, NotFound, TrineError, Unavailable
from trine.models.signature import Field
from trine.serving import operations
from trine.serving.columns import Columns
from trine.serving.routing import Route, Variant, headers_of
from trine.serving.runner import Runner
from trine.workspace import Workspace

log = logging.getLogger("trine.serving")

POLL_S = 0.1
"""How often the ledger is asked for new routes."""

RETRY_S = 5.0
"""How long a route that could not be taken up is left alone."""

KEPT_ROUTES = 4
"""Models of so many last routes of an endpoint stay in memory."""


class Served:
    """A route with its models in memory, and the columns its callers may send. Never changed after it is made."""

    def __init__(self, route: Route, runners: dict[str, Runner], key: str) -> None:
        self.route = route
        self.runners = runners
        self.key = key
        self.live = route.live
        self.only: Variant | None = self.live[0] if len(self.live) == 1 else None
        self.headers = headers_of(route, self.live)
        by_weight = [runners[one.name] for one in sorted(self.live, key=lambda one: -one.weight)]
        self.main = by_weight[0]
        """The model with the largest share."""
        self.columns = Columns(_merged(by_weight))

    def variant_of_version(self, version: str) -> Variant:
        """The live variant that serves a version number of its model."""
        for one in self.live:
            if one.model.rpartition("@")[2] == version:
                return one
        served = ", ".join(one.model.rpartition("@")[2] for one in self.live)
        raise NotFound(
            f'Endpoint "{self.route.endpoint}" does not serve version {version[:40]!r} now; it serves {served}.'
        )


def _merged(runners: Iterable[Runner]) -> list[Field]:
    """The fields callers may send: those of the main variant in its order, then what others know. Required where any does."""
    fields: dict[str, Field] = {}
    for runner in runners:
        for field in runner.signature.inputs:
            known = fields.get(field.name)
            if known is None or (field.required and not known.required):
                fields[field.name] = Field(field.name, known.dtype if known else field.dtype, field.required)
    return list(fields.values())


class Live:
    """The endpoints of a serving process. One thread follows the ledger; readers take `served(name)` and never wait."""

    def __init__(
        self,
        ws: Workspace,
        names: Iterable[str],
        *,
        allow_pickle: bool = False,
        load: Callable[[str], Any] | None = None,
    ) -> None:
        self.ws = ws
        self.names = tuple(dict.fromkeys(names))
        self.allow_pickle = allow_pickle
        self._load = load or self._load_model
        self._served: dict[str, Served | None] = dict.fromkeys(self.names)
        self._recent: dict[str, list[Served]] = {name: [] for name in self.names}
        self._failed: dict[tuple[str, int], float] = {}
        self._numbers: dict[str, int | None] = dict.fromkeys(self.names)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="trine-follow", daemon=True)
        self._reachable = True

    # -- reading ------------------------------------------------------------------------------------------------------

    def served(self, name: str) -> Served:
        """What an endpoint serves. Raises NotFound for one that is not served here, Conflict for one without a model."""
        one = self._served.get(name)
        if one is not None:
            return one
        if name not in self._served or self._numbers[name] is None:
            listed = ", ".join(self.names)
            raise NotFound(f'There is no endpoint "{name[:200]}" here; this process serves {listed}.')
        if self._numbers[name]:
            raise Unavailable(f'The route of endpoint "{name}" is not ready. Try again in a moment.')
        raise Conflict(f'Endpoint "{name}" has no model yet. Give it one: trine endpoints deploy {name} MODEL')

    def is_ready(self, name: str) -> bool:
        """Whether an endpoint answers."""
        return self._served.get(name) is not None

    # -- following ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load everything, then follow the ledger. Raises what keeps an endpoint from being served."""
        for name in self.names:
            operations.get_endpoint(self.ws, name=name)
        self._look(strict=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._look()
                self._reachable = True
            except Exception as error:  # what is served goes on, and the next look may do
                if self._reachable:
                    log.warning(
                        "the ledger cannot be followed now: %s", error, exc_info=not isinstance(error, TrineError)
                    )
                self._reachable = False

    def _look(self, *, strict: bool = False) -> None:
        numbers = operations.live_routes(self.ws, names=list(self.names))
        for name in self.names:
            number = self._numbers[name] = numbers.get(name)  # None: no such endpoint any more
            served = self._served[name]
            if not number:
                self._served[name] = None
            elif (served is None or served.route.number != number) and self._is_due(name, number):
                self._take_up(name, number, strict)

    def _is_due(self, name: str, number: int) -> bool:
        return time.monotonic() >= self._failed.get((name, number), 0.0)

    def _take_up(self, name: str, number: int, strict: bool) -> None:
        try:
            route = operations.get_route(self.ws, name=name, number=number)
            endpoint = operations.get_endpoint(self.ws, name=name)
            runners = {one.name: self._runner(name, one.model) for one in route.variants}
        except Exception as error:
            if strict:
                raise
            self._report(name, number, error)
            return
        served = Served(route, runners, endpoint.key)
        self._recent[name] = [*self._recent[name], served][-KEPT_ROUTES:]
        self._served[name] = served
        self._failed.pop((name, number), None)
        log.info("%s serves route %d: %s", name, number, ", ".join(one.model for one in route.variants))

    def _runner(self, name: str, model: str) -> Runner:
        for recent in (one for each in self._recent.values() for one in each):
            for runner in recent.runners.values():
                if runner.model == model:
                    return runner
        runner = Runner(model, self._load(model))
        runner.warm_up()
        return runner

    def _load_model(self, model: str) -> Any:
        from trine import models

        return models.load_model(model, allow_pickle=self.allow_pickle, ws=self.ws)

    def _report(self, name: str, number: int, error: Exception) -> None:
        """A route that cannot be taken up: what was served goes on, and a rollout is told."""
        message = error.message if isinstance(error, TrineError) else f"{type(error).__name__}: {error}"
        first = (name, number) not in self._failed
        self._failed[name, number] = time.monotonic() + RETRY_S
        if first:
            log.error("route %d of %s cannot be taken up, the one before it goes on: %s", number, name, message)
            if not isinstance(error, Unavailable):
                operations.report_problem(self.ws, name=name, number=number, problem=message)
