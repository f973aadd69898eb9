"""The object store through a server gives what a local one gives: the same hashes, the same bytes, the same errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from trine.access import operations as access
from trine.errors import Damaged, InvalidInput, NotFound, Unavailable
from trine.remote import BATCH_BYTES, RemoteStore
from trine.server.guard import LARGEST_BODY
from trine.workspace import Workspace, connect


def name_of(data: bytes) -> str:
    return blake3(data).hexdigest()


def test_objects_of_every_size_go_there_and_back(ws: Workspace, tmp_path: Path) -> None:
    items = [b"", b"one", os.urandom(300_000), os.urandom(BATCH_BYTES), b"z" * (LARGEST_BODY + 1), b"two"]
    names = [name_of(item) for item in items]
    assert ws.store.put_many(items) == names
    assert ws.store.put(items[4]) == names[4]
    assert [ws.store.get(name) for name in names] == items
    assert ws.store.get_many([*names, names[0]]) == [*items, items[0]]
    assert ws.store.get_many([]) == []
    assert [ws.store.size(name) for name in names] == [len(item) for item in items]
    assert ws.store.read(names[2], 10, 20) == items[2][10:30]
    assert ws.store.read(names[2], 299_990) == items[2][299_990:]
    assert ws.store.has([*names, "0" * 64]) == set(names)
    assert ws.store.has([]) == set()
    assert ws.store.put_many([]) == []
    files: list[Path] = []
    for index, item in enumerate(items):
        files.append(tmp_path / f"{index}.bin")
        files[-1].write_bytes(item)
    assert ws.store.put_files(files) == [(name, len(item)) for name, item in zip(names, items, strict=True)]
    assert ws.store.put_file(files[4]) == names[4]
    for name, item in zip(names, items, strict=True):
        assert ws.store.get_file(name, tmp_path / "out" / name).read_bytes() == item
    assert len(list((tmp_path / "out").iterdir())) == len(set(names))


def test_the_errors_are_the_same(ws: Workspace, tmp_path: Path) -> None:
    missing = "0" * 64
    for call in (
        ws.store.get,
        ws.store.size,
        lambda name: ws.store.get_many([name]),
        lambda name: ws.store.get_file(name, tmp_path / "out"),
    ):
        with pytest.raises(NotFound, match=f"no object {missing}"):
            call(missing)
        for wrong in ("abc", "../x", "A" * 64):
            with pytest.raises(InvalidInput, match="no object's hash"):
                call(wrong)
    with pytest.raises(InvalidInput, match="no object's hash"):
        ws.store.has(["abc"])
    with pytest.raises(NotFound, match="nowhere"):
        ws.store.put_file(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be read"):
        ws.store.put_file(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [100, 6 << 20])
def test_damage_is_named_and_nothing_of_it_handed_out(ws: Workspace, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    name = ws.store.put(data)
    (path,) = tmp_path.rglob(name)
    os.chmod(path, 0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(Damaged, match=name):
            ws.store.get_file(name, tmp_path / "out.bin")
    assert not (tmp_path / "out.bin").exists()
    ws.store.put(data)
    assert ws.store.get(name) == data


def test_a_server_that_lies_is_found_out(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives is checked here too."""
    if not isinstance(ws.store, RemoteStore):
        return
    name = ws.store.put(b"right")
    import httpx

    real = httpx.Response.iter_bytes
    monkeypatch.setattr(httpx.Response, "iter_bytes", lambda *a, **k: (b"w" + part[1:] for part in real(*a, **k)))
    with pytest.raises(Damaged, match="arrived damaged"):
        ws.store.get(name)


def test_a_closed_connection_says_so(shared_server: tuple[str, str]) -> None:
    url, token = shared_server
    away = connect(url, token=token)
    away.close()
    with pytest.raises(Unavailable, match="was closed"):
        access.whoami(away)
