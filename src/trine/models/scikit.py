"""The `sklearn` flavor: scikit-learn models saved through skops, so that loading runs no code from the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from trine.errors import Damaged, InvalidInput
from trine.extras import need
from trine.models.answers import ask_estimator, class_outputs, classes_of
from trine.models.trusted import check_contents, trusted_types

if TYPE_CHECKING:
    from trine.models.flavors import Ask
    from trine.models.signature import Field

FILE = "model.skops"


class ScikitFlavor:
    name = "sklearn"
    pickles = False
    forms: Mapping[str, str] = {FILE: "skops"}

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

    def check(self, files: Mapping[str, bytes]) -> None:
        """Raise InvalidInput for types that are never loaded; without scikit-learn here, by the roots of their names alone."""
        try:
            skops = _skops()
        except InvalidInput:
            return
        try:
            unknown = set(skops.get_untrusted_types(data=files[FILE])) - set(trusted_types())
        except Exception as error:  # whatever a made-up file does to the reader of its schema
            raise InvalidInput(
                f"The model is refused: its schema cannot be read ({type(error).__name__}: {error})."
            ) from error
        if unknown:
            raise InvalidInput(
                f"The model is refused: it holds {', '.join(sorted(unknown)[:3])}, which is not among the types that are safe to load.",
                refused=sorted(unknown),
            )

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
        return class_outputs(classes_of(native), hasattr(native, "predict_proba"))

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
