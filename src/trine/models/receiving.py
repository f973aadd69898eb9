"""The door's part on models that other tools make: a model without versions, and versions whose files were written by others."""

from __future__ import annotations

from typing import Annotated

import msgspec
from sqlalchemy import insert, select, update

from trine.errors import Conflict, Damaged, InvalidInput, NotFound
from trine.ids import canonical_json
from trine.models.flavors import flavors
from trine.models.importing import describe
from trine.models.mlmodel import FILE
from trine.models.names import ModelName
from trine.models.rows import find_version, is_model, model_info, model_row
from trine.models.tables import model, model_version
from trine.models.versions import Manifest, ModelInfo, ModelVersion, Stored
from trine.operations import operation
from trine.workspace import Workspace

Run = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$(?!\n)")]


@operation("POST /models", allows="models.register")
def create_model(
    ws: Workspace,
    *,
    name: ModelName,
    description: str = "",
    tags: dict[str, str] = {},  # noqa: B006 (copied by the door)
) -> ModelInfo:
    """Make a model without versions. Conflict when there is one; one that was deleted comes back, and counts on."""
    known = ws.tx.first(select(model).where(*is_model(ws, name)))
    if known is not None and known.gone != "deleted":
        state = f"was {known.gone}" if known.gone else "is there already"
        raise Conflict(f'A model "{name}" {state}.', name=name)
    row = {"description": description, "tags": canonical_json(tags).decode(), "created_us": ws.tx.now_us}
    if known is None:
        ws.tx.execute(insert(model).values(project=ws.project, name=name, last_version=0, **row))
    else:
        ws.tx.execute(update(model).where(*is_model(ws, name)).values(gone="", **row))
    made = model_info(ws, model_row(ws, name))
    ws.tx.touch(f"model:{name}", after=made)
    return made


@operation("POST /models/{name}/received", allows="models.register")
def receive_version(
    ws: Workspace,
    *,
    name: ModelName,
    files: list[Stored],
    run: Run = "",
    producer: str = "",
    description: str = "",
    tags: dict[str, str] = {},  # noqa: B006 (copied by the door)
    metrics: dict[str, float] = {},  # noqa: B006 (copied by the door)
) -> ModelVersion:
    """Give files that are stored already, such as a folder with an `MLmodel`, the model's next number.

    What Trine can load safely from them is of its own flavor; anything else counts as a pickle, since whoever loads it runs what it
    brings along.
    """
    tx = ws.tx
    missing = {one.hash for one in files} - (ws.store.has({one.hash for one in files}) if files else set())
    if missing:
        raise NotFound(f"There is no object {min(missing)} in the store. Store the bytes before you name them.")
    manifest = _checked(ws, describe(ws, tuple(sorted(files, key=lambda one: one.path))))
    known = model_row(ws, name)
    version = known.last_version + 1
    tx.execute(update(model).where(*is_model(ws, name)).values(last_version=version))
    tx.execute(
        insert(model_version).values(
            project=ws.project,
            model=name,
            version=version,
            artifact=ws.store.put(canonical_json(manifest)),
            manifest=msgspec.json.encode(manifest).decode(),
            size_bytes=sum(file.size for file in manifest.files),
            run=run,
            data="",
            producer=producer,
            description=description,
            tags=canonical_json(tags).decode(),
            metrics=canonical_json(metrics).decode(),
            author=ws.on_behalf_of or ws.principal.name,
            created_us=tx.now_us,
        )
    )
    found = find_version(ws, name, str(version))
    for maker in dict.fromkeys([f"run:{run}" if run else "", producer]):
        if maker:
            tx.link(maker, "produced", found.node)
    tx.make(found.node)
    tx.touch(found.node, after=found.artifact)
    tx.note(model=name, version=version, flavor=found.flavor, pickled=found.pickled, run=run)
    return found


def _checked(ws: Workspace, manifest: Manifest) -> Manifest:
    """The manifest, of another flavor when its files hold what is never loaded."""
    flavor = flavors().get(manifest.flavor)
    check = getattr(flavor, "check", None)
    if flavor is None or check is None or flavor.pickles:
        return manifest
    forms = getattr(flavor, "forms", {})
    try:
        check({file.path: ws.store.get(file.hash) for file in manifest.files if file.path in {*forms, FILE}})
    except (InvalidInput, Damaged):
        return msgspec.structs.replace(manifest, flavor="mlflow", pickled=True)
    return manifest
