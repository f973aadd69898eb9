"""Loading versions and asking them: files verified, kept per process, the signature enforced."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from trine.errors import Failure, InvalidInput, NotFound, Refused
from trine.models import operations as door
from trine.models.artifact import ANSWERS, EXAMPLE, read_files, read_manifest
from trine.models.feeding import Feed
from trine.models.flavors import Answers, flavors
from trine.models.frames import as_frame
from trine.models.signature import Signature, dtype_of
from trine.models.versions import Manifest, ModelVersion, split_ref
from trine.workspace import Workspace, current_workspace, record_resolution, record_use

if TYPE_CHECKING:
    import polars as pl

KEPT = 16
"""Models a process keeps loaded; the one that was asked for longest ago goes first."""


class Native:
    """A model in memory: the object, and the function that answers rows as its feed gives them. Threads may share it."""

    def __init__(self, native: Any, manifest: Manifest) -> None:
        flavor = flavors()[manifest.flavor]
        bare = flavor.bare(native) if manifest.bare else None
        self.native = native
        self.ask = flavor.ask(native if bare is None else bare)
        self.feed = Feed(manifest.signature.inputs, manifest)
        self.manifest = manifest


class LoadedModel:
    """A version that can be asked. `native` is the model itself; do not change it, others in this process share it."""

    def __init__(self, version: ModelVersion, native: Native) -> None:
        self.version = version
        self.native = native.native
        self._native = native

    def __repr__(self) -> str:
        return f"<LoadedModel {self.version.ref}>"

    @property
    def signature(self) -> Signature:
        return self.version.signature

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels of a classifier; the last of two is the one `probability` is of."""
        return self.version.classes

    def predict(self, frame: Any, *, extra: Literal["refuse", "ignore"] = "refuse") -> pl.DataFrame:
        """The model's answers, a row for a row: `prediction`, and `probability` (two classes) or `probability_<class>`.

        Takes a Polars or pandas frame, a dict of columns, a list of dicts, or an array with the columns in order. Rows that do not
        fit the signature raise InvalidInput naming row (counted from 0) and column, before the model sees any. Columns the
        model does not know are refused, or left out with `extra="ignore"`.
        """
        import polars as pl

        if self.signature.inputs:
            rows = self.signature.conform(frame, extra=extra)
        elif extra == "ignore":
            raise InvalidInput(
                f"{self.version.ref} has no signature, so nothing says which of these columns it takes. Log it with one: "
                "mlflow.models.infer_signature(inputs, outputs)."
            )
        else:
            rows = as_frame(frame)
        if not rows.height:
            return pl.DataFrame(schema=_schema(self.signature))
        answers = self._answer(self._native.feed.of_frame(rows), rows.height)
        return pl.DataFrame({name: _plain(column) for name, column in answers.items()})

    def predict_columns(self, columns: Mapping[str, Any]) -> Answers:
        """Answers as arrays by name for rows that are decoded and checked already: lists or arrays by input name.

        The hot path of serving: no frame is built and nothing is checked. At least one row.
        """
        return self._answer(self._native.feed.of_columns(columns), len(next(iter(columns.values()))))

    def predict_rows(self, rows: Sequence[Sequence[Any]]) -> Answers:
        """Like `predict_columns`, for rows whose values stand in the order of the signature; None is missing."""
        return self._answer(self._native.feed.of_rows(rows), len(rows))

    def _answer(self, rows: Any, count: int) -> Answers:
        try:
            answers = self._native.ask(rows)
        except (ValueError, TypeError, KeyError) as error:
            message = str(error).strip().splitlines() or [type(error).__name__]
            raise InvalidInput(f"{self.version.ref} cannot answer these rows: {message[0]}") from error
        for name, column in answers.items():
            if len(column) != count:
                raise Failure(f'{self.version.ref} answered {len(column)} values of "{name}" to {count} rows.')
        return answers


