"""One training that is recorded without a line of the user's: which run it goes into, and that nothing of it ever reaches
the user's code."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from trine.tracking import operations as door
from trine.tracking.live import Run, active_run, run
from trine.tracking.texts import RunTexts

log = logging.getLogger("trine.tracking")

current: contextvars.ContextVar[Fitting | None] = contextvars.ContextVar("trine_fitting", default=None)
"""The training that is under way in this context and takes what its rounds say."""

_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("trine_inside_fit", default=False)


class _UnderWay:
    """How many trainings are under way in this process."""

    count = 0
    lock = threading.Lock()


@contextmanager
def under_way(fitting: Fitting | None) -> Generator[None]:
    """Trainings that begin in the block, in it or in a worker thread of joblib, are parts of this one."""
    mark = current.set(fitting)
    inside = _inside.set(True)
    with _UnderWay.lock:
        _UnderWay.count += 1
    try:
        yield
    finally:
        with _UnderWay.lock:
            _UnderWay.count -= 1
        _inside.reset(inside)
        current.reset(mark)


def is_inside() -> bool:
    """Whether a training is under way here: in this context, or around a worker thread of joblib."""
    from multiprocessing.dummy import DummyProcess

    return _inside.get() or (_UnderWay.count > 0 and isinstance(threading.current_thread(), DummyProcess))


def quietly(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What `work` gives; None, and a warning, when it fails."""
    try:
        return work(*arguments, **named)
    except Exception:  # whatever it is, it is ours and must not stop the user's training
        log.warning("A fit could not be logged; training goes on.", exc_info=True)
        return None


class Fitting:
    """A training on its way into a run: the active one (the second one there has the prefix `fit2.`), or one of its own."""

    def __init__(self, name: str, experiment: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        active = active_run()
        self.own = active is None
        texts = {name[:200]: as_text(value) for name, value in params.items()}
        self.run: Run = active or run(experiment, name=name, params=texts, tags=tags)
        self.run.fits += 1
        self.prefix = "" if self.run.fits == 1 else f"fit{self.run.fits}."
        if not self.own:  # in one transaction: a fit should cost little
            named, marked = ({f"{self.prefix}{name}": value for name, value in some.items()} for some in (texts, tags))
            door.set_texts(self.run.ws, runs=[RunTexts(self.run.id, params=named, tags=marked)])

    def params(self, values: Mapping[str, Any]) -> None:
        self.run.params({f"{self.prefix}{name}"[:250]: as_text(value) for name, value in values.items()})

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.run.log({f"{self.prefix}{name}"[:250]: value for name, value in values.items()}, step=step)

    def fail(self, error: BaseException) -> None:
        if self.own:
            state = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            self.run.finish(state, f"{type(error).__name__}: {error}")

    def finish(self) -> None:
        if self.own:
            self.run.finish()


def as_text(value: Any) -> str:
    """A param as a text that a run takes: an estimator is its class, a long one is cut."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__
    text = str(value).replace("\0", "")
    return text if len(text) <= 1_000 else text[:999] + "…"
