"""Setting a git repository up: the merge driver of `trine.lock`, and hooks that keep the lock, the data and the code together."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from trine.data.lock import LOCK
from trine.data.repository import Repository
from trine.errors import InvalidInput, NotFound

DRIVER = "trine-lock"
ATTRIBUTE = f"{LOCK} merge={DRIVER}"
BEGIN, END = "# >>> trine >>>", "# <<< trine <<<"

HOOKS = {
    "pre-commit": f"if [ -f {LOCK} ]; then trine data pins --check || exit 1; fi",
    "post-commit": f"if [ -f {LOCK} ]; then trine data trace HEAD --record >/dev/null || true; fi",
    "post-checkout": f'if [ "$3" = 1 ] && [ -f {LOCK} ]; then trine data pull || true; fi',
    "post-merge": f"if [ -f {LOCK} ]; then trine data pull || true; fi",
    "pre-push": f"if [ -f {LOCK} ]; then trine data push </dev/null || exit 1; fi",
}
"""What each hook does: a commit whose data is not as pinned is stopped; a commit is linked to its data in the graph; a
checkout or merge brings the data along, or says why it cannot; data is pushed before the code that needs it."""


class SetUp(msgspec.Struct, frozen=True):
    """What was set up in a repository: its hooks that were written now, and the file that git reads attributes from."""

    repository: str
    hooks: list[str]
    attributes: str


def install(folder: Path | None = None) -> SetUp:
    """Set up the repository that a folder is in; what is there stays, and a second call changes nothing.

    Raises InvalidInput naming a hook that is no shell script, having changed nothing.
    """
    repository = Repository.around(folder or Path.cwd())
    if repository is None:
        raise NotFound(f"{(folder or Path.cwd()).resolve()} is in no git repository. Make one: git init")
    where = Path(repository.root, repository.git("rev-parse", "--git-path", "hooks"))
    texts = {name: text for name in HOOKS if (text := _with_block(where / name, HOOKS[name]))}
    repository.git("config", f"merge.{DRIVER}.name", "merge trine.lock by dataset")
    repository.git("config", f"merge.{DRIVER}.driver", "trine data merge-lock %O %A %B")
    where.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        draft = where / f".{name}.trine"
        draft.write_text(text)
        draft.chmod(0o755)
        os.replace(draft, where / name)
    attributes = repository.root / ".gitattributes"
    known = attributes.read_text() if attributes.exists() else ""
    if ATTRIBUTE not in known.splitlines():
        attributes.write_text(f"{known}{'' if not known or known.endswith(chr(10)) else chr(10)}{ATTRIBUTE}\n")
    return SetUp(str(repository.root), list(texts), str(attributes))


def _with_block(hook: Path, body: str) -> str:
    """The text of a hook with Trine's part in it; nothing when it is there already."""
    block = f"{BEGIN}\n{body}\n{END}\n"
    if not hook.exists():
        return f"#!/bin/sh\n{block}"
    text = hook.read_text(errors="replace")
    if block in text:
        return ""
    first = text.splitlines()[0] if text else ""
    if not (first.startswith("#!") and first.endswith(("sh", "bash"))):
        raise InvalidInput(f"{hook} is there and is no shell script: add this to it yourself: {body}")
    if BEGIN in text and END in text:
        head, _, rest = text.partition(BEGIN)
        return head + block + rest.partition(END)[2].lstrip("\n")
    return f"{first}\n{block}" + text.partition("\n")[2]  # in front: a hook may end with exec or exit
