"""Governance: the event log and its chain, who may do what, tokens, cards, delivery metrics and the ladder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from trine.access import audit
from trine.access import operations as access
from trine.access.roles import ROLES, VERBS
from trine.errors import InvalidInput, NotFound
from trine.governance import operations as governance
from trine.ids import now_us
from trine.insights import operations as insights
from trine.insights.delivery import Delivery
from trine.insights.measures import measure
from trine.insights.repository import Repository, open_repository
from trine.insights.rungs import PHASES
from trine.models import operations as models
from trine.server.ui.pages import Asked, action, page
from trine.server.ui.rendering import SECURITY
from trine.workspace import Workspace

OUTCOMES = ("done", "refused", "held")
DAY_US = 86_400_000_000
PARTS = 12
"""Of a period, in the small charts of the metrics."""

MOST_CARDS = 50
PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year", "": "all time"}


@page("/events")
def events(asked: Asked) -> Response:
    """The event log, newest first."""
    outcome = asked.text("outcome") if asked.text("outcome") in OUTCOMES else ""
    filters = {name: asked.text(name).strip() for name in ("operation", "object", "actor")}
    found = audit.list_events(
        asked.ws,
        operation=filters["operation"],
        object=filters["object"],
        actor=filters["actor"],
        outcome=outcome,
        newest_first=True,
        limit=100,
        page=asked.text("page"),
    )
    return asked.show(
        "events.html",
        found=found,
        filters=filters,
        outcome=outcome,
        outcomes=OUTCOMES,
        head=audit.get_checkpoint(asked.ws) if asked.viewer.may("access.audit") else None,
        chain=audit.verify_events(asked.ws)
        if asked.text("verify") == "1" and asked.viewer.may("access.audit")
        else None,
    )


@page("/events/{seq}")
def event(asked: Asked) -> Response:
    """One event."""
    text = asked.path["seq"]
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise InvalidInput(f'"{text[:40]}" is no sequence number of an event.')
    found = audit.list_events(asked.ws, after=int(text) - 1, limit=1).items if int(text) else []
    if not found or found[0].seq != int(text):
        raise NotFound(f'There is no event {text} in project "{asked.ws.project}".')
    return asked.show("event.html", event=found[0])


@page("/access")
def who(asked: Asked) -> Response:
    """Principals, roles, tokens, policies."""
    may = asked.viewer.may("access.manage")
    return asked.show(
        "access.html",
        principals=access.list_principals(asked.ws, limit=500).items,
        tokens=access.list_tokens(asked.ws, limit=500).items if may else None,
        policies=access.list_policies(asked.ws),
        roles=ROLES,
        verbs=VERBS,
        role_names=get_args(access.Role),
        now_us=now_us(),
        me=access.whoami(asked.ws),
    )


@action("/access/tokens/revoke")
def revoke(asked: Asked) -> Response:
    access.revoke_token(asked.ws, id=asked.form.get("id", ""))
    return asked.back("/access", "The token is revoked.")


@action("/access/grants")
def grant(asked: Asked) -> Response:
    name, role = asked.form.get("principal", ""), asked.form.get("role", "")
    if asked.form.get("take") == "1":
        access.revoke_role(asked.ws, principal_name=name, role=role)  # type: ignore[arg-type]
        return asked.back("/access", f"{name} is no longer {role}.")
    access.grant_role(asked.ws, principal_name=name, role=role)  # type: ignore[arg-type]
    return asked.back("/access", f"{name} is {role} now.")


@action("/access/principals")
def add(asked: Asked) -> Response:
    made = access.create_principal(asked.ws, name=asked.form.get("name", ""), password=asked.form.get("password", ""))
    return asked.back("/access", f"{made.name} is added.")


@page("/metrics")
def metrics(asked: Asked) -> Response:
    """Delivery metrics of models and of code, how they moved over the period, and how far each model has come."""
    model, days = asked.text("model"), asked.text("days") if asked.text("days") in PERIODS else ""
    since = now_us() - int(days) * DAY_US if days else 0
    facts = insights.get_delivery(asked.ws, model=model, since_us=since)
    repository = _repository(asked)
    found = measure(facts, repository, since_us=since, model=model).metrics
    standings = insights.get_standing(asked.ws)
    return asked.show(
        "metrics.html",
        groups=[
            ("Of models", [one for one in found if not one.name.startswith("code_")]),
            ("Of code", [one for one in found if one.name.startswith("code_")]),
        ],
        repository=repository.root if repository else "",
        moved=_over_time(facts, repository, since),
        model=model,
        days=days,
        periods=PERIODS,
        standings=[one for one in standings if not model or one.model == model],
        models=[one.model for one in standings],
        phases=PHASES,
    )


def _repository(asked: Asked) -> Repository | None:
    """The git repository around the workspace, on one's own machine; a server has none."""
    root = asked.ws.root
    return open_repository(root.parent) if root is not None and asked.viewer.principal.local else None


