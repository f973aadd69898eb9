"""Remotes: other places that hold datasets with their history, to push to and to pull from."""

from __future__ import annotations

import re

import msgspec
from sqlalchemy import delete, select

from trine.data.tables import data_remote
from trine.errors import InvalidInput, NotFound, nearest
from trine.ledger import upsert
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

DEFAULT = "origin"


class RemoteInfo(msgspec.Struct, frozen=True):
    """A remote: its name, where it is, and the project there when it is a workspace."""

    name: str
    url: str
    project: str
    created_us: int


@operation("PUT /remotes/{name}", allows="data.manage")
def add_remote(ws: Workspace, *, name: Name, url: str, project_there: str = "") -> RemoteInfo:
    """Remember a remote under a name: a folder or bucket, a workspace (folder or database), a Trine server."""
    if not url.strip():
        raise InvalidInput("A remote needs an address: a folder, s3://bucket/prefix, or http://… of a Trine server.")
    if re.search(r"://[^/@]*:[^/@]*@", url):
        raise InvalidInput(
            "The address of a remote is shown to everybody, so it holds no password: sign in with trine login, "
            "and leave the credentials of buckets and databases in the environment."
        )
    old = ws.tx.first(_mine(ws).where(data_remote.c.name == name))
    made = RemoteInfo(name, url, project_there, ws.tx.now_us)
    row = {"project": ws.project, "name": name, "url": url, "project_there": project_there}
    ws.tx.execute(upsert(data_remote), {**row, "created_us": ws.tx.now_us})
    ws.tx.touch(f"remote:{name}", before=old and old.url, after=url)
    return made


@operation("GET /remotes", allows="data.read")
def list_remotes(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[RemoteInfo]:
    """The remotes of the project, by name."""
    query = _mine(ws).order_by(data_remote.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(data_remote.c.name > start)
    found = [RemoteInfo(row.name, row.url, row.project_there, row.created_us) for row in ws.tx.all(query)]
    return page_of(found, limit, lambda one: one.name)


@operation("DELETE /remotes/{name}", allows="data.manage")
def remove_remote(ws: Workspace, *, name: str) -> Done:
    """Forget a remote; what is there stays there."""
    old = ws.tx.first(_mine(ws).where(data_remote.c.name == name))
    if old is None:
        known = [row.name for row in ws.tx.all(_mine(ws))]
        raise NotFound(f'There is no remote "{name}".{nearest(name, known)} See: trine data remote ls')
    ws.tx.execute(delete(data_remote).where(data_remote.c.project == ws.project, data_remote.c.name == name))
    ws.tx.touch(f"remote:{name}", before=old.url)
    return Done(f"remote:{name}")


def _mine(ws: Workspace):  # type: ignore[no-untyped-def]
    return select(data_remote).where(data_remote.c.project == ws.project)


def find_remote(ws: Workspace, name: str = "") -> RemoteInfo:
    """A remote by name or address; without one the only remote there is, or the one called origin."""
    if "://" in name or name.startswith(("/", ".", "~")):
        return RemoteInfo(name, name, "", 0)
    known = {one.name: one for one in list_remotes(ws, limit=1000).items}
    if name and name not in known:
        raise NotFound(f'There is no remote "{name}".{nearest(name, known)} See: trine data remote ls')
    if name or DEFAULT in known:
        return known[name or DEFAULT]
    if len(known) == 1:
        return next(iter(known.values()))
    if known:
        raise InvalidInput(f"There are several remotes ({', '.join(known)}), and none is called origin: name one.")
    raise NotFound("There is no remote yet. Add one: trine data remote add origin s3://bucket/prefix")
