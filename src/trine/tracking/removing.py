"""The door's part on taking files of a run or a logged model away."""

from __future__ import annotations

from sqlalchemy import delete, select

from trine.errors import NotFound
from trine.operations import Done, operation
from trine.tracking.tables import logged_model, run, run_artifact
from trine.workspace import Workspace


@operation("DELETE /files/{id}", allows="tracking.delete")
def remove_files(ws: Workspace, *, id: str, path: str = "") -> Done:
    """Take away the file of a run or logged model at a path, those below it, or all. Their bytes go with the next `trine gc`, as
    far as nothing else has the same."""
    for table in (run, logged_model):
        if ws.tx.first(select(table.c.id).where(table.c.project == ws.project, table.c.id == id)):
            break
    else:
        raise NotFound(f'No run or logged model "{id}" in project "{ws.project}".')
    mine, at = run_artifact.c.run == id, run_artifact.c.path
    if path:
        mine &= (at == path) | at.startswith(path.rstrip("/") + "/", autoescape=True)
    before = [(row.path, row.hash) for row in ws.tx.all(select(run_artifact).where(mine).order_by(at))]
    ws.tx.execute(delete(run_artifact).where(mine))
    ws.tx.touch(f"logged_model:{id}" if id.startswith("m-") else f"run:{id}", before=before, after=[])
    ws.tx.note(path=path, files=len(before))
    return Done(id, bool(before))