def _over_time(facts: Delivery, repository: Repository | None, since_us: int) -> dict[str, list[float | None]]:
    """Each metric in equal parts of the period."""
    start = max(since_us, facts.first_us)
    width = max(1, (facts.now_us - start) // PARTS)
    moved: dict[str, list[float | None]] = {}
    for at in range(PARTS):
        until = start + (at + 1) * width
        part = msgspec.structs.replace(
            facts,
            now_us=until,
            trainings=[one for one in facts.trainings if one.time_us < until],
            experiments=[one for one in facts.experiments if one.time_us < until],
        )
        for one in measure(part, repository, since_us=start + at * width).metrics:
            moved.setdefault(one.name, []).append(one.value)
    return moved


# -- cards and the export ---------------------------------------------------------------------------------------------


@page("/cards")
def cards(asked: Asked) -> Response:
    """The cards of what is in production, and of the newest versions: how much of each is evidenced."""
    found = models.list_models(asked.ws, limit=MOST_CARDS, page=asked.text("page"))
    shown = [
        governance.get_card(asked.ws, name=one.name, ref=str(version))
        for one in found.items
        for version in sorted({one.aliases.get("production") or one.newest, one.newest}, reverse=True)
        if version
    ]
    production = {f"{one.name}@{one.aliases['production']}" for one in found.items if "production" in one.aliases}
    return asked.show("cards.html", cards=shown, production=production, following=found.next)


@page("/models/{name}/versions/{version}/card.{kind}")
def card_file(asked: Asked) -> Response:
    """A card to keep: Markdown or JSON, the same bytes as `trine card` writes."""
    found = governance.get_card(asked.ws, name=asked.path["name"], ref=asked.path["version"])
    kinds = {"md": (found.markdown, "text/markdown"), "json": (found.json, "application/json")}
    if asked.path["kind"] not in kinds:
        raise NotFound("A card is there as .md and .json.")
    text, media = kinds[asked.path["kind"]]
    return _kept(iter([text.encode()]), f"{found.model}-{found.version}.{asked.path['kind']}", media)


@page("/events.jsonl")
def export(asked: Asked) -> Response:
    """All events as JSON lines, as `trine audit export` writes them; `trine audit verify --file` reads them."""
    audit.get_checkpoint(asked.ws)  # raises for whom may not, before the answer begins
    return _kept(_lines(asked.ws), "audit.jsonl", "application/jsonl")


def _lines(ws: Workspace) -> Iterator[bytes]:
    after = 0
    while batch := audit.export_events(ws, after=after):
        yield b"".join(msgspec.json.encode(one) + b"\n" for one in batch)
        after = batch[-1].seq


def _kept(body: Iterator[bytes], name: str, media: str) -> Response:
    headers = SECURITY | {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    return StreamingResponse(body, media_type=media, headers=headers)
