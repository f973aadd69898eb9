"""The state of the code: commit, and what was not committed, taken with `git` and without touching the repository.

Changed and untracked files are added to a copy of the index, with new objects in a folder of their own; the difference of
that tree to the commit is the patch that is kept.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import TrineError
from trine.tracking.runs import CodeVersion
from trine.workspace import Workspace, current_workspace

LARGEST_FILE = 1 << 20
LARGEST_PATCH = 16 << 20
"""Bytes of an untracked file, and of all untracked files or the patch, above which they are left out (and named)."""

SECRET_NAMES = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".pypirc",
    "*credentials*",
)
"""Untracked files that are never taken along."""

CACHES = frozenset({"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store"})
"""Untracked files and folders that tools write beside the code: no part of it, whether git ignores them or not."""

TIMEOUT_S = 20


class GitTrouble(Exception):
    """Why the state of the code could not be taken, in one line."""


def capture_code(folder: Path | None = None, *, ws: Workspace | None = None) -> CodeVersion | None:
    """The state of the git repository that a folder is in (default: the working folder, else the main script's), kept in
    the workspace under its node; None when there is no repository. Raises GitTrouble when git cannot say.

    Files that git ignores, and what tools keep beside the code (`CACHES`), are not part of it; untracked files over 1 MiB,
    or named like a secret, are left out and named.
    """
    from trine.tracking import operations as door

    ws = ws or current_workspace()
    root = _root_of(folder) if folder else repository_of_here()
    if root is None:
        return None
    code, patch = read_code(root)
    if patch:
        code = msgspec.structs.replace(code, patch=ws.store.put(patch))
    door.record_code(ws, code=code)
    return code


def code_of(node: str, *, ws: Workspace | None = None) -> CodeVersion:
    """What is known of a node `code:…`. Raises NotFound."""
    from trine.tracking import operations as door

    return door.get_code(ws or current_workspace(), node=node)


def repository_of_here() -> Path | None:
    """The git repository that the working folder is in, else the one of the main script."""
    return next((found for place in _places() if (found := _root_of(place))), None)


def _places() -> list[Path]:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return [Path.cwd(), *([Path(script).resolve().parent] if script else [])]


def _root_of(folder: Path) -> Path | None:
    return next((one for one in (folder.resolve(), *folder.resolve().parents) if (one / ".git").exists()), None)


def read_code(root: Path) -> tuple[CodeVersion, bytes]:
    """The state of a repository, and its patch."""
    status = git(root, "status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all", "--no-renames").decode()
    entries = status.split("\0")
    heads = dict(entry[2:].split(" ", 1) for entry in entries if entry.startswith("# branch."))
    changed = [entry.split(" ", 8)[-1] for entry in entries if entry.startswith("1 ")]
    changed += [entry.split(" ", 10)[-1] for entry in entries if entry.startswith("u ")]
    untracked = [entry[2:] for entry in entries if entry.startswith("? ") and CACHES.isdisjoint(entry[2:].split("/"))]
    commit = heads.get("branch.oid", "")
    commit = commit if re.fullmatch(r"[0-9a-f]{40,64}", commit) else "0" * 40
    branch = heads.get("branch.head", "")
    taken, skipped = _choose(root, untracked)
    tree, patch = _kept_difference(root, [*changed, *taken], status) if changed or taken else ("", b"")
    if len(patch) > LARGEST_PATCH:
        patch = b""
        skipped |= dict.fromkeys(changed, f"the patch is larger than {LARGEST_PATCH >> 20} MiB")
    dirty = bool(changed or untracked)
    return (
        CodeVersion(
            node=f"code:{commit}" + (f"+{tree or '0' * 12:.12}" if dirty else ""),
            commit=commit,
            branch="" if branch == "(detached)" else branch,
            remote=_remote(root),
            tree=tree,
            changed=[*changed, *taken][:1_000],
            skipped=dict(list(skipped.items())[:1_000]),
        ),
        patch,
    )


def _choose(root: Path, untracked: list[str]) -> tuple[list[str], dict[str, str]]:
    """The untracked files to take along, and those to leave out with the reason."""
    taken: list[str] = []
    skipped: dict[str, str] = {}
    total = 0
    for path in untracked:
        size = os.lstat(root / path).st_size
        if any(fnmatch.fnmatch(Path(path).name.lower(), pattern) for pattern in SECRET_NAMES):
            skipped[path] = "may hold a secret"
        elif path.endswith("/"):
            skipped[path] = "another repository"
        elif size > LARGEST_FILE:
            skipped[path] = f"larger than {LARGEST_FILE >> 20} MiB"
        elif total + size > LARGEST_PATCH:
            skipped[path] = f"together larger than {LARGEST_PATCH >> 20} MiB"
        else:
            total += size
            taken.append(path)
    return taken, skipped


SETTLED_NS = 2_000_000_000
"""How old the last change has to be for a difference to be kept: within one tick of its clock a disk tells no two apart."""

_kept: dict[Path, tuple[Any, tuple[str, bytes]]] = {}
"""The last difference of each repository, with what its files looked like."""


def _kept_difference(root: Path, paths: list[str], status: str) -> tuple[str, bytes]:
    """`_difference`, worked out once while the files stay as they are: many runs begin in one process."""
    looks = [
        (one.st_mtime_ns, one.st_ctime_ns, one.st_size, one.st_ino) for one in map(_look, map(root.joinpath, paths))
    ]
    known = _kept.get(root)
    if known and known[0] == (status, looks):
        return known[1]
    found = _difference(root, paths)
    _kept.pop(root, None)
    if time.time_ns() - max(max(one[:2]) for one in looks) > SETTLED_NS:
        _kept[root] = (status, looks), found
    return found


def _look(path: Path) -> os.stat_result:
    """What a file looks like; of one that is gone, the folder it was in."""
    while True:
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            path = path.parent


def _difference(root: Path, paths: list[str]) -> tuple[str, bytes]:
    """The tree with these paths as they are on disk, and the patch to it from the commit."""
    index, objects = (
        Path(root, line)
        for line in git(root, "rev-parse", "--git-path", "index", "--git-path", "objects").decode().split()
    )
    with tempfile.TemporaryDirectory(prefix="trine-git-") as folder:
        copy = Path(folder, "index")
        if index.exists():
            shutil.copy2(
                index, copy
            )  # with its time: by that git knows which files may have changed since without a trace
        Path(folder, "objects").mkdir()
        apart = {
            "GIT_INDEX_FILE": str(copy),
            "GIT_OBJECT_DIRECTORY": f"{folder}/objects",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        listed = "\0".join(paths).encode()
        git(root, "update-index", "--add", "--remove", "-z", "--stdin", given=listed, environment=apart)
        tree = git(root, "write-tree", environment=apart).decode().strip()
        patch = git(
            root, "diff", "--cached", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", environment=apart
        )
    return tree, patch


def _remote(root: Path) -> str:
    """Where the repository comes from; git is asked once while its configuration stays as it is."""
    config = root / ".git" / "config"
    return _remote_of(root, config.stat().st_mtime_ns if config.is_file() else 0)


@functools.lru_cache(maxsize=16)
def _remote_of(root: Path, _: int) -> str:
    try:
        url = git(root, "config", "--get", "remote.origin.url").decode().strip()
    except GitTrouble:
        return ""  # there is none
    return re.sub(r"(?<=://)[^/@]*@", "", url)  # a password has no place here


def git(root: Path, *arguments: str, given: bytes | None = None, environment: dict[str, str] | None = None) -> bytes:
    """What git prints. Raises GitTrouble with its first line."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, env=own | (environment or {}), timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitTrouble(f"git {arguments[0]}: {error}") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise GitTrouble(f"git {arguments[0]}: {told[0]}")
    return done.stdout


def capture_quietly(ws: Workspace) -> tuple[str, str]:
    """The node of the code and, when it could not be taken, why: what starts a run must not fail for git's sake."""
    try:
        code = capture_code(ws=ws)
    except (GitTrouble, OSError, UnicodeError, TrineError) as error:
        return "", str(error)
    return (code.node if code else ""), ""


def restore_code(code: CodeVersion, folder: Path, *, repository: str = "", ws: Workspace | None = None) -> None:
    """Write a state of the code into an empty folder, as a repository whose working tree has the same changes.

    The commit comes from the repository here (`repository`, else that of the working folder), else from its remote. Raises
    GitTrouble when it is in neither, or when what comes out is not what was captured.
    """
    ws = ws or current_workspace()
    source = source_of(code, repository)
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "--initial-branch", code.branch or "main")
    if code.commit.strip("0"):
        git(folder, "fetch", "-q", "--no-tags", source, code.commit)
        git(folder, "checkout", "-q", "--detach", code.commit)
    if code.remote:
        git(folder, "remote", "add", "origin", code.remote)
    if code.changed and not code.patch:
        raise GitTrouble("the patch of what was not committed was too large to keep")
    if code.patch:
        patch = ws.store.get(code.patch)
        git(folder, "apply", "--index", "--whitespace=nowarn", "-", given=patch)
        if (tree := git(folder, "write-tree").decode().strip()) != code.tree:
            raise GitTrouble(f"the tree came out as {tree[:12]}, not as {code.tree[:12]}")
        if code.commit.strip("0"):
            git(folder, "reset", "-q")  # as it was: changes in the working tree


def source_of(code: CodeVersion, repository: str) -> str:
    """Where the commit can be fetched from."""
    if not code.commit.strip("0"):
        return ""
    places = [Path(repository)] if repository else []
    for place in (*places, Path.cwd()):
        if place.is_dir() and (root := _root_of(place)) is not None:
            try:
                git(root, "cat-file", "-e", f"{code.commit}^{{commit}}")
            except GitTrouble:
                continue
            return str(root)
    if code.remote:
        return code.remote
    raise GitTrouble(f"commit {code.commit[:12]} is in no repository here, and it has no remote")
