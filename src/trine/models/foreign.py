"""The `mlflow` flavor: a folder that only MLflow can load. Loading runs what the folder names, so it is asked for as a pickle is."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trine.errors import Damaged, InvalidInput
from trine.extras import need

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field


class MlflowFlavor:
    """What is loaded is MLflow's PyFuncModel, from a folder that goes with it."""

    name = "mlflow"
    pickles = True

    def matches(self, native: Any) -> bool:
        return False

    def save(self, native: Any) -> dict[str, bytes]:
        raise InvalidInput(
            "Models of MLflow's come in as MLflow logged them: with its client (register_model), or trine import mlflow."
        )

    def load(self, files: Mapping[str, bytes]) -> Any:
        pyfunc = need("mlflow.pyfunc", extra="mlflow", purpose="A model that only MLflow can load")
        if "MLmodel" not in files:
            raise InvalidInput("The version has no MLmodel, so nothing says how it is loaded.")
        folder = Path(tempfile.mkdtemp(prefix="trine-mlflow-")).resolve()
        try:
            for name, data in files.items():
                place = (folder / name).resolve()
                if not place.is_relative_to(folder):
                    raise Damaged(f'"{name}", a file of the model, would be written outside its folder.')
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            native = pyfunc.load_model(str(folder), suppress_warnings=True)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, Exception) and not isinstance(error, Damaged):
                told = str(error).strip().splitlines() or [""]
                raise InvalidInput(f"MLflow cannot load the model here: {type(error).__name__}: {told[0]}") from error
            raise
        weakref.finalize(native, shutil.rmtree, folder, ignore_errors=True)
        return native

    def classes(self, native: Any) -> tuple[Any, ...]:
        return ()

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return ()

    def ask(self, native: Any) -> Ask:
        def answer(rows: Any) -> Answers:
            return _answers(native.predict(rows))

        return answer

    def bare(self, native: Any) -> Any | None:
        return None

    def libraries(self) -> tuple[str, ...]:
        return ("mlflow", "mlflow-skinny", "numpy", "pandas")


def _answers(found: Any) -> Answers:
    """What a PyFuncModel gave: columns by name, one value a row, or a matrix, whose columns are numbered."""
    import numpy as np

    from trine.models.pickled import answers_of

    if isinstance(found, Mapping) or hasattr(found, "columns"):
        return answers_of(found)
    values = np.asarray(found)
    if values.ndim == 2:
        if values.shape[1] == 1:
            return {"prediction": values[:, 0]}
        return {f"prediction_{number}": values[:, number] for number in range(values.shape[1])}
    return answers_of(values)
