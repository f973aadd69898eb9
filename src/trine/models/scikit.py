"""The `sklearn` flavor: scikit-learn models saved through skops, so that loading runs no code from the file."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from trine.errors import Damaged, InvalidInput
from trine.extras import need
from trine.models.trusted import check_contents, parts, trusted_types

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Dtype, Field

FILE = "model.skops"

_BY_PROBABILITY = frozenset(
    {
        "BaggingClassifier", "DecisionTreeClassifier", "ExtraTreeClassifier", "ExtraTreesClassifier",
        "HistGradientBoostingClassifier", "LogisticRegression", "LogisticRegressionCV", "RandomForestClassifier",
    }
)  # fmt: skip
"""Classifiers whose prediction is the most probable class, so that asking once answers both."""

SMALL = 256
"""Up to so many rows a model is asked on one OpenMP thread: waking the others costs more than they help (10 ms a call on
two busy cores, against 0.6 ms)."""


class ScikitFlavor:
    name = "sklearn"
    pickles = False

    def matches(self, native: Any) -> bool:
        return type(native).__module__.startswith("sklearn.") and callable(getattr(native, "predict", None))

    def save(self, native: Any) -> dict[str, bytes]:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        skops = _skops()

        try:
            check_is_fitted(native)
        except (NotFittedError, TypeError):
            raise InvalidInput(
                f"The {type(native).__name__} is not fitted: call fit() before registering it."
            ) from None
        try:
            data = skops.dumps(native)
            unknown = set(skops.get_untrusted_types(data=data)) - set(trusted_types())
        except TypeError as error:
            raise InvalidInput(
                f"The model cannot be saved without a pickle: {error} Or ask for it: allow_pickle=True."
            ) from error
        if unknown:
            raise InvalidInput(
                f"The model holds {', '.join(sorted(unknown)[:3])}, which is not among the types that are safe to load. "
                "Use scikit-learn's own parts, or keep it as a pickle, which can run any code when it is loaded: allow_pickle=True.",
                types=sorted(unknown),
            )
        return {FILE: data}

    def load(self, files: Mapping[str, bytes]) -> Any:
        import zipfile

        skops = _skops()
        from skops.io.exceptions import UntrustedTypesFoundException

        try:
            native = skops.loads(files[FILE], trusted=list(trusted_types()))
        except UntrustedTypesFoundException as error:
            raise InvalidInput(
                f"The model file holds types that are never loaded. {str(error).splitlines()[0]}"
            ) from error
        except (zipfile.BadZipFile, ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise Damaged(f"The model file cannot be read by this scikit-learn: {error}.") from error
        check_contents(native)
        return native

    def classes(self, native: Any) -> tuple[Any, ...]:
        return classes_of(native)

    def outputs(self, native: Any) -> tuple[Field, ...]:
        from trine.models.signature import Field

        labels = classes_of(native)
        if not labels:
            return ()
        names = probability_names(labels) if hasattr(native, "predict_proba") else []
        return (Field("prediction", _label_type(labels)), *(Field(name, "float64") for name in names))

    def ask(self, native: Any) -> Ask:
        return ask_estimator(native)

    def bare(self, native: Any) -> Any | None:
        return _bare(native, {})

    def libraries(self) -> tuple[str, ...]:
        return ("scikit-learn", "skops", "numpy", "scipy")


def _skops() -> Any:
    for library in ("sklearn", "skops.io"):
        found = need(library, extra="sklearn", purpose="A scikit-learn model")
    return found


def classes_of(native: Any) -> tuple[Any, ...]:
    """The labels of a classifier as plain values, in the order of its probabilities."""
    labels: Any = getattr(native, "classes_", None)
    return tuple(labels.tolist()) if getattr(labels, "ndim", 0) == 1 else ()


def _label_type(labels: tuple[Any, ...]) -> Dtype:
    kinds: dict[type, Dtype] = {bool: "boolean", int: "int64", float: "float64"}
    return kinds.get(type(labels[0]), "string")


def probability_names(labels: tuple[Any, ...]) -> list[str]:
    """Columns of probability: one for two classes (of the second), else one for each."""
    return ["probability"] if len(labels) == 2 else [f"probability_{label}" for label in labels]


def ask_estimator(native: Any) -> Ask:
    """A function that answers rows with `prediction` and, for classifiers that know them, probabilities."""
    labels = classes_of(native)
    names = probability_names(labels)
    limited = _one_thread(native)

    if not labels or not hasattr(native, "predict_proba"):

        def values(rows: Any) -> Answers:
            with limited(rows):
                return _columns(native.predict(rows))

        return values

    by_probability = type(_final(native)).__name__ in _BY_PROBABILITY

    def probabilities(rows: Any) -> Answers:
        with limited(rows):
            shares = native.predict_proba(rows)
            predicted = native.classes_[shares.argmax(axis=1)] if by_probability else native.predict(rows)
        answers: dict[str, Any] = {"prediction": predicted}
        if len(labels) == 2:
            answers[names[0]] = shares[:, 1]
        else:
            answers |= {name: shares[:, index] for index, name in enumerate(names)}
        return answers

    return probabilities


def _final(native: Any) -> Any:
    while type(native).__name__ == "Pipeline":
        native = native.steps[-1][1]
    return native


def _columns(answer: Any) -> Answers:
    if answer.ndim == 1:
        return {"prediction": answer}
    return {f"prediction_{index}": answer[:, index] for index in range(answer.shape[1])}


def _one_thread(native: Any) -> Any:
    """A context that holds OpenMP to one thread while few rows are asked; it counts for the calling thread only."""
    if not any(
        type(one).__module__.startswith(("sklearn.ensemble._hist", "sklearn.neighbors")) for one in parts(native)
    ):
        return lambda rows: contextlib.nullcontext()
    from threadpoolctl import ThreadpoolController

    openmp = ThreadpoolController().select(user_api="openmp")
    return lambda rows: openmp.limit(limits=1) if len(rows) <= SMALL else contextlib.nullcontext()


def _bare(found: Any, done: dict[int, Any]) -> Any:
    """A copy that shares all arrays but has forgotten the names of columns, so that it takes plain arrays without a warning."""
    import numpy as np
    from sklearn.base import BaseEstimator

    if id(found) in done:
        return done[id(found)]
    if isinstance(found, BaseEstimator):
        kind = type(found)
        copy = done[id(found)] = kind.__new__(kind)
        attributes = {name: _bare(value, done) for name, value in vars(found).items() if name != "feature_names_in_"}
        if kind.__name__ == "ColumnTransformer" and "transformers_" in attributes:
            attributes["transformers_"] = _by_position(found, cast("list[Any]", attributes["transformers_"]))
        vars(copy).update(attributes)
        return copy
    if type(found) in (list, tuple):
        return type(found)(_bare(one, done) for one in found)
    if type(found) is dict:
        return {name: _bare(one, done) for name, one in cast("dict[Any, Any]", found).items()}
    if (
        isinstance(found, np.ndarray)
        and found.dtype == object
        and any(isinstance(one, BaseEstimator) for one in found.flat)
    ):
        copy = found.copy()
        copy.flat[:] = [_bare(one, done) for one in found.flat]
        return copy
    return found


def _by_position(transformer: Any, fitted: list[Any]) -> list[Any]:
    positions = transformer._transformer_to_input_indices
    return [
        (name, step, positions[name][0] if isinstance(columns, str) else positions[name])
        for name, step, columns in fitted
    ]
