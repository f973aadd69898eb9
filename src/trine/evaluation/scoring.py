"""Asking models about labelled rows: truth and answers side by side, in one code for all models that are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput, nearest
from trine.evaluation.metrics import Scored
from trine.models.answers import probability_names
from trine.models.frames import as_frame
from trine.models.loading import LoadedModel

if TYPE_CHECKING:
    import polars as pl


def labelled(rows: Any, label: str) -> tuple[pl.DataFrame, int]:
    """The rows that have a label, and how many have none. Raises InvalidInput when the column or all labels are missing."""
    frame = as_frame(rows)
    if label not in frame.columns:
        raise InvalidInput(f'The rows have no column "{label}" of labels.{nearest(label, frame.columns)}', column=label)
    column = frame[label]
    there = column.is_not_null() & column.is_not_nan() if column.dtype.is_float() else column.is_not_null()
    found = frame.filter(there)
    if not found.height:
        raise InvalidInput(f'None of the {frame.height} rows has a label in "{label}".', column=label)
    return found, frame.height - found.height


def score(
    model: LoadedModel, rows: pl.DataFrame, label: str, *, as_classes: bool, classes: tuple[Any, ...] = ()
) -> Scored:
    """A model's answers to labelled rows. `classes` fixes their order; `as_classes` reads whole numbers as classes.

    Raises InvalidInput for rows the model does not take, a label that is none of its classes, and answers that are NaN.
    """
    import numpy as np

    try:
        answers = model.predict(rows, extra="ignore")
    except InvalidInput as error:
        raise InvalidInput(
            f"{model.version.ref} cannot be asked about these rows: {error.message}", **error.details
        ) from error
    if "prediction" not in answers.columns:
        raise InvalidInput(f'{model.version.ref} answers {", ".join(answers.columns)}, and no column "prediction".')
    _refuse_nan(model, answers)
    predicted = answers["prediction"]
    counts = predicted.dtype.is_integer() and as_classes
    if not model.classes and predicted.dtype.is_numeric() and not counts:
        truth = rows[label]
        if not truth.dtype.is_numeric():
            raise InvalidInput(f'Label "{label}" is {truth.dtype}, {model.version.ref} answers numbers.', column=label)
        return Scored(truth.cast(_float()).to_numpy(), predicted.cast(_float()).to_numpy())
    own = model.classes or classes or tuple(sorted({*rows[label].to_list(), *predicted.to_list()}, key=str))
    known = classes or own
    if set(known) != set(own):
        raise InvalidInput(
            f"{model.version.ref} tells apart {_listed(own)}, the other model {_listed(known)}: they cannot be compared."
        )
    return Scored(
        _codes(rows[label], known, f"none of the classes {_listed(known)} of {model.version.ref}"),
        _codes(predicted, known, "no class"),
        _shares(answers, own, known, np),
        known,
    )


def _shares(answers: pl.DataFrame, own: tuple[Any, ...], known: tuple[Any, ...], np: Any) -> Any:
    names = probability_names(own)
    if len(own) < 2 or not set(names) <= set(answers.columns):
        return None
    if len(own) == 2:
        second = answers[names[0]].to_numpy()
        shares = np.column_stack([1 - second, second])
    else:
        shares = np.column_stack([answers[name].to_numpy() for name in names])
    return shares[:, [own.index(one) for one in known]]


def _codes(values: pl.Series, classes: tuple[Any, ...], problem: str) -> Any:
    import numpy as np

    place = {value: index for index, value in enumerate(classes)}
    codes = np.array([place.get(value, -1) for value in values.to_list()], dtype=np.int64)
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        raise InvalidInput(
            f'Row {row}, column "{values.name}": {values[row]!r} is {problem}.', row=row, column=values.name
        )
    return codes


def _refuse_nan(model: LoadedModel, answers: pl.DataFrame) -> None:
    for column in answers.iter_columns():
        bad = column.is_null() | ~column.is_finite() if column.dtype.is_float() else column.is_null()
        if bad.any():
            row = int(bad.arg_max() or 0)
            raise InvalidInput(
                f'{model.version.ref} answered {column[row]} in "{column.name}" to {int(bad.sum())} of {len(bad)} rows, '
                f"first to row {row}: such a model cannot be judged.",
                row=row,
                column=column.name,
            )


def base_rate(scored: Scored, metric: str) -> Scored:
    """What the best constant would answer to the same rows: the share of each class, or the mean (the median for mae and mape)."""
    import numpy as np

    if not scored.classes:
        constant = np.median(scored.truth) if metric in ("mae", "mape") else scored.truth.mean()
        return Scored(scored.truth, np.full(len(scored), constant))
    counts = np.bincount(scored.truth, minlength=len(scored.classes))
    shares = np.tile(counts / counts.sum(), (len(scored), 1))
    return Scored(scored.truth, np.full(len(scored), int(counts.argmax())), shares, scored.classes)


def _listed(classes: tuple[Any, ...]) -> str:
    return ", ".join(map(str, classes[:6])) + (", …" if len(classes) > 6 else "")


def _float() -> Any:
    import polars as pl

    return pl.Float64
