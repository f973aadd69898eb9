"""Automatic logging of scikit-learn: what is fitted is recorded, without a line of the user's.

Every class that defines `fit` has it wrapped. The outermost fit logs; those inside it (a pipeline's steps, a grid search's
candidates) do not. A mistake of the logging itself is a warning in the log and never reaches the user's code.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from trine.extras import need
from trine.tracking import boosters
from trine.tracking import operations as door
from trine.tracking.fitting import Fitting, as_text, is_inside, quietly, under_way
from trine.tracking.trials import Trial

SCORED_ROWS = 10_000
"""Rows the training score is computed on, at most; of more, evenly spaced ones."""

MOST_CANDIDATES = 500
"""Candidates of a search that become child runs, at most."""

_MARK = "__trine_fit__"


class _State:
    """Whether automatic logging is on."""

    experiment = ""
    is_on = False


def autolog(enable: bool = True, *, experiment: str = "") -> None:
    """Log every fit of scikit-learn, XGBoost and LightGBM from here on: params, training score, class and time of what was
    fitted, the metrics of every boosting round, and the candidates of a search as child runs.

    Inside a run's block a fit is logged to that run (a second one with the prefix `fit2.`); elsewhere it makes a run of its
    own, in `experiment`. `enable=False` takes everything back.
    """
    BaseEstimator = need("sklearn.base", extra="sklearn", purpose="Automatic logging").BaseEstimator
    _State.experiment, _State.is_on = experiment, enable
    boosters.watch(enable, experiment)
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
        if not _State.is_on or is_inside():
            return original(self, *positional, **named)
        return _logged(original, self, positional, named)

    setattr(fit, _MARK, original)
    kind.fit = fit


def _logged(original: Callable[..., Any], estimator: Any, positional: Any, named: Any) -> Any:
    recording = quietly(_Recording, estimator)
    boosts = type(estimator).__module__.partition(".")[0] in ("xgboost", "lightgbm")
    with under_way(recording if boosts else None):
        start = time.perf_counter()
        try:
            fitted = original(estimator, *positional, **named)
        except BaseException as error:
            if recording is not None:
                quietly(recording.fail, error)
            raise
        if recording is not None:
            quietly(recording.succeed, time.perf_counter() - start, original, positional, named)
        return fitted


class _Recording(Fitting):
    """The fit of an estimator."""

    def __init__(self, estimator: Any) -> None:
        kind = type(estimator)
        tags = {"estimator": kind.__name__, "estimator_class": _path(kind)}
        super().__init__(kind.__name__, _State.experiment, tags, quietly(_params, estimator) or {})
        self.estimator = estimator

    def succeed(self, seconds: float, fit: Callable[..., Any], positional: Any, named: Any) -> None:
        try:
            self.log({"fit_seconds": seconds})
            score = quietly(_training_score, self.estimator, fit, positional, named)
            if score is not None:
                self.log({"training_score": score})
            quietly(self._search_results)
        finally:
            self.finish()

    def _search_results(self) -> None:
        """What a grid or random search found: the best candidate here, and each one as a child run."""
        best = getattr(self.estimator, "best_params_", None)
        if isinstance(best, dict):
            self.params({f"best_{name}": value for name, value in best.items()})
            self.log({"best_cv_score": self.estimator.best_score_})
        results = getattr(self.estimator, "cv_results_", None)
        if isinstance(results, dict) and "params" in results:
            trials = [_trial(results, at) for at in range(len(results["params"]))][:MOST_CANDIDATES]
            door.add_trials(self.run.ws, id=self.run.id, trials=trials)


def _trial(results: dict[str, Any], at: int) -> Trial:
    """One candidate of a search, as scikit-learn tells of it."""
    metrics = {
        name: float(column[at])
        for name, column in results.items()
        if name.startswith(("mean_", "std_")) or re.fullmatch(r"split\d+_test_\w+", name)
    }
    ranks = {name: str(column[at]) for name, column in results.items() if name.startswith("rank_")}
    params = {name[:250]: as_text(value) for name, value in results["params"][at].items()}
    return Trial(name=f"candidate-{at + 1}", params=params, metrics=metrics, tags=ranks)


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _params(estimator: Any) -> dict[str, Any]:
    """The params of an estimator and of those in it (`scaler__with_mean`)."""
    return dict(estimator.get_params(deep=True))


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
