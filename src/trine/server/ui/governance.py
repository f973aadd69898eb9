"""Governance: the event log and its chain, who may do what, tokens, delivery metrics and the ladder."""

from __future__ import annotations

from typing import get_args

from starlette.responses import Response

from trine.access import audit
from trine.access import operations as access
from trine.access.roles import ROLES, VERBS
from trine.errors import InvalidInput, NotFound
from trine.ids import now_us
from trine.insights import operations as insights
from trine.insights.measures import measure
from trine.insights.rungs import PHASES
from trine.server.ui.pages import Asked, action, page

OUTCOMES = ("done", "refused", "held")
DAY_US = 86_400_000_000
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
    """Delivery metrics of models, and how far each model has come."""
    model, days = asked.text("model"), asked.text("days") if asked.text("days") in PERIODS else ""
    since = now_us() - int(days) * DAY_US if days else 0
    facts = insights.get_delivery(asked.ws, model=model, since_us=since)
    found = measure(facts, None, since_us=since, model=model)
    standings = insights.get_standing(asked.ws)
    return asked.show(
        "metrics.html",
        found=[one for one in found.metrics if not one.name.startswith("code_")],
        model=model,
        days=days,
        periods=PERIODS,
        standings=[one for one in standings if not model or one.model == model],
        models=[one.model for one in standings],
        phases=PHASES,
    )
