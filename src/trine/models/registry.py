"""Registering a model: save it, load it back, see that it answers the same, store it, and give it the next number."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput
from trine.models import operations as door
from trine.models.artifact import ANSWERS, EXAMPLE, write_artifact
from trine.models.feeding import Feed
from trine.models.flavors import Flavor, flavor_of
from trine.models.frames import Kind, as_frame, kind_of
from trine.models.loading import LoadedModel, Native, installed, keep, same_answers
from trine.models.signature import Field, Signature, checked, infer_signature
from trine.models.versions import Manifest, ModelVersion
from trine.workspace import Workspace, active_producer, current_workspace

if TYPE_CHECKING:
    import polars as pl

TRIED = 1_000
"""Rows of the example that the saved model is asked; it must answer them as the model in memory does."""


def register(
    model: Any,
    name: str,
    *,
    inputs: Any = None,
    optional: Collection[str] = (),
    signature: Signature | None = None,
    run: str = "",
    data: Any = "",
    flavor: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    keep_example: int = 5,
    allow_pickle: bool = False,
    ws: Workspace | None = None,
) -> ModelVersion:
    """Register a fitted model as the next version of `name`; the first one makes the model.

    `inputs` are example rows, best the training rows, of the kind it was fitted on (Polars, pandas, array): they give the signature
    (or are checked against `signature`), and the first `keep_example` of them are kept with the answers, so that every later load
    shows that it answers the same. A column without missing values is required later, unless it is `optional`. `run` is the run that made it (default: the active one), `data` the node of the training
    commit or the commit itself (default: the last dataset that run read). scikit-learn models are saved without pickle;
    anything else with a `predict` only with `allow_pickle=True`.
    """
    ws = ws or current_workspace()
    kind = flavor_of(model, flavor, allow_pickle)
    manifest, rows = _describe(model, kind, inputs, signature, optional)
    files = kind.save(model)
    restored = kind.load(files)
    if rows is not None:
        manifest, answers = _try(name, model, restored, kind, manifest, rows)
        kept = min(keep_example, rows.height)
        if kept > 0:
            files[EXAMPLE] = _ipc(rows.head(kept))
            if not kind.pickles:
                files[ANSWERS] = _ipc(answers.head(kept))
    artifact = write_artifact(ws.store, files, manifest)
    door.check_artifact(ws, artifact=artifact)
    keep(artifact, Native(restored, manifest))
    producer = active_producer()
    run = run.removeprefix("run:") or (producer.removeprefix("run:") if producer.startswith("run:") else "")
    return door.register_version(
        ws,
        name=name,
        artifact=artifact,
        run=run,
        data=getattr(data, "node", data) or _training_data(run, ws),
        producer=producer,
        description=description,
        tags=dict(tags or {}),
        metrics={key: float(value) for key, value in (metrics or {}).items()},
    )


def _describe(
    model: Any, kind: Flavor, inputs: Any, signature: Signature | None, optional: Collection[str]
) -> tuple[Manifest, pl.DataFrame | None]:
    """The manifest as far as the model and its example tell, and the example's rows in the signature's form."""
    names = [str(one) for one in getattr(model, "feature_names_in_", ())]
    if signature is None:
        if inputs is None:
            raise InvalidInput(
                "What does the model take? Give example rows (inputs=…, best the training rows) or signature=…."
            )
        signature = infer_signature(inputs, names=names, optional=optional)
    checked(signature)
    if names and signature.names != names:
        if sorted(signature.names) != sorted(names):
            raise InvalidInput(
                f"The model was fitted on the columns {_listed(names)}, the example has {_listed(signature.names)}."
            )
        by_name = {one.name: one for one in signature.inputs}
        signature = msgspec.structs.replace(signature, inputs=tuple(by_name[one] for one in names))
    wanted = getattr(model, "n_features_in_", len(signature.inputs))
    if wanted != len(signature.inputs):
        raise InvalidInput(f"The model was fitted on {wanted} columns, the example has {len(signature.inputs)}.")
    if not signature.outputs:
        signature = msgspec.structs.replace(signature, outputs=kind.outputs(model))
    manifest = Manifest(
        format="",
        flavor=kind.name,
        files=(),
        signature=signature,
        libraries=installed(kind.libraries()),
        estimator=_estimator(model),
        classes=kind.classes(model),
        feed=_feed(inputs, names),
        pickled=kind.pickles,
    )
    rows = as_frame(inputs, signature.names) if inputs is not None else None
    return manifest, None if rows is None or not rows.height else signature.conform(rows.head(TRIED))


def _feed(inputs: Any, names: list[str]) -> Kind:
    if inputs is None:
        return "polars" if names else "numpy"
    found = kind_of(inputs)
    return "polars" if found == "numpy" and names else found


def _try(
    name: str, model: Any, restored: Any, kind: Flavor, manifest: Manifest, rows: pl.DataFrame
) -> tuple[Manifest, pl.DataFrame]:
    """Ask the model and what was saved of it. Gives the manifest with outputs and the plainest feed that answers the same."""
    answers = _answers(name, Native(model, manifest), rows)
    if not same_answers(answers, _answers(name, Native(restored, manifest), rows)):
        raise InvalidInput(
            f"The {manifest.estimator} answers differently after saving and loading, so it is not registered."
        )
    outputs = infer_signature(answers).inputs
    outputs = tuple(Field(one.name, one.dtype) for one in outputs)
    signature = msgspec.structs.replace(manifest.signature, outputs=manifest.signature.outputs or outputs)
    manifest = msgspec.structs.replace(manifest, signature=signature)
    bare = msgspec.structs.replace(manifest, bare=True)
    return (bare if _is_bare(restored, kind, bare, rows, answers) else manifest), answers


def _answers(name: str, native: Native, rows: pl.DataFrame) -> pl.DataFrame:
    """What the model answers in this moment, as predictions of a version that is not there yet."""
    probe = ModelVersion(
        name,
        0,
        native.manifest.flavor,
        native.manifest.signature,
        "",
        "",
        "",
        0,
        "",
        {},
        {},
        {},
        "",
        (),
        False,
        "",
        "",
        0,
    )
    return LoadedModel(probe, native).predict(rows)


def _is_bare(restored: Any, kind: Flavor, manifest: Manifest, rows: pl.DataFrame, answers: pl.DataFrame) -> bool:
    """Whether plain arrays give the same answers, for all rows and for one, without a warning."""
    try:
        bare = kind.bare(restored)
        if bare is None:
            return False
        feed, ask = Feed(manifest.signature.inputs, manifest), kind.ask(bare)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for count in (rows.height, 1):
                found = ask(feed.of_frame(rows.head(count)))
                if not all(_equal(found[one], answers[one].head(count).to_numpy()) for one in answers.columns):
                    return False
    except Exception:  # whatever a model of this kind does with an array, the frame it was fitted on is always right
        return False
    return True


def _equal(one: Any, other: Any) -> bool:
    """Equal, floats up to the rounding of a sum in another order."""
    import numpy as np

    if other.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=1e-12, atol=1e-15))
    return bool((one == other).all())


def _estimator(model: Any) -> str:
    """`Pipeline(ColumnTransformer, LogisticRegression)`, or the name of the type."""
    steps: Any = getattr(model, "steps", None)
    if type(model).__name__ == "Pipeline" and steps:
        return f"Pipeline({', '.join(type(step).__name__ for _, step in steps)})"
    return getattr(model, "__qualname__", type(model).__qualname__)


def _ipc(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return buffer.getvalue()


def _training_data(run: str, ws: Workspace) -> str:
    """The last dataset the run has read, when there is a run."""
    if not run:
        return ""
    from trine.tracking import get_run

    read = [node for node in get_run(run, ws=ws).inputs if node.startswith("dataset:")]
    return read[-1] if read else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
