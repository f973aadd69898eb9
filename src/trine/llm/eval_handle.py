"""Evaluation datasets as people use them in Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trine.errors import NotFound
from trine.llm import eval_data as door
from trine.llm.eval_data import MOST_AT_ONCE, EvalDataset, EvalRecord, Merged
from trine.llm.reading import get_trace
from trine.operations import every
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl


class EvalData:
    """An evaluation dataset: merge records into it, read them, give it to experiments."""

    def __init__(self, ws: Workspace, id: str) -> None:
        self.ws = ws
        self.id = id

    @property
    def info(self) -> EvalDataset:
        """What is known of it now."""
        return door.get_eval_dataset(self.ws, id=self.id)

    def merge(self, records: Iterable[dict[str, Any]]) -> Merged:
        """Add records (`inputs`, and if known `outputs`, `expectations`, `tags`, `source`); those with the inputs of one that is there
        are merged into it."""
        inserted = updated = 0
        some = list(records)
        for start in range(0, len(some), MOST_AT_ONCE):
            part: Any = some[start : start + MOST_AT_ONCE]
            done = door.merge_eval_records(self.ws, id=self.id, records=part)
            inserted, updated = inserted + done.inserted, updated + done.updated
        return Merged(inserted, updated)

    def merge_traces(self, traces: Iterable[str]) -> Merged:
        """Add what traces were asked, with what people expected of them, by id."""
        return self.merge(_record_of(self.ws, id) for id in traces)

    def records(self) -> list[EvalRecord]:
        """Its records in the order in which they came."""
        return list(every(door.list_eval_records, self.ws, id=self.id))

    def table(self) -> pl.DataFrame:
        """Its records as a table; inputs, outputs and expectations are JSON, a tag is the column `tags.KEY`."""
        import msgspec
        import polars as pl

        rows = [
            {
                "id": one.id,
                **{
                    name: msgspec.json.encode(getattr(one, name)).decode()
                    for name in ("inputs", "outputs", "expectations")
                },
                **{f"tags.{key}": value for key, value in one.tags.items()},
            }
            for one in self.records()
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete some records; gives how many were there."""
        return door.delete_eval_records(self.ws, id=self.id, ids=list(ids))

    def update(
        self, *, tags: dict[str, str | None] | None = None, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> EvalDataset:
        """Set tags (None takes one away), add it to experiments or take it out of them."""
        return door.update_eval_dataset(self.ws, id=self.id, tags=tags or {}, add=list(add), remove=list(remove))


def _record_of(ws: Workspace, id: str) -> dict[str, Any]:
    trace = get_trace(id, ws=ws)
    asked = trace.root.inputs if trace.root else None
    return {
        "inputs": asked if isinstance(asked, dict) else {"input": asked},
        "outputs": trace.root.outputs if trace.root else None,
        "expectations": {
            one.name: one.value for one in trace.info.assessments if one.kind == "expectation" and one.valid
        },
        "source": {"source_type": "TRACE", "source_data": {"trace_id": f"tr-{trace.info.id}"}},
    }


def eval_dataset(name: str, *, ws: Workspace | None = None) -> EvalData:
    """The evaluation dataset of a name (or id); made when there is none."""
    ws = ws or current_workspace()
    try:
        found = door.get_eval_dataset(ws, id=name)
    except NotFound:
        found = door.create_eval_dataset(ws, name=name, distinct=True)
    return EvalData(ws, found.id)


def eval_datasets(*, ws: Workspace | None = None) -> list[EvalDataset]:
    """All evaluation datasets, the newest first."""
    return door.list_eval_datasets(ws or current_workspace())
