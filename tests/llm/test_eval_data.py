"""Evaluation datasets: merged by inputs, filled from traces, deleted; the same on every backend."""

from __future__ import annotations

import pytest

import trine
from trine import tracking
from trine.errors import Conflict, InvalidInput, NotFound
from trine.llm import eval_data as door
from trine.llm import eval_dataset, eval_datasets, log_expectation
from trine.workspace import Workspace


def test_records_are_known_by_their_inputs(ws: Workspace) -> None:
    with tracking.run("desk"):
        pass
    one = eval_dataset("questions")
    done = one.merge(
        [
            {"inputs": {"q": "when?", "n": 1}, "expectations": {"time": "nine"}},
            {"inputs": {"q": "where?"}, "outputs": "gate B"},
            {"inputs": {"n": 1, "q": "when?"}, "expectations": {"gate": "B"}, "tags": {"hard": "yes"}},
        ]
    )
    assert (done.inserted, done.updated) == (2, 1)
    assert one.merge([{"inputs": {"q": "where?"}, "outputs": ["gate", "C"]}]).updated == 1
    first, second = one.records()
    assert first.expectations == {"time": "nine", "gate": "B"} and first.tags == {"hard": "yes"}
    assert second.outputs == ["gate", "C"] and second.updated_us >= second.created_us
    info = one.update(tags={"team": "a"}, add=["desk"])
    assert (info.records, info.tags, info.experiments) == (2, {"team": "a"}, ["desk"])
    assert info.schema["inputs"] == {"q": "string", "n": "integer"} and info.schema["expectations"]["gate"] == "string"
    assert one.table()["tags.hard"].to_list() == ["yes", None]
    assert one.delete([first.id, "dr-nothing"]) == 1 and one.info.records == 1
    before = one.info.digest
    assert one.update(tags={"team": None}, remove=["desk"]).digest != before
    assert [it.name for it in eval_datasets()] == ["questions"] and eval_dataset("questions").id == one.id
    door.delete_eval_dataset(ws, id=one.id)
    with pytest.raises(NotFound, match="No evaluation dataset"):
        one.records()


def test_what_traces_were_asked_becomes_records(local_ws: Workspace) -> None:
    @trine.trace
    def answer(question: str) -> str:
        return "at ten"

    answer("when?")
    [trace] = trine.llm.search_traces()
    log_expectation(trace.id, "time", "nine")
    one = eval_dataset("questions")
    one.merge_traces([trace.id])
    [record] = one.records()
    assert (record.inputs, record.outputs, record.expectations) == ({"question": "when?"}, "at ten", {"time": "nine"})
    assert record.source and record.source["source_data"] == {"trace_id": f"tr-{trace.id}"}


def test_names_and_limits(local_ws: Workspace) -> None:
    first = door.create_eval_dataset(local_ws, name="same")
    door.create_eval_dataset(local_ws, name="same")
    with pytest.raises(InvalidInput, match=f"{first.id}|Give the id"):
        eval_dataset("same")
    with pytest.raises(Conflict, match="already"):
        door.create_eval_dataset(local_ws, name="same", distinct=True)
    with pytest.raises(NotFound):
        door.create_eval_dataset(local_ws, name="x", experiments=["nothing"])
    with pytest.raises(InvalidInput, match="inputs"):
        eval_dataset(first.id).merge([{"outputs": 1}])
