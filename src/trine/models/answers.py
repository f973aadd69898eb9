"""What estimators answer, as columns: `prediction`, and the probabilities of a classifier's labels."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from trine.models.trusted import parts

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Dtype, Field

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


def class_outputs(labels: tuple[Any, ...], has_probabilities: bool) -> tuple[Field, ...]:
    """The columns that a classifier with these labels answers; nothing without labels."""
    from trine.models.signature import Field

    if not labels:
        return ()
    names = probability_names(labels) if has_probabilities else []
    return (Field("prediction", _label_type(labels)), *(Field(name, "float64") for name in names))


def class_answers(labels: tuple[Any, ...], shares: Any, predicted: Any = None) -> Answers:
    """Answers from probabilities, a column for a label; the most probable label is predicted unless it is given."""
    import numpy as np

    if predicted is None:
        predicted = np.array(labels)[shares.argmax(axis=1)]
    answers: dict[str, Any] = {"prediction": predicted}
    if len(labels) == 2:
        answers["probability"] = shares[:, 1]
    else:
        answers |= {name: shares[:, index] for index, name in enumerate(probability_names(labels))}
    return answers


def matrix(rows: Any, dtype: Any) -> Any:
    """Rows of numbers, however they came, as one array; what is missing is NaN."""
    import numpy as np

    if not hasattr(rows, "iter_columns"):
        return np.ascontiguousarray(rows.to_numpy() if hasattr(rows, "to_numpy") else rows, dtype=dtype)
    import polars as pl

    found = np.empty((rows.height, rows.width), dtype=dtype)
    for index, column in enumerate(rows.iter_columns()):
        found[:, index] = column.cast(pl.Float64).to_numpy()
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
    limited = _one_thread(native)

    if not labels or not hasattr(native, "predict_proba"):

        def values(rows: Any) -> Answers:
            with limited(rows):
                return value_answers(native.predict(rows))

        return values

    by_probability = type(_final(native)).__name__ in _BY_PROBABILITY

    def probabilities(rows: Any) -> Answers:
        with limited(rows):
            shares = native.predict_proba(rows)
            predicted = native.classes_[shares.argmax(axis=1)] if by_probability else native.predict(rows)
        return class_answers(labels, shares, predicted)

    return probabilities


def _final(native: Any) -> Any:
    while type(native).__name__ == "Pipeline":
        native = native.steps[-1][1]
    return native


def value_answers(answer: Any) -> Answers:
    """Answers that are values: one column, or one for each of several targets."""
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
