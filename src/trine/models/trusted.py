"""What a skops file may hold: types that this list names, with contents that cannot lead a prediction astray.

skops itself trusts estimators and NumPy and SciPy values. The list here adds scikit-learn's own inner types. It is part of the
code: what a file says about itself is never believed (MLflow's mistake, GHSA-w582-9x45-8mpx). Trees are followed by index without
a bounds check inside scikit-learn, so the contents of all kinds of trees are checked too, once, when they are loaded.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from trine.errors import Damaged

_INNER = (
    "functools.partial",  # what it calls is judged for itself
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "sklearn.utils.validation.check_array",
)
_MODULES = ("sklearn.gaussian_process.kernels", "sklearn.model_selection._split")
"""Modules whose public classes are plain values: kernels, splitters."""


@functools.cache
def trusted_types() -> tuple[str, ...]:
    """Names of the types a model file may hold beside those that skops trusts: scikit-learn's own, of this installation."""
    import sklearn.metrics

    names: list[str] = [*_INNER]
    for module in map(importlib.import_module, _MODULES):
        names += [
            f"{kind.__module__}.{kind.__qualname__}"
            for name, kind in vars(module).items()
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and not name.startswith("_")
        ]
    for name in sklearn.metrics.__all__:  # the scores that searches keep; they compute, and do nothing else
        score = getattr(sklearn.metrics, name)
        if inspect.isfunction(score) and score.__module__.startswith("sklearn.metrics."):
            names.append(f"{score.__module__}.{score.__qualname__}")
    return tuple(names)


def parts(found: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Everything a model is made of: the objects in its attributes, lists, tuples, dicts and object arrays, each once."""
    import numpy as np

    seen = set() if seen is None else seen
    if id(found) in seen or isinstance(found, (str, bytes, int, float, type(None), type)):
        return
    seen.add(id(found))
    if isinstance(found, np.ndarray):
        inner: Any = found.flat if found.dtype == object else ()
    elif isinstance(found, dict):
        inner = found.values()  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(found, (list, tuple, set)):
        inner = found  # pyright: ignore[reportUnknownVariableType]
    else:
        yield found
        inner = vars(found).values() if hasattr(found, "__dict__") else ()
    for one in inner:
        yield from parts(one, seen)


def check_contents(native: Any) -> None:
    """Raise Damaged when a tree of the model points outside itself or at a column that is not there."""
    for one in parts(native):
        kind = type(one).__name__
        if kind == "TreePredictor":
            _check_nodes(one.nodes, "left", "right", "feature_idx", one.nodes["is_leaf"] == 0, None)
            _check_bitsets(one)
        elif kind in ("KDTree", "BallTree"):
            _check_neighbours(one)
        elif hasattr(one, "tree_") and type(one.tree_).__name__ == "Tree":
            _check_tree(one.tree_, one.n_features_in_)
        if hasattr(one, "_predictors"):
            for tree in parts(one._predictors):
                _check_features(tree.nodes["feature_idx"], tree.nodes["is_leaf"] == 0, one.n_features_in_)
        elif hasattr(one, "estimators_") and not hasattr(one, "estimators_features_"):
            for member in parts(one.estimators_):
                if type(getattr(member, "tree_", None)).__name__ == "Tree":
                    _check_tree(member.tree_, one.n_features_in_)  # asked without a check of its own


def _check_tree(tree: Any, features: int) -> None:
    nodes = tree.__getstate__()["nodes"]
    _check_nodes(nodes, "left_child", "right_child", "feature", nodes["left_child"] != -1, features)


def _check_nodes(nodes: Any, left: str, right: str, feature: str, inner: Any, features: int | None) -> None:
    import numpy as np

    at = np.flatnonzero(inner)
    for side in (left, right):
        children = nodes[side][at].astype(np.int64)
        if not bool(np.all((children > at) & (children < len(nodes)))):  # a child comes after its parent: no loops
            raise _crafted("a node points outside its tree")
    if features is not None:
        _check_features(nodes[feature], inner, features)


def _check_features(columns: Any, inner: Any, features: int) -> None:
    used = columns[inner]
    if len(used) and not 0 <= int(used.min()) <= int(used.max()) < features:
        raise _crafted("a tree asks for a column that is not there")


def _check_bitsets(predictor: Any) -> None:
    nodes = predictor.nodes
    used = nodes["bitset_idx"][nodes["is_categorical"] == 1]
    if len(used) and int(used.max()) >= min(
        len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets)
    ):
        raise _crafted("a tree asks for categories that are not there")


def _check_neighbours(tree: Any) -> None:
    data, order, nodes, bounds = map(_array, tree.__getstate__()[:4])
    rows, count = len(data), len(nodes)
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    levels = tree.__getstate__()[5]
    if not (
        len(order) == rows
        and (not rows or 0 <= int(order.min()) <= int(order.max()) < rows)
        and bool((starts >= 0).all() and (starts <= ends).all() and (ends <= rows).all())
        and bounds.shape[1:] == (count, data.shape[1])
        and count == tree.__getstate__()[6] == 2**levels - 1
    ):
        raise _crafted("a neighbour tree points outside its rows")


def _array(found: Any) -> Any:
    import numpy as np

    return np.asarray(found)


def _crafted(what: str) -> Damaged:
    return Damaged(f"The model file is broken or made to do harm: {what}. Do not use it; register the model anew.")
