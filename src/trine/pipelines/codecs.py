"""Bytes of library objects: frames, arrays, estimators. Each codec gives back what it was given, or refuses."""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple, Protocol

from trine.errors import InvalidInput, Refused


class Packed(NamedTuple):
    """An object as bytes, and the JSON-able facts that reading it back needs."""

    codec: str
    data: bytes
    facts: dict[str, Any] | None = None


class Codec(Protocol):
    def pack(self, value: Any) -> Packed: ...

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any: ...


class _Polars:
    """DataFrame, LazyFrame (collected) and Series as Arrow IPC."""

    def pack(self, value: Any) -> Packed:
        import polars as pl

        kind = type(value).__name__
        frame = value.collect() if isinstance(value, pl.LazyFrame) else value
        if isinstance(frame, pl.Series):
            frame = frame.to_frame()
        buffer = io.BytesIO()
        # one chunk, so that equal frames have equal bytes however they were made
        frame.rechunk().write_ipc(buffer, compression="lz4")
        return Packed("polars", buffer.getvalue(), {"kind": kind})

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        import polars as pl

        frame = pl.read_ipc(io.BytesIO(data))
        if facts["kind"] == "LazyFrame":
            return frame.lazy()
        return frame.to_series() if facts["kind"] == "Series" else frame


class _Arrow:
    """A pyarrow Table as an Arrow IPC stream."""

    def pack(self, value: Any) -> Packed:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, value.schema) as writer:
            writer.write_table(value)
        return Packed("pyarrow", buffer.getvalue())

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        with pa.ipc.open_stream(data) as reader:
            return reader.read_all()


class _Numpy:
    """An array in NumPy's own format, never with pickled objects in it."""

    def pack(self, value: Any) -> Packed:
        import numpy as np

        if value.dtype.hasobject:
            raise InvalidInput(
                "a NumPy array of Python objects has no stable bytes. Give it a plain dtype, or use a list"
            )
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return Packed("numpy", buffer.getvalue(), {} if isinstance(value, np.ndarray) else {"scalar": True})

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        import numpy as np

        found = np.load(io.BytesIO(data), allow_pickle=False)
        return found[()] if facts.get("scalar") else found


class _Pandas:
    """A pandas frame or series: columns in Arrow IPC, index and types beside them; checked to read back equal."""

    def pack(self, value: Any) -> Packed:
        import polars as pl

        try:
            packed = self._pack(value)
            if self._is_same(value, self.unpack(packed.data, packed.facts or {})):
                return packed
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            pass  # said below, as for one that reads back differently
        raise InvalidInput(
            "this pandas frame does not read back equal from Arrow (unusual index, labels or column types). "
            "Return a Polars frame, or reset the index and give the columns plain types"
        )

    def _pack(self, value: Any) -> Packed:
        import pandas as pd
        import polars as pl

        frame = value if isinstance(value, pd.DataFrame) else value.to_frame("0" if value.name is None else value.name)
        index = frame.index
        default = isinstance(index, pd.RangeIndex) and (index.start, index.step, index.name) == (0, 1, None)
        levels = [] if default else [index.get_level_values(i).to_series() for i in range(index.nlevels)]
        columns = [*levels, *(frame.iloc[:, i] for i in range(frame.shape[1]))]
        facts = {
            "series": None if isinstance(value, pd.DataFrame) else [value.name],
            "levels": None if default else list(index.names),
            "names": list(frame.columns),
            "dtypes": [str(column.dtype) for column in columns],
            "rows": len(frame),
        }
        buffer = io.BytesIO()
        pl.DataFrame([_series(str(i), column) for i, column in enumerate(columns)]).write_ipc(buffer, compression="lz4")
        return Packed("pandas", buffer.getvalue(), facts)

    def _is_same(self, value: Any, back: Any) -> bool:
        labels = [value.index, back.index]
        if hasattr(value, "columns"):
            labels += [value.columns, back.columns]
            if list(value.columns.names) != list(back.columns.names):
                return False
        plain = all(isinstance(name, (str, int)) for name in getattr(value, "columns", ()))
        return bool(
            plain
            and value.equals(back)
            and labels[0].equals(labels[1])
            and list(labels[0].names) == list(labels[1].names)
        )

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        import pandas as pd
        import polars as pl

        stored = pl.read_ipc(io.BytesIO(data)).get_columns()
        made = [_column(one, dtype) for one, dtype in zip(stored, facts["dtypes"], strict=True)]
        names: list[Any] | None = facts["levels"]
        index: Any = pd.RangeIndex(facts["rows"])
        if names is not None:
            levels, made = made[: len(names)], made[len(names) :]
            index = pd.MultiIndex.from_arrays(levels, names=names)
            if len(names) == 1:
                index = pd.Index(levels[0], name=names[0])
        columns = [column.set_axis(index) for column in made]
        frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
        if columns:
            frame.columns = facts["names"]
        return frame if facts["series"] is None else frame.iloc[:, 0].rename(facts["series"][0])


