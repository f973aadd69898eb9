"""Telling webhooks: events after each one's cursor become deliveries, which are tried until they are answered or given up.

This is book-keeping of the process that serves a workspace and no change that anybody made, so it writes no events. A
delivery is written before it is sent and closed after the answer: a crash between the two sends it again, with the same id.
"""

from __future__ import annotations

import fnmatch
import time
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, insert, select, update

from trine.access.addresses import pin
from trine.access.tables import webhook, webhook_delivery
from trine.access.webhooks import sign
from trine.errors import TrineError
from trine.ids import canonical_json, new_id, now_us
from trine.ledger.events import to_event
from trine.ledger.tables import event

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from trine.workspace import Workspace

WAITS_S = (10, 30, 120, 600, 1_800, 3_600, 7_200)
"""Seconds from one attempt to the next; after the last there is none."""
LEASE_US = 60_000_000
"""While one process sends, others leave a delivery alone for so long."""
TIMEOUT_S = 10
_AT_ONCE = 100


def deliver(ws: Workspace) -> int:
    """Send what is due to the webhooks of all projects of a local workspace; gives how many were tried."""
    with ws.ledger.transaction(write=False) as connection:
        if not _is_work(connection):
            return 0
    with ws.ledger.transaction(write=True) as connection:
        _enqueue(connection)
        due = _claim(connection)
    for one in due:
        status, error = _send(one)
        with ws.ledger.transaction(write=True) as connection:
            _close(connection, one, status, error)
    return len(due)


def _is_work(connection: Connection) -> bool:
    behind = select(func.min(webhook.c.seq))
    seen = connection.execute(behind).scalar()
    if seen is None:
        return False
    if (connection.execute(select(func.max(event.c.seq))).scalar() or 0) > seen:
        return True
    return connection.execute(_due().limit(1)).first() is not None


def _due() -> Any:
    waiting = webhook_delivery.c.state == "pending", webhook_delivery.c.next_us <= now_us()
    return select(webhook_delivery).where(*waiting).order_by(webhook_delivery.c.id)


def _enqueue(connection: Connection) -> None:
    """Make deliveries of the events that each webhook has not seen, and move its cursor in the same transaction."""
    for one in connection.execute(select(webhook)).all():
        query = select(event.c.seq, event.c.operation, event.c.outcome, event.c.project).where(event.c.seq > one.seq)
        rows = connection.execute(query.order_by(event.c.seq).limit(1_000)).all()
        patterns = msgspec.json.decode(one.events, type=list[str])
        for row in rows:
            wanted = any(fnmatch.fnmatchcase(row.operation, pattern) for pattern in patterns)
            if row.project == one.project and row.outcome in ("done", "held") and wanted:
                connection.execute(
                    insert(webhook_delivery).values(
                        id=new_id(), project=one.project, webhook=one.name, seq=row.seq, operation=row.operation,
                        state="pending", attempts=0, next_us=0, status=0, error="", created_us=now_us(),
                    )
                )  # fmt: skip
        if rows:
            mine = webhook.c.project == one.project, webhook.c.name == one.name
            connection.execute(update(webhook).where(*mine).values(seq=rows[-1].seq))


class _Parcel(msgspec.Struct, frozen=True):
    id: str
    attempts: int
    url: str
    allow_private: bool
    headers: dict[str, str]
    body: bytes


def _claim(connection: Connection) -> list[_Parcel]:
    parcels: list[_Parcel] = []
    for row in connection.execute(_due().limit(_AT_ONCE)).all():
        mine = webhook.c.project == row.project, webhook.c.name == row.webhook
        to = connection.execute(select(webhook).where(*mine)).first()
        told = connection.execute(select(event).where(event.c.seq == row.seq)).first()
        assert told is not None
        taken = {"next_us": now_us() + LEASE_US, "attempts": row.attempts + 1}
        if to is None:
            taken = {"state": "given up", "error": "the webhook was removed", "done_us": now_us()}
        connection.execute(update(webhook_delivery).where(webhook_delivery.c.id == row.id).values(taken))
        if to is not None:
            body = canonical_json({"id": row.id, "webhook": to.name, "event": to_event(told)})
            headers = {
                "content-type": "application/json",
                "user-agent": "trine",
                "trine-delivery": row.id,
                "trine-event": row.operation,
                "trine-signature": sign(to.secret, body, int(time.time())),
            }
            parcels.append(_Parcel(row.id, row.attempts + 1, to.url, to.allow_private, headers, body))
    return parcels


def _send(one: _Parcel) -> tuple[int, str]:
    """The status that was answered, and what went wrong. Redirects are not followed, proxies not asked, the answer not read."""
    import httpx

    try:
        to = pin(one.url, allow_private=one.allow_private)
        with (
            httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream(
                "POST",
                to.url,
                content=one.body,
                headers=one.headers | {"host": to.host},
                extensions={"sni_hostname": to.name},
            ) as answer,
        ):
            return answer.status_code, "" if answer.is_success else f"answered {answer.status_code}"
    except TrineError as error:
        return 0, error.message
    except httpx.HTTPError as error:
        return 0, f"{type(error).__name__}: {error}"


def _close(connection: Connection, one: _Parcel, status: int, error: str) -> None:
    if not error:
        values: dict[str, Any] = {"state": "delivered", "done_us": now_us()}
    elif one.attempts > len(WAITS_S) or status == 410:
        values = {"state": "given up", "done_us": now_us()}
    else:
        values = {"next_us": now_us() + WAITS_S[one.attempts - 1] * 1_000_000}
    mine = webhook_delivery.c.id == one.id, webhook_delivery.c.attempts == one.attempts
    connection.execute(update(webhook_delivery).where(*mine).values(status=status, error=error[:500], **values))
