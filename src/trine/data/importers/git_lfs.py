"""Moving in from git-lfs: the files that its pointers stand for, at each commit of a repository that changed them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trine.data.importers.intake import Intake, Source
from trine.data.importers.writer import Imported, Version, write_history
from trine.data.repository import Repository, State
from trine.data.trees import Entry, check_path
from trine.errors import NotFound
from trine.storage.places import Folder
from trine.workspace import Workspace, current_workspace

LARGEST_POINTER = 1024
"""Bytes of a pointer file at most (git-lfs' specification, version 1)."""

_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com/spec|hawser\.github\.com/spec)/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n"
)


def import_git_lfs(
    folder: Path | str = ".",
    *,
    name: str,
    path: str = "",
    rev: str = "HEAD",
    branch: str = "main",
    ws: Workspace | None = None,
) -> Imported:
    """The files below `path` that git-lfs keeps become one dataset; each git commit up to `rev` that changed them, a version.

    Along the first parents. A version with a file that is not in the repository's LFS store is left out and told in the
    problems (`git lfs fetch --all` gets them); each file's SHA-256 is checked while it is stored.
    """
    ws = ws or current_workspace()
    repository = Repository.around(Path(folder))
    if repository is None:
        raise NotFound(f"{folder} is in no git repository.")
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    history = list(repository.states(repository.commit_of(rev), lambda one: one.startswith(prefix)))
    texts = repository.blobs((blob for one in history for blob in one.blobs.values()), largest=LARGEST_POINTER)
    pointers = {blob: found[1].decode() for blob, text in texts.items() if (found := _POINTER.match(text))}
    if not pointers:
        raise NotFound(f"git-lfs keeps nothing below {prefix or repository.root} up to {rev}.")
    store = Folder(Path(repository.root, repository.git("rev-parse", "--git-common-dir"), "lfs", "objects").resolve())
    intake = Intake(ws, "sha256")
    versions, problems = _versions(intake, store, history, pointers, prefix, repository)
    intake.save()
    return write_history(ws, name, versions, branch=branch, problems=problems)


def _versions(
    intake: Intake,
    store: Folder,
    history: Sequence[State],
    pointers: dict[str, str],
    prefix: str,
    repository: Repository,
) -> tuple[list[Version], list[str]]:
    tags = repository.tags()
    sources = {one: Source(store, f"{one[:2]}/{one[2:4]}/{one}", one) for one in set(pointers.values())}
    taken = intake.take(sources)
    versions: list[Version] = []
    problems: list[str] = []
    for one in history:
        files = {path: pointers[blob] for path, blob in one.blobs.items() if blob in pointers}
        if not files:
            continue
        if missing := [path for path, digest in files.items() if digest not in taken]:
            if one.changed:
                digest = files[missing[0]]
                told = intake.problems.get(digest) or f"{digest} is not in {store.location}"
                more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
                problems.append(f"{one.commit[:12]} was left out: {missing[0]}: {told}{more}")
            continue
        entries = [Entry(check_path(path.removeprefix(prefix)), *taken[digest]) for path, digest in files.items()]
        names = tuple(name.replace("/", "-") for name in tags.get(one.commit, ()))
        versions.append(Version(entries, one.message, one.author, one.time_us, one.commit, names))
    return versions, problems
