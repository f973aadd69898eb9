"""The `pickle` flavor: any function of rows, or object with a `predict` method, as a pickle. Only when asked for."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

FILE = "model.pkl"


class PickledFlavor:
    """What it predicts is one value a row, or columns by name."""

    name = "pickle"
    pickles = True
    forms: Mapping[str, str] = {FILE: "pickle"}

    def matches(self, native: Any) -> bool:
        return callable(native) or callable(getattr(native, "predict", None))

    def save(self, native: Any) -> dict[str, bytes]:
        kind = native if isinstance(native, type) or hasattr(native, "__qualname__") else type(native)
        if kind.__module__ == "__main__":
            raise InvalidInput(
                f"{kind.__qualname__} is defined in the script that runs now, so no other process could load it: "
                "put it into a module and import it from there."
            )
        try:
            return {FILE: pickle.dumps(native, protocol=5)}
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise InvalidInput(f"The model cannot be pickled: {error}.") from error

    def load(self, files: Mapping[str, bytes]) -> Any:
        try:
            return pickle.loads(files[FILE])
        except (ImportError, AttributeError) as error:
            raise InvalidInput(
                f"The pickled model needs code that is not here: {error}. Install or import the package it came from."
            ) from error

    def check(self, files: Mapping[str, bytes]) -> None:
        """Raise InvalidInput for a pickle that calls what no model needs. A pickle can still do anything: this is no guarantee."""
        from trine.models.calls import calls_of, is_harmful

        if bad := sorted(one for one in calls_of(files[FILE]) if is_harmful(one)):
            raise InvalidInput(
                f"The model is refused: its pickle calls {', '.join(bad[:3])}, which no model needs.", refused=bad
            )

    def classes(self, native: Any) -> tuple[Any, ...]:
        from trine.models.answers import classes_of

        return classes_of(native)

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return ()

    def ask(self, native: Any) -> Ask:
        from trine.models.answers import ask_estimator

        if callable(getattr(native, "predict_proba", None)):
            return ask_estimator(native)
        function = native.predict if callable(getattr(native, "predict", None)) else native
        return lambda rows: answers_of(function(rows))

    def bare(self, native: Any) -> Any | None:
        return None

    def libraries(self) -> tuple[str, ...]:
        return ("numpy", "polars", "pandas")


def answers_of(given: Any) -> Answers:
    """What a function gave as columns: one value a row is the prediction, columns keep their names."""
    import numpy as np

    if isinstance(given, Mapping) or hasattr(given, "columns"):
        names: Any = given.keys() if isinstance(given, Mapping) else given.columns
        return {str(name): np.asarray(given[name]) for name in names}
    found = np.asarray(given)
    if found.ndim != 1:
        raise InvalidInput(f"The model answered {found.ndim} dimensions: one value a row, or columns by name.")
    return {"prediction": found}
