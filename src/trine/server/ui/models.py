"""Models: versions, aliases over time, cards; promoting and rolling back."""

from __future__ import annotations

from starlette.responses import Response

from trine.access.graph import lineage
from trine.errors import InvalidInput, NotFound
from trine.evaluation import operations as evaluations
from trine.governance import operations as governance
from trine.ledger.origins import Origin, origin_of
from trine.models import operations as door
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page
from trine.serving import operations as serving
from trine.workspace import Workspace


@page("/models")
def models(asked: Asked) -> Response:
    """Registered models."""
    found = door.list_models(asked.ws, limit=100, page=asked.text("page"))
    return asked.show("models.html", found=found)


@page("/models/{name}")
def model(asked: Asked) -> Response:
    """One model: its versions, where its aliases went, its gates."""
    name = asked.path["name"]
    return asked.show(
        "model.html",
        model=door.get_model(asked.ws, name=name),
        versions=door.list_versions(asked.ws, name=name, limit=50, page=asked.text("page")),
        moves=door.list_alias_events(asked.ws, name=name, limit=50).items,
        gates=evaluations.list_gates(asked.ws, model=name, limit=50).items,
        evaluations=evaluations.list_evaluations(asked.ws, model=name, limit=50).items,
        endpoints=[
            one
            for one in serving.list_endpoints(asked.ws, limit=200).items
            if one.route and any(variant.model.rpartition("@")[0] == name for variant in one.route.variants)
        ],
    )


@page("/models/{name}/versions/{version}")
def version(asked: Asked) -> Response:
    """One version: what it was made from, what it takes and gives, how it was judged."""
    found = door.get_version(asked.ws, name=asked.path["name"], ref=asked.path["version"])
    gates = evaluations.list_gates(asked.ws, model=found.ref, limit=50).items
    return asked.show(
        "version.html",
        model=door.get_model(asked.ws, name=found.name),
        version=found,
        origin=_origin(asked.ws, found.node),
        gates=gates,
        passed=next((one for one in gates if one.candidate == found.ref and one.passed), None),
        evaluations=[
            one for one in evaluations.list_evaluations(asked.ws, model=found.name).items if one.model == found.ref
        ],
    )


@page("/models/{name}/versions/{version}/card")
def card(asked: Asked) -> Response:
    """A version's card, each value with how it is known."""
    found = governance.get_card(asked.ws, name=asked.path["name"], ref=asked.path["version"])
    return asked.show("card.html", card=found)


def _origin(ws: Workspace, node: str) -> Origin:
    try:
        return origin_of(lineage(ws, node=node, direction="up", depth=8))
    except NotFound:
        return Origin()


@action("/models/{name}/versions/{version}/promote")
def promote(asked: Asked) -> Response:
    name, number = asked.path["name"], _whole(asked.path["version"])
    alias = asked.form.get("alias", "").strip() or "production"
    before = asked.form.get("expect", "")
    expect = int(before) if before.isdigit() else None
    reason, gate = asked.form.get("reason", ""), asked.form.get("gate", "")
    door.promote_model(asked.ws, name=name, alias=alias, version=number, expect=expect, reason=reason, gate=gate)
    return asked.back(path("models", name), f"{name}@{number} is {alias} now.")


@action("/models/{name}/aliases/{alias}/rollback")
def roll_back(asked: Asked) -> Response:
    name, alias = asked.path["name"], asked.path["alias"]
    done = door.rollback_alias(asked.ws, name=name, alias=alias, reason=asked.form.get("reason", ""))
    return asked.back(path("models", name), f"{alias} is back at version {done.version}.")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(f'"{text[:40]}" is no number of a version.')
    return int(text)
