"""The difference between two states of the code, uncommitted changes and untracked files included, as `git diff` shows it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trine.errors import Failure, InvalidInput
from trine.tracking.code import GitTrouble, code_of, git, source_of
from trine.tracking.reading import get_run
from trine.tracking.runs import CodeVersion
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    from trine.tracking.live import Run
    from trine.tracking.runs import RunInfo


def code_difference(before: Run | RunInfo | str, after: Run | RunInfo | str, *, ws: Workspace | None = None) -> str:
    """What changed in the code from one run to another, as a patch; nothing when it is the same.

    The commits come from the repository here, or their remote. Raises InvalidInput for a run without code, and Failure when
    a commit is nowhere.
    """
    ws = ws or current_workspace()
    runs = [get_run(one, ws=ws) for one in (before, after)]
    for one in runs:
        if one.code is None:
            raise InvalidInput(f"The code of {one.name} was not captured.")
    first, second = (code_of(one.code or "", ws=ws) for one in runs)
    if first.node == second.node:
        return ""
    with tempfile.TemporaryDirectory(prefix="trine-diff-") as folder:
        try:
            git(Path(folder), "init", "-q")
            trees = [
                _tree(Path(folder), code, one.context.repository, ws)
                for code, one in zip((first, second), runs, strict=True)
            ]
            return git(Path(folder), "diff", "--no-color", "--no-ext-diff", *trees).decode(errors="replace")
        except GitTrouble as error:
            raise Failure(f"The code cannot be compared: {error}.") from None


def _tree(folder: Path, code: CodeVersion, repository: str, ws: Workspace) -> str:
    """The tree of a state of the code, made in a repository of its own."""
    index = {"GIT_INDEX_FILE": str(folder / f"index-{code.node.replace(':', '-')}")}
    if code.commit.strip("0"):
        git(folder, "fetch", "-q", "--no-tags", "--depth", "1", source_of(code, repository), code.commit)
        git(folder, "read-tree", code.commit, environment=index)
    else:
        git(folder, "read-tree", "--empty", environment=index)
    if code.patch:
        git(folder, "apply", "--cached", "--whitespace=nowarn", "-", given=ws.store.get(code.patch), environment=index)
    return git(folder, "write-tree", environment=index).decode().strip()