def _series(name: str, column: Any) -> Any:
    import polars as pl

    kind = column.dtype.kind if hasattr(column.dtype, "kind") and not hasattr(column.dtype, "na_value") else "O"
    if kind in "iufbmM":
        return pl.Series(name, column.to_numpy())
    return pl.Series(name, [None if missing else one for one, missing in zip(column, column.isna(), strict=True)])


def _column(stored: Any, dtype: str) -> Any:
    import pandas as pd

    plain = stored.dtype.is_numeric() or stored.dtype.is_temporal()
    values: Any = stored.to_numpy() if plain and not stored.null_count() else stored.to_list()
    return pd.Series(values, dtype=dtype)


class _Model:
    """A fitted model in its flavor's own files (scikit-learn: skops), never pickled."""

    def pack(self, value: Any) -> Packed:
        import msgspec

        flavor = _flavor_of(value)
        assert flavor is not None
        return Packed("model", msgspec.msgpack.encode(flavor.save(value), order="sorted"), {"flavor": flavor.name})

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        import msgspec

        from trine.models.flavors import flavors

        return flavors()[facts["flavor"]].load(msgspec.msgpack.decode(data, type=dict[str, bytes]))


class Pickled:
    """Anything, by pickle: only for steps that ask for it, because reading a pickle runs what is in it."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def pack(self, value: Any) -> Packed:
        return Packed("pickle", pickle.dumps(value, protocol=5))

    def unpack(self, data: bytes, facts: dict[str, Any]) -> Any:
        if not self._allowed:
            raise Refused(
                "This value was stored with pickle, and reading a pickle runs what is in it. Ask for it: pickle=True"
            )
        return pickle.loads(data)


CODECS: dict[str, Codec] = {
    "model": _Model(),
    "numpy": _Numpy(),
    "pandas": _Pandas(),
    "polars": _Polars(),
    "pyarrow": _Arrow(),
}


def codec_of(value: Any) -> Codec | None:
    """The codec for a library's object, found without importing any library."""
    kind = type(value)
    root = kind.__module__.partition(".")[0]
    if root == "builtins":
        return None
    if root == "polars" and kind.__name__ in ("DataFrame", "LazyFrame", "Series"):
        return CODECS["polars"]
    if root == "pandas" and kind.__name__ in ("DataFrame", "Series"):
        return CODECS["pandas"]
    if root == "pyarrow" and kind.__name__ == "Table":
        return CODECS["pyarrow"]
    if root == "numpy" and (kind.__name__ == "ndarray" or hasattr(kind, "dtype")):
        return CODECS["numpy"]
    return CODECS["model"] if _flavor_of(value) is not None else None


def _flavor_of(value: Any) -> Any:
    """The flavor a fitted model is kept in without pickle: scikit-learn's, with transformers too, or one that a package adds."""
    from trine.models.flavors import flavors

    if type(value).__module__.startswith("sklearn.") and hasattr(value, "get_params"):
        return flavors()["sklearn"]
    return next((one for one in flavors().values() if not one.pickles and one.matches(value)), None)
