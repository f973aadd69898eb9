"""The door's part on governance: a model version's card, read in one state of the workspace."""

from __future__ import annotations

from trine.governance import judging, making
from trine.governance.document import Card
from trine.ledger.origins import find_origin
from trine.models import operations as models
from trine.models.versions import NEWEST
from trine.operations import operation
from trine.workspace import Workspace


@operation("GET /models/{name}/versions/{ref}/card", allows="governance.read")
def get_card(ws: Workspace, *, name: str, ref: str = NEWEST) -> Card:
    """What is known of a model version, each value as evidenced, declared or missing."""
    version = models.get_version(ws, name=name, ref=ref)
    origin = find_origin(ws.tx.connection, ws.project, version.node)
    sections = (
        making.purpose(version, models.get_model(ws, name=name)),
        making.artifact(version),
        making.training_data(ws, version, origin),
        making.training(ws, version, origin),
        judging.evaluations(ws, version),
        judging.gates(ws, version),
        judging.production(ws, version),
    )
    return Card(model=name, version=version.version, sections=sections)
