"""Automatic logging of scikit-learn: what is fitted is recorded, without a line of the user's.

Every class that defines `fit` has it wrapped. The outermost fit logs; those inside it (a pipeline's steps, a grid search's
candidates) do not. A mistake of the logging itself is a warning in the log and never reaches the user's code.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from trine.extras import need
from trine.tracking.live import Run, active_run, run

log = logging.getLogger("trine.tracking")

SCORED_ROWS = 10_000
"""Rows the training score is computed on, at most; of more, evenly spaced ones."""

_MARK = "__trine_fit__"
_fitting: contextvars.ContextVar[bool] = contextvars.ContextVar("trine_fitting", default=False)


class _State:
    """Whether automatic logging is on, and how many fits are under way in this process."""

    experiment = ""
    is_on = False
    fits = 0
    lock = threading.Lock()


def autolog(enable: bool = True, *, experiment: str = "") -> None:
    """Log every scikit-learn fit from here on: params, training score, class and time of what was fitted.

    Inside a run's block a fit is logged to that run (a second one with the prefix `fit2.`); elsewhere it makes a run of its
    own, in `experiment`. `enable=False` takes everything back.
    """
    BaseEstimator = need("sklearn.base", extra="sklearn", purpose="Automatic logging").BaseEstimator
    _State.experiment, _State.is_on = experiment, enable
    for kind in [BaseEstimator, *_below(BaseEstimator)]:
        if enable:
            _wrap(kind)
        elif hasattr(fit := kind.__dict__.get("fit"), _MARK):
            kind.fit = getattr(fit, _MARK)  # pyright: ignore[reportAttributeAccessIssue]
    _watch_new_classes(BaseEstimator, enable)


def _below(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _watch_new_classes(kind: Any, enable: bool) -> None:
    """Wrap classes that are defined or imported later, too."""
    hook = kind.__dict__.get("__init_subclass__")
    if not enable:
        if hasattr(getattr(hook, "__func__", None), _MARK):
            del kind.__init_subclass__
        return
    if hook is not None:
        return

    def init_subclass(cls: Any, **arguments: Any) -> None:
        super(kind, cls).__init_subclass__(**arguments)
        _wrap(cls)

    setattr(init_subclass, _MARK, True)
    kind.__init_subclass__ = classmethod(init_subclass)


def _wrap(kind: Any) -> None:
    original = kind.__dict__.get("fit")
    if not inspect.isfunction(original) or hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def fit(self: Any, *positional: Any, **named: Any) -> Any:
        if not _State.is_on or _is_inside():
            return original(self, *positional, **named)
        return _logged(original, self, positional, named)

    setattr(fit, _MARK, original)
    kind.fit = fit


def _is_inside() -> bool:
    """Whether a fit is under way here: in this context, or around a worker thread of joblib."""
    from multiprocessing.dummy import DummyProcess

    return _fitting.get() or (_State.fits > 0 and isinstance(threading.current_thread(), DummyProcess))


def _logged(original: Callable[..., Any], estimator: Any, positional: Any, named: Any) -> Any:
    mark = _fitting.set(True)
    with _State.lock:
        _State.fits += 1
    try:
        recording = _quietly(_Recording, estimator)
        start = time.perf_counter()
        try:
            fitted = original(estimator, *positional, **named)
        except BaseException as error:
            if recording is not None:
                _quietly(recording.fail, error)
            raise
        if recording is not None:
            _quietly(recording.succeed, time.perf_counter() - start, original, positional, named)
        return fitted
    finally:
        with _State.lock:
            _State.fits -= 1
        _fitting.reset(mark)


def _quietly(work: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except Exception:  # whatever it is, it is ours and must not stop the user's training
        log.warning("A fit could not be logged; training goes on.", exc_info=True)
        return None


class _Recording:
    """One fit on its way into a run: the active one, or one of its own."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        active = active_run()
        self.own = active is None
        self.run: Run = active or run(_State.experiment, name=type(estimator).__name__)
        self.run.fits += 1
        self.prefix = "" if self.run.fits == 1 else f"fit{self.run.fits}."
        _quietly(self._describe)

    def _describe(self) -> None:
        kind = type(self.estimator)
        self.run.tags({f"{self.prefix}estimator": kind.__name__, f"{self.prefix}estimator_class": _path(kind)})
        self.run.params({self.prefix + name: value for name, value in _params(self.estimator).items()})

    def fail(self, error: BaseException) -> None:
        if self.own:
            state = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            self.run.finish(state, f"{type(error).__name__}: {error}")

    def succeed(self, seconds: float, fit: Callable[..., Any], positional: Any, named: Any) -> None:
        try:
            self.run.log(f"{self.prefix}fit_seconds", seconds)
            score = _quietly(_training_score, self.estimator, fit, positional, named)
            if score is not None:
                self.run.log(f"{self.prefix}training_score", score)
            _quietly(self._search_results)
        finally:
            if self.own:
                self.run.finish()

    def _search_results(self) -> None:
        """What a grid or random search found."""
        best = getattr(self.estimator, "best_params_", None)
        if isinstance(best, dict):
            self.run.params({f"{self.prefix}best_{name}": _text(value) for name, value in best.items()})
            self.run.log(f"{self.prefix}best_cv_score", self.estimator.best_score_)


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _params(estimator: Any) -> dict[str, str]:
    """The params of an estimator and of those in it (`scaler__with_mean`), as texts a run takes."""
    return {name[:200]: _text(value) for name, value in estimator.get_params(deep=True).items()}


def _text(value: Any) -> str:
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__
    text = str(value).replace("\0", "")
    return text if len(text) <= 1_000 else text[:999] + "…"


def _training_score(estimator: Any, fit: Callable[..., Any], positional: Any, named: Any) -> float | None:
    """The estimator's own score on the rows it was fitted on; None where there is no target or no score."""
    given = inspect.signature(fit).bind(estimator, *positional, **named).arguments
    rows, target = given.get("X"), given.get("y")
    if rows is None or target is None or not hasattr(estimator, "score"):
        return None
    from sklearn.utils import _safe_indexing  # pyright: ignore[reportPrivateUsage]
    from sklearn.utils.validation import _num_samples  # pyright: ignore[reportPrivateUsage]

    size = _num_samples(rows)
    if size > SCORED_ROWS:
        import numpy as np

        some = np.linspace(0, size - 1, SCORED_ROWS).astype(int)
        rows, target = _safe_indexing(rows, some), _safe_indexing(target, some)
    return float(estimator.score(rows, target))