def _schema(signature: Signature) -> Any:
    from trine.models.signature import polars_type

    return {one.name: polars_type(one.dtype) for one in signature.outputs}


def _plain(column: Any) -> Any:
    return column.tolist() if column.dtype.kind in "OUS" else column


_kept: OrderedDict[str, Native] = OrderedDict()
_lock = threading.Lock()


def keep(artifact: str, native: Native) -> Native:
    """Keep a model loaded for this process."""
    with _lock:
        found = _kept.setdefault(artifact, native)
        _kept.move_to_end(artifact)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return found


def load_model(ref: str | ModelVersion, *, allow_pickle: bool = False, ws: Workspace | None = None) -> LoadedModel:
    """The version `name@3`, `name@production` or, for a bare name, the newest, ready to predict; the use is recorded.

    Its files are checked against their hashes, and it must answer the example it was registered with as it did then. A model this
    process has loaded before is not read again. A pickled version runs code from its file, so that has to be allowed.
    """
    ws = ws or current_workspace()
    version = ref if isinstance(ref, ModelVersion) else resolve(ref, ws=ws)
    if version.pickled and not allow_pickle:
        raise Refused(
            f"{version.ref} is kept as a pickle: loading it runs code that came with it. "
            f"If you trust {version.author}, who registered it: load_model(…, allow_pickle=True)."
        )
    if version.pickled and not ws.loads_pickles:
        raise Refused(
            f"{version.ref} is kept as a pickle, and this server loads none: that runs code which came with it. "
            "Open the workspace itself (its folder or database), or start the server with --allow-pickle."
        )
    with _lock:
        native = _kept.get(version.artifact)
    if native is None:
        native = keep(version.artifact, read_native(ws, version))
    record_use(version.node)
    return LoadedModel(version, native)


def resolve(ref: str, *, ws: Workspace | None = None) -> ModelVersion:
    """The version a reference means now: `name@3`, `name@production`, or `name` for the newest."""
    name, version = split_ref(ref)
    try:
        found = door.get_version(ws or current_workspace(), name=name, ref=version)
    except NotFound:
        record_resolution(f"model:{ref}", "")
        raise
    record_resolution(f"model:{ref}", found.node)
    return found


def read_native(ws: Workspace, version: ModelVersion) -> Native:
    """A version in memory, from files that were checked, giving the answers of its example again."""
    manifest = read_manifest(ws.store, version.artifact)
    flavor = flavors().get(manifest.flavor)
    if flavor is None:
        raise InvalidInput(
            f'{version.ref} is of flavor "{manifest.flavor}", which no installed package brings. Install the one that does.'
        )
    files = read_files(ws.store, manifest, version.ref)
    native = Native(flavor.load(files), manifest)
    if ANSWERS in files:
        _replay(version, native, files)
    return native


def _replay(version: ModelVersion, native: Native, files: Mapping[str, bytes]) -> None:
    """Refuse a model that does not answer its own example as it did when it was registered."""
    import polars as pl

    rows, then = (pl.read_ipc(files[name]) for name in (EXAMPLE, ANSWERS))
    now = LoadedModel(version, native).predict(rows)
    if not same_answers(then, now):
        raise Failure(
            f"{version.ref} does not answer its example as it did when it was registered: the libraries differ. "
            f"It was made with {_versions(version.libraries)}; here are {_versions(installed(version.libraries))}."
        )


def same_answers(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether answers are the same up to rounding (1e-6 of their size)."""
    import numpy as np

    if one.columns != other.columns:
        return False
    for column in one.columns:
        a, b = one[column], other[column]
        if a.dtype.is_float() and b.dtype.is_float():
            if not np.allclose(a.to_numpy(), b.to_numpy(), rtol=1e-6, atol=1e-9, equal_nan=True):
                return False
        elif not a.equals(b) and dtype_of(a) == dtype_of(b):
            return False
    return True


def installed(names: Any) -> dict[str, str]:
    """The versions of distributions here; those that are not installed are left out."""
    import importlib.metadata

    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items())
