from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import trine
from trine import data, upkeep
from trine.access import audit
from trine.cli import main
from trine.data import operations as data_door
from trine.errors import Damaged, InvalidInput
from trine.ids import new_id
from trine.storage import ObjectStore
from trine.workspace import Workspace


def test_what_the_ledger_needs_stays_and_the_rest_goes(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "photos" / name).write_bytes(name.encode() * 1000)
    kept = data.add(tmp_path / "photos", name="photos", message="first")
    data.commit(pl.DataFrame({"x": range(100)}), name="rows", message="first")
    data.commit(pl.DataFrame({"x": range(50)}), name="old", message="first")
    with trine.run("tries") as run:
        run.log_text("hello", "notes/hello.txt")
    spare = local_ws.store.put(b"nobody needs this")
    before = upkeep.verify(local_ws)
    assert before.is_sound and before.spare == 1

    data_door.delete_dataset(local_ws, name="old")
    planned = upkeep.collect(local_ws, grace_s=0, dry_run=True)
    assert local_ws.store.has([spare]) == {spare}
    done = upkeep.collect(local_ws, grace_s=0)
    assert done.objects == planned.objects > 1
    upkeep.collect(local_ws, grace_s=0)

    after = upkeep.verify(local_ws)
    assert after.is_sound and after.spare == 0
    assert local_ws.store.has([spare]) == set()
    assert data.verify(kept.ref) == [] and data.load("rows").collect().height == 100
    assert audit.list_events(local_ws, operation="store.*").items[0].body["objects"] >= 0
    assert audit.verify_events(local_ws).intact


def test_a_missing_object_is_named_with_what_needs_it(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"x" * 400_000)
    data.add(tmp_path / "photo", name="photos", message="first")
    assert isinstance(local_ws.store, ObjectStore)
    [lost] = Path(local_ws.store.location).glob("objects/*/*")
    lost.unlink()
    found = CliRunner().invoke(main, ["verify", "-w", local_ws.location])
    assert found.exit_code == 1
    assert f"missing  {lost.name[:12]}  needed by data_commit default photos" in found.output
    assert not upkeep.verify(local_ws).is_sound


def test_nothing_is_collected_when_what_a_tree_needs_is_not_known(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"x" * 400_000)
    data.add(tmp_path / "photo", name="photos", message="first")
    assert isinstance(local_ws.store, ObjectStore)
    for pack in Path(local_ws.store.location).glob("packs/*"):
        pack.unlink()
    ws = trine.connect(local_ws.location)
    with pytest.raises(Damaged, match="Nothing was collected"):
        upkeep.collect(ws, grace_s=0)
    assert list(Path(local_ws.store.location).glob("objects/*/*"))
    ws.close()


def test_every_column_that_opens_objects_names_a_function_that_does() -> None:
    from trine import rooms
    from trine.ledger import metadata

    rooms.load()
    opened = [
        column.info["object"] for table in metadata.tables.values() for column in table.c if column.info.get("object")
    ]
    assert len(opened) >= 4 and all(callable(upkeep._opener(one)) for one in opened)


def test_the_commands_speak_of_what_went(local_ws: Workspace) -> None:
    local_ws.store.put(new_id().encode())
    told = CliRunner().invoke(main, ["verify", "-w", local_ws.location])
    assert told.exit_code == 0 and told.output == "Sound: 1 object, 0 needed, all there and whole. 1 can go: trine gc\n"
    told = CliRunner().invoke(main, ["gc", "-w", local_ws.location, "--grace", "0"])
    assert told.output == "1 object (32 bytes) went to the trash, 1 for good.\n"
    assert CliRunner().invoke(main, ["gc", "-w", local_ws.location, "--grace", "-1"]).exit_code == 2


def test_a_remote_workspace_says_where_to_run_it(ws: Workspace) -> None:
    if ws.remote is None:
        assert upkeep.verify(ws).is_sound
        return
    with pytest.raises(InvalidInput, match="On its machine"):
        upkeep.collect(ws)
