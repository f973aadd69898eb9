"""Who sees pages, what a form needs, and what a browser is told when something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx
import polars as pl
import pytest

import trine
from trine.access import operations as access
from trine.workspace import Workspace

HTML = {"accept": "text/html"}


@pytest.fixture
def embedded(local_ws: Workspace, site: Callable[..., str]) -> Iterator[httpx.Client]:
    """The pages as `trine ui` serves them."""
    with httpx.Client(base_url=site(local_ws, embedded=True), headers=HTML, follow_redirects=True) as client:
        yield client


@pytest.fixture
def served(local_ws: Workspace, site: Callable[..., str]) -> Iterator[httpx.Client]:
    """The pages of a server for a team."""
    access.create_principal(local_ws, name="user:ana", password="correct horse")
    access.grant_role(local_ws, principal_name="user:ana", role="viewer")
    with httpx.Client(base_url=site(local_ws), headers=HTML, follow_redirects=True) as client:
        yield client


def form_key(page: httpx.Response) -> str:
    found = re.search(r'name="form_key" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return found[1]


def sign_in(client: httpx.Client, password: str = "correct horse", **fields: str) -> httpx.Response:
    key = form_key(client.get("/sign-in"))
    body = {"form_key": key, "name": "ana", "password": password, **fields}
    return client.post("/sign-in", data=body, follow_redirects=False)


def test_an_embedded_site_needs_no_signing_in_and_runs_nothing_that_is_not_ours(embedded: httpx.Client):
    page = embedded.get("/")
    assert page.status_code == 200 and "This workspace is empty" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "style=" not in page.text and "onclick" not in page.text


def test_a_host_that_is_not_ours_gets_no_page(embedded: httpx.Client):
    answer = embedded.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 403 and "evil.example" in answer.text


def test_a_page_that_is_not_there_is_a_page_for_browsers_and_json_for_programs(embedded: httpx.Client):
    page = embedded.get("/nowhere")
    assert page.status_code == 404 and "There is nothing here" in page.text
    told = embedded.get("/nowhere", headers={"accept": "application/json"})
    assert told.status_code == 404 and told.json()["error"]["code"] == "not_found"


def test_a_server_asks_for_signing_in_and_leads_back(served: httpx.Client):
    answer = served.get("/?a=1", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/sign-in?back=%2F%3Fa%3D1"
    done = sign_in(served, back="/?a=1")
    assert done.status_code == 303 and done.headers["location"] == "/?a=1"
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert "user:ana" in served.get("/").text


def test_a_wrong_password_is_told_and_another_site_is_never_led_to(served: httpx.Client):
    wrong = sign_in(served, password="no")
    assert wrong.status_code == 401 and "wrong" in wrong.text
    assert sign_in(served, back="//evil.example").headers["location"] == "/"


def test_the_cookie_opens_pages_and_no_rest_route(served: httpx.Client):
    sign_in(served)
    assert served.get("/").status_code == 200
    assert served.get("/api/v1/me").status_code == 401


def test_a_form_without_its_key_or_of_another_site_changes_nothing(served: httpx.Client):
    sign_in(served)
    key = form_key(served.get("/"))
    assert served.post("/project", data={"project": "other"}).status_code == 403
    cross = served.post(
        "/project", data={"project": "other", "form_key": key}, headers={"sec-fetch-site": "cross-site"}
    )
    assert cross.status_code == 403
    origin = served.post(
        "/project", data={"project": "other", "form_key": key}, headers={"origin": "http://evil.example"}
    )
    assert origin.status_code == 403
    done = served.post("/project", data={"project": "other", "form_key": key}, follow_redirects=False)
    assert done.status_code == 303


def test_signing_out_ends_the_session_and_its_token(served: httpx.Client):
    sign_in(served)
    token = served.cookies["trine_session"]
    served.post("/sign-out", data={"form_key": form_key(served.get("/"))})
    assert served.get("/", follow_redirects=False).status_code == 303
    assert served.get("/api/v1/me", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_names_that_would_be_markup_are_text_on_every_page(embedded: httpx.Client, local_ws: Workspace):
    bad = """</script><script>alert(1)</script>"'><img src=x onerror=alert(1)>"""
    ids: list[str] = []
    for number in range(2):
        with trine.run("hostile", name=f"{bad}{number}") as run:
            run.params({"kind": f"{bad}{number}", "depth": number})
            run.tag("note", f"[x](javascript:alert(1)) {bad}")
            run.log_batch("loss", [number, 1.0, 2.0])
            run.log_text(bad, "note.md")
            ids.append(run.id)
    trine.dataset("rides").commit(pl.DataFrame({"town": [bad, "x"], bad: [1, 2]}), message=bad)
    access.create_token(local_ws, principal_name=_somebody(local_ws), description=bad)
    commit = re.search(r"/data/rides/commits/\w+", embedded.get("/data/rides").text)
    assert commit
    addresses = [
        "/", "/runs", "/runs?group=param.kind&pin=param.kind", "/runs?view=scatter&c=param.kind&c=param.depth",
        "/runs?view=charts", f"/runs/{ids[0]}", f"/compare?run={ids[0]}&run={ids[1]}",
        f"/compare/changes?run={ids[0]}&run={ids[1]}", f"/runs/{ids[0]}/artifacts/note.md", "/data", "/data/rides",
        commit[0], "/events", "/access", f"/search?q={quote(bad)}", f"/runs?q={quote(bad)}", f"/nowhere/{quote(bad)}",
        f"/lineage?node=run:{ids[0]}",
    ]  # fmt: skip
    for address in addresses:
        page = embedded.get(address)
        assert page.status_code < 500, address
        assert "<script>alert" not in page.text and "<img src=x" not in page.text, address
        assert 'href="javascript:' not in page.text, address
        assert "unsafe" not in page.headers["content-security-policy"]
    raw = embedded.get(f"/runs/{ids[0]}/raw/note.md")
    assert raw.headers["content-disposition"].startswith("attachment")
    assert raw.headers["content-security-policy"] == "default-src 'none'; sandbox"


def _somebody(ws: Workspace) -> str:
    access.create_principal(ws, name="user:ana")
    return "user:ana"
