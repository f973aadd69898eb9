"""Automatic logging of XGBoost and LightGBM: the params of a training, and every metric at every round.

Their `train` functions, which their scikit-learn estimators call as well, get a callback more. A library that is imported
later is treated as it comes.
"""

from __future__ import annotations

import functools
import importlib.abc
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from trine.tracking.callbacks import lightgbm_callback, xgboost_callback
from trine.tracking.fitting import Fitting, current, is_inside, quietly

_MARK = "__trine_train__"


class _State:
    experiment = ""
    is_on = False


class _Library:
    """Where a library has its `train`, and what makes the callback that it takes."""

    def __init__(self, home: str, copies: tuple[str, ...], callback: Callable[..., Any]) -> None:
        self.home = home
        self.copies = copies
        self.callback = callback
        self.name = home.partition(".")[0]


_LIBRARIES = (
    _Library("xgboost.training", ("xgboost", "xgboost.sklearn"), xgboost_callback),
    _Library("lightgbm.engine", ("lightgbm", "lightgbm.sklearn"), lightgbm_callback),
)


def watch(enable: bool, experiment: str) -> None:
    """Turn the logging of boosters on or off, for those that are loaded and those that will be."""
    _State.is_on, _State.experiment = enable, experiment
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Finder)]
    if enable:
        sys.meta_path.insert(0, _Finder())
    for library in _LIBRARIES:
        for name in (library.home, *library.copies):
            if (module := sys.modules.get(name)) is not None:
                _patch(module, library, enable)


def _patch(module: ModuleType, library: _Library, enable: bool) -> None:
    train = getattr(module, "train", None)
    if not callable(train):
        return
    original = getattr(train, _MARK, None)
    if enable and original is None:
        module.train = _watched(train, library)  # type: ignore[attr-defined]
    elif not enable and original is not None:
        module.train = original  # type: ignore[attr-defined]


def _watched(train: Callable[..., Any], library: _Library) -> Callable[..., Any]:
    @functools.wraps(train)
    def watched(*positional: Any, **named: Any) -> Any:
        if not _State.is_on:
            return train(*positional, **named)
        around = current.get()
        if around is None and is_inside():
            return train(*positional, **named)  # a candidate of a search, a member of an ensemble
        params = positional[0] if positional else named.get("params")
        fitting: Fitting | None = around or quietly(_begin, library.name, params, named)
        if fitting is None:
            return train(*positional, **named)
        callback = quietly(library.callback, fitting)
        if callback is not None:
            named["callbacks"] = [*(named.get("callbacks") or ()), callback]
        start = time.perf_counter()
        try:
            booster = train(*positional, **named)
        except BaseException as error:
            if around is None:
                quietly(fitting.fail, error)
            raise
        if around is None:
            quietly(fitting.log, {"fit_seconds": time.perf_counter() - start})
            quietly(fitting.finish)
        return booster

    setattr(watched, _MARK, train)
    return watched


def _begin(library: str, params: Any, named: dict[str, Any]) -> Fitting:
    rounds = {name: named[name] for name in ("num_boost_round", "early_stopping_rounds") if named.get(name) is not None}
    return Fitting(f"{library}.train", _State.experiment, {"estimator": library}, {**dict(params or {}), **rounds})


class _Finder(importlib.abc.MetaPathFinder):
    """Sees a library's module come, lets it load as ever, and patches it then."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        library = next((one for one in _LIBRARIES if one.home == fullname), None)
        if library is None:
            return None
        for finder in sys.meta_path:
            if not isinstance(finder, _Finder) and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    _patch_when_loaded(spec.loader, library)
                return spec
        return None


def _patch_when_loaded(loader: Any, library: _Library) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        if _State.is_on:
            _patch(module, library, enable=True)

    loader.exec_module = exec_module
