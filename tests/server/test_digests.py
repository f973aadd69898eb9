"""DVC's and git-lfs' clients, as they speak: the requests here are those that DVC 3.67 and git-lfs 3.3 make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from trine import upkeep
from trine.access import operations as access
from trine.workspace import Workspace


@pytest.fixture(scope="module")
def client(shared_server: tuple[str, str]) -> Iterator[httpx.Client]:
    url, token = shared_server
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as found:
        yield found


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("form", "ending"), [("files/md5/{0}/{1}", ""), ("{0}/{1}", ""), ("files/md5/{0}/{1}", ".dir")]
)
def test_dvc_pushes_and_pulls(client: httpx.Client, form: str, ending: str) -> None:
    content = f"content {form}{ending}".encode()
    digest = md5(content)
    path = "/dvc/default/" + form.format(digest[:2], digest[2:]) + ending
    assert client.head(path).status_code == 404
    assert client.post(path, content=content).status_code == 200
    assert client.put(path, content=content).status_code == 200
    head = client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    assert client.get(path).content == content
    assert client.get(path.replace("default", "other")).status_code == 404  # of another project
    assert client.post(path, content=b"other").status_code == 422


def test_what_is_no_file_of_dvc_is_not_found(client: httpx.Client) -> None:
    for path in ("files/md5/zz/" + "0" * 30, "files/md5/00/00", "anything", "files/md5/00/" + "0" * 30 + ".dirt"):
        assert client.get(f"/dvc/default/{path}").status_code == 404


def test_git_lfs_uploads_and_downloads(client: httpx.Client) -> None:
    content = b"large" * 2_000_000
    oid = hashlib.sha256(content).hexdigest()

    def batch(operation: str, *oids: str, status: int = 200) -> list[dict[str, object]]:
        body = {
            "operation": operation,
            "transfers": ["lfs-standalone-file", "basic", "ssh"],
            "ref": {"name": "refs/heads/main"},
            "objects": [{"oid": one, "size": len(content)} for one in oids],
            "hash_algo": "sha256",
        }
        answer = client.post("/lfs/default/objects/batch", json=body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/vnd.git-lfs+json"
        return answer.json().get("objects", [])

    [missing] = batch("download", oid)
    assert missing["error"] == {"code": 404, "message": "The file is not here."}
    [upload] = batch("upload", oid)
    action = upload["actions"]["upload"]  # type: ignore[index]
    assert action["header"]["Authorization"] == client.headers["authorization"]
    assert client.put(action["href"], content=b"x", headers=action["header"]).status_code == 422
    assert client.put(action["href"], content=content, headers=action["header"]).status_code == 200
    assert "actions" not in batch("upload", oid)[0]
    [download] = batch("download", oid)
    assert client.get(download["actions"]["download"]["href"]).content == content  # type: ignore[index]
    assert batch("delete", oid, status=422) == []
    assert batch("download", "0", status=422) == []


def test_who_asks_has_to_be_known(client: httpx.Client, shared_ws: Workspace) -> None:
    url = str(client.base_url)
    refused = httpx.post(f"{url}/lfs/default/objects/batch", json={"operation": "download", "objects": []})
    assert (refused.status_code, refused.headers["lfs-authenticate"]) == (401, 'Basic realm="trine"')
    assert "message" in refused.json()
    path = f"/dvc/default/files/md5/00/{md5(b'x')[2:]}"
    assert httpx.get(url + path).status_code == 401
    access.create_principal(shared_ws, name="user:reader")
    access.grant_role(shared_ws, principal_name="user:reader", role="viewer", everywhere=True)
    token = access.create_token(shared_ws, principal_name="user:reader", everywhere=True).text
    assert httpx.get(url + path, auth=("reader", token)).status_code == 404
    assert httpx.put(url + path, auth=("reader", token), content=b"x").status_code == 403


def test_garbage_collection_keeps_these_files(client: httpx.Client, shared_ws: Workspace) -> None:
    content = b"kept"
    path = f"/dvc/default/files/md5/{md5(content)[:2]}/{md5(content)[2:]}"
    client.post(path, content=content)
    upkeep.collect(shared_ws, grace_s=0)
    assert client.get(path).content == content
