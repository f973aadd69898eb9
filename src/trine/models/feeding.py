"""How rows reach a model: as the kind of frame it was fitted on, or as one plain array where that gives the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trine.models.frames import to_pandas
from trine.models.signature import Field, polars_type

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from trine.models.versions import Manifest

_NUMBERS = frozenset({"float", "integer", "boolean"})


class Feed:
    """Turns rows that conform to a signature into what the model is asked with."""

    def __init__(self, inputs: Sequence[Field], manifest: Manifest) -> None:
        self.inputs = tuple(inputs)
        self.kind = "numpy" if manifest.bare else manifest.feed
        self.numbers = all(one.family in _NUMBERS for one in inputs)
        self.missing: Any = float("nan") if manifest.feed == "pandas" else None
        """What stands for a missing text: a model fitted on pandas knows it as NaN."""

    def of_frame(self, rows: pl.DataFrame) -> Any:
        if self.kind == "polars":
            return rows
        if self.kind == "pandas":
            return to_pandas(rows)
        if self.numbers:
            return _numbers(rows)
        return self._objects([one.to_list() for one in rows.iter_columns()], rows.height)

    def of_columns(self, columns: Mapping[str, Any]) -> Any:
        """From decoded columns by name; what is not there is missing."""
        count = len(next(iter(columns.values()), ()))
        if self.kind != "numpy":
            return self.of_frame(self._frame(columns, count))
        if not self.numbers:
            return self._objects([_listed(columns.get(one.name), count) for one in self.inputs], count)
        import numpy as np

        matrix = np.empty((count, len(self.inputs)), dtype=np.float64, order="F")
        for index, one in enumerate(self.inputs):
            given = columns.get(one.name)
            matrix[:, index] = np.nan if given is None else np.asarray(given, dtype=np.float64)
        return matrix

    def of_rows(self, rows: Sequence[Sequence[Any]]) -> Any:
        """From decoded rows, their values in the order of the signature."""
        if self.kind == "numpy" and self.numbers:
            import numpy as np

            return np.array(rows, dtype=np.float64)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.inputs)
        return self.of_columns({one.name: column for one, column in zip(self.inputs, columns, strict=True)})

    def _frame(self, columns: Mapping[str, Any], count: int) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(
            [
                pl.Series(one.name, _listed(columns.get(one.name), count), dtype=polars_type(one.dtype))
                for one in self.inputs
            ]
        )

    def _objects(self, columns: list[Any], count: int) -> NDArray[Any]:
        import numpy as np

        matrix = np.empty((count, len(columns)), dtype=object)
        for index, column in enumerate(columns):
            missing = self.missing if self.inputs[index].family == "string" else float("nan")
            matrix[:, index] = [missing if value is None else value for value in column]
        return matrix


def _listed(given: Any, count: int) -> list[Any]:
    if given is None:
        return [None] * count
    return given.tolist() if hasattr(given, "tolist") else list(given)


def _numbers(rows: pl.DataFrame) -> NDArray[Any]:
    """In column order, as a frame is in memory: sums over rows then come out to the last bit as they do from the frame."""
    import numpy as np
    import polars as pl

    matrix = np.empty((rows.height, rows.width), dtype=np.float64, order="F")
    for index, column in enumerate(rows.iter_columns()):
        matrix[:, index] = (column.cast(pl.Float64) if column.dtype == pl.Boolean else column).to_numpy()
    return matrix
