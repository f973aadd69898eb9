"""Reading and checking everything that a commit stands on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trine.data.profiles import read_profile
from trine.data.references import resolve
from trine.data.trees import read_page, read_root
from trine.errors import Damaged, NotFound
from trine.storage import Damage, Store
from trine.workspace import Workspace, current_workspace

T = TypeVar("T")


def verify(ref: str, *, ws: Workspace | None = None) -> list[Damage]:
    """Read and check every object a commit needs; the damaged and missing ones are named."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    look = _Look(ws.store)
    needed: dict[str, None] = {}
    for page in look(commit.tree, read_root) or ():
        needed |= dict.fromkeys(entry.hash for entry in look(page, read_page) or ())
    if commit.profile and (profile := look(commit.profile, read_profile)):
        needed |= dict.fromkeys(profile.objects)
    for name in needed:
        look(name, _check)
    return look.found


def _check(store: Store, name: str) -> None:
    path_of = getattr(store, "path_of", None)  # hashes a large object where it is, without holding it in memory
    if path_of is None or path_of(name) is None:
        store.get(name)


class _Look:
    """Reads objects and keeps what is wrong with them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.found: list[Damage] = []

    def __call__(self, name: str, read: Callable[[Store, str], T]) -> T | None:
        try:
            return read(self._store, name)
        except (Damaged, NotFound) as error:
            self.found.append(Damage(name, error.details.get("path", ""), error.message))
            return None
