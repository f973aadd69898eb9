"""Webhooks: addresses that are told of events, signed, and the log of what was told."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import delete, insert, select, update

from trine.access.addresses import check_url
from trine.access.operations import require_everywhere
from trine.access.tables import webhook, webhook_delivery
from trine.errors import Conflict, InvalidInput, NotFound, Refused, nearest
from trine.ledger.tables import event
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

MOST = 100
"""Webhooks of one project."""

Pattern = Annotated[str, msgspec.Meta(pattern=r"^[a-z_*]+(\.[a-z_*]+)?$(?!\n)", max_length=100)]


class Webhook(msgspec.Struct, frozen=True):
    """Who is told of which events. `secret` is filled once, in the answer that made it."""

    name: str
    url: str
    events: list[str]
    allow_private: bool
    author: str
    created_us: int
    secret: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """One event on its way to one webhook: how often it was tried, and what was answered."""

    id: str
    webhook: str
    event: int
    operation: str
    state: Literal["pending", "delivered", "given up"]
    attempts: int
    status: int
    error: str
    next_us: int
    created_us: int
    done_us: int | None


@operation("POST /webhooks", allows="access.manage", keeps=False)
def create_webhook(
    ws: Workspace, *, name: Name, url: str, events: list[Pattern], allow_private: bool = False
) -> Webhook:
    """Tell an address of events from now on: operations (`models.promote_model`) or patterns (`models.*`), done or held.

    Its secret, which signs what is sent, is in this answer only. An address that is not public takes an admin of every project.
    """
    check_url(url)
    if not events:
        raise InvalidInput("A webhook needs at least one event: models.*, for instance.")
    if allow_private:
        require_everywhere(ws, "sending to addresses that are not public")
    tx = ws.tx
    known = [row.name for row in tx.all(select(webhook.c.name).where(webhook.c.project == ws.project))]
    if name in known:
        raise Conflict(f'There is a webhook "{name}" already. Remove it first: trine access webhook rm {name}')
    if len(known) >= MOST:
        raise Conflict(f"Project {ws.project} has {MOST} webhooks, which is the most.")
    made = Webhook(
        name,
        url,
        events,
        allow_private,
        ws.on_behalf_of or ws.principal.name,
        tx.now_us,
        f"whsec_{secrets.token_hex(32)}",
    )
    head = tx.scalar(select(event.c.seq).order_by(event.c.seq.desc()).limit(1)) or 0
    # its own making is the next event, and not told
    row = msgspec.structs.asdict(made) | {
        "project": ws.project,
        "seq": head + 1,
        "events": msgspec.json.encode(events).decode(),
    }
    tx.execute(insert(webhook).values(row))
    tx.touch(f"webhook:{name}", after=[url, events])
    return made


@operation("GET /webhooks", allows="access.read")
def list_webhooks(ws: Workspace) -> list[Webhook]:
    """The webhooks of this project, without their secrets."""
    rows = ws.tx.all(select(webhook).where(webhook.c.project == ws.project).order_by(webhook.c.name))
    return [
        Webhook(r.name, r.url, msgspec.json.decode(r.events), r.allow_private, r.author, r.created_us) for r in rows
    ]


@operation("DELETE /webhooks/{name}", allows="access.manage")
def delete_webhook(ws: Workspace, *, name: str) -> Done:
    """Tell an address nothing any more; what was not delivered yet is dropped, the log stays."""
    known = [one.name for one in list_webhooks(ws)]
    if name not in known:
        raise NotFound(f'No webhook "{name}" in project "{ws.project}".{nearest(name, known)}')
    ws.tx.execute(delete(webhook).where(webhook.c.project == ws.project, webhook.c.name == name))
    waiting = (
        _deliveries(ws, name).with_only_columns(webhook_delivery.c.id).where(webhook_delivery.c.state == "pending")
    )
    ws.tx.execute(
        update(webhook_delivery)
        .where(webhook_delivery.c.id.in_(waiting))
        .values(state="given up", error="the webhook was removed", done_us=ws.tx.now_us)
    )
    ws.tx.touch(f"webhook:{name}", before=name)
    return Done(f"webhook:{name}")


@operation("GET /webhooks/{name}/deliveries", allows="access.read")
def list_deliveries(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[Delivery]:
    """What was sent to a webhook and what came of it, newest first."""
    query = _deliveries(ws, name).order_by(webhook_delivery.c.id.desc()).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(webhook_delivery.c.id < start)
    return page_of([_delivery(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


def _deliveries(ws: Workspace, name: str) -> Any:
    return select(webhook_delivery).where(webhook_delivery.c.project == ws.project, webhook_delivery.c.webhook == name)


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row.id, row.webhook, row.seq, row.operation, row.state, row.attempts, row.status, row.error, row.next_us,
        row.created_us, row.done_us,
    )  # fmt: skip


def sign(secret: str, body: bytes, at_s: int) -> str:
    """The `Trine-Signature` header: HMAC-SHA256 over the time and the body."""
    return f"t={at_s},v1={hmac.new(secret.encode(), b'%d.' % at_s + body, hashlib.sha256).hexdigest()}"


def check_signature(secret: str, header: str, body: bytes, *, tolerance_s: int = 300) -> None:
    """For those who are told: raises Refused unless the body was signed with the secret, and not long ago."""
    at, _, _ = header.removeprefix("t=").partition(",")
    if not at.isdigit() or not hmac.compare_digest(sign(secret, body, int(at)).encode(), header.encode()):
        raise Refused("The delivery is not signed with this webhook's secret.")
    if abs(time.time() - int(at)) > tolerance_s:
        raise Refused(f"The delivery was signed more than {tolerance_s} seconds ago: somebody may be repeating it.")
