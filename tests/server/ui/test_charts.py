"""What charts are fed with: thinned on the server, and drawn there where no script is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trine
from trine import data
from trine.server.ui.drawings import bars, edges_of, histogram, shares_between
from trine.workspace import Workspace


@pytest.fixture
def client(local_ws: Workspace, site: Callable[..., str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site(local_ws, embedded=True)) as found:
        yield found


def lines(client: httpx.Client, **query: object) -> list[dict[str, list[float]]]:
    answer = client.get("/series", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.json()["lines"]


def test_a_long_line_is_thinned_and_a_part_of_it_is_read_anew(client: httpx.Client):
    steps = np.arange(50_000)
    values = np.sin(steps / 500)
    values[31_415] = 40.0
    with trine.run("long") as run:
        run.log_batch("loss", values, steps=steps)
    (whole,) = lines(client, run=run.id, key="loss")
    assert len(whole["x"]) <= 600 and max(whole["high"]) == 40.0
    assert whole["x"] == sorted(whole["x"])
    assert all(low <= y <= high for low, y, high in zip(whole["low"], whole["y"], whole["high"], strict=True))
    (part,) = lines(client, run=run.id, key="loss", **{"from": 31_000, "to": 31_500})
    assert part["x"] == list(range(31_000, 31_501)) and part["y"][415] == 40.0 and "low" not in part
    (nothing,) = lines(client, run=run.id, key="loss", **{"from": 1e300, "to": 1e301})
    assert nothing["x"] == []
    (timed,) = lines(client, run=run.id, key="loss", axis="time")
    assert len(timed["x"]) <= 600 and max(timed["high"]) == 40.0


def test_lines_of_several_runs_come_together_and_what_is_no_number_is_a_gap(client: httpx.Client):
    ids: list[str] = []
    for name in ("<one>", "two"):
        with trine.run("pair", name=name) as run:
            for value in (1.0, float("nan"), float("inf"), 2.0):
                run.log("loss", value)
            ids.append(run.id)
    with trine.run("pair", name="without") as run:
        ids.append(run.id)
    found = lines(client, run=ids, key="loss")
    assert [one["label"] for one in found] == ["<one>", "two"]
    assert found[0]["y"] == [1.0, None, None, 2.0]
    timed = client.get("/series", params={"run": ids, "key": "loss", "axis": "time"}).json()
    assert timed["time"] and len(timed["lines"]) == 2


def test_a_metric_or_a_bound_that_is_none_is_told(client: httpx.Client):
    with trine.run("one") as run:
        run.log("loss", 1.0)
    assert client.get("/series", params={"run": run.id, "key": "lost"}).status_code == 404
    wrong = client.get("/series", params={"run": run.id, "key": "loss", "from": "x"})
    assert wrong.status_code == 422 and "no number" in wrong.json()["error"]["message"]


@given(st.lists(st.floats(-1e6, 1e6).map(lambda one: round(one, 3)), min_size=300, max_size=600), st.integers(1, 40))
def test_shares_read_off_quantiles_are_those_of_the_rows(values: list[float], bins: int):
    ordered = np.sort(values)
    quantiles = ordered[np.linspace(0, len(ordered) - 1, 257).round().astype(int)].tolist()
    edges = edges_of([quantiles], bins)
    shares = shares_between(quantiles, edges)
    assert len(shares) == bins and all(one >= 0 for one in shares)
    assert sum(shares) == pytest.approx(1)
    below = np.cumsum(shares)[:-1]
    left, right = (np.searchsorted(ordered, edges[1:-1], side=side) / len(values) for side in ("left", "right"))
    assert np.all(below >= left - 0.02) and np.all(below <= right + 0.02)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("c", ["a", "<b>", None, "a"]),
        pl.Series("c", [True, False, None]),
        pl.Series("c", [1, 2, 2, 3]),
        pl.Series("c", np.random.default_rng(1).normal(size=500)),
        pl.Series("c", [None, None], dtype=pl.Float64),
        pl.Series("c", [float("nan"), float("inf"), 1.0]),
        pl.Series("c", [[1], [2]]),
    ],
)
def test_every_kind_of_column_has_a_picture_or_none(column: pl.Series):
    profile = data.profile_frame(column.to_frame()).columns[0]
    labels, shares = histogram(profile)
    assert len(labels) == len(shares)
    drawn = str(bars(shares, labels=labels))
    assert drawn.startswith("<svg") and "<b>" not in drawn


def test_a_role_sees_no_button_for_what_it_may_not_do(local_ws: Workspace, site: Callable[..., str]):
    from trine import access

    tokens: dict[str, str] = {}
    for name in ("viewer", "maintainer"):
        access.create_principal(local_ws, name=f"user:{name}")
        access.grant_role(local_ws, principal_name=f"user:{name}", role=name)
        tokens[name] = access.create_token(local_ws, principal_name=f"user:{name}").text
    with trine.run("one") as run:
        run.log("loss", 1.0)
    url = site(local_ws)
    for name, offered in (("viewer", False), ("maintainer", True)):
        headers = {"authorization": f"Bearer {tokens[name]}", "accept": "text/html"}
        page = httpx.get(f"{url}/runs/{run.id}", headers=headers)
        assert page.status_code == 200 and ("Remove</button>" in page.text) is offered
        assert ("Revoke</button>" in httpx.get(f"{url}/access", headers=headers).text) is False


def test_a_token_of_one_project_shows_that_project_alone(local_ws: Workspace, site: Callable[..., str]):
    from trine import access

    other = local_ws.for_project("other")
    access.create_principal(local_ws, name="user:ben", password="correct horse")
    access.grant_role(other, principal_name="user:ben", role="viewer")
    token = access.create_token(other, principal_name="user:ben").text
    with trine.run("secret plans") as run:
        run.log("loss", 1.0)
    with httpx.Client(base_url=site(local_ws), headers={"accept": "text/html"}) as client:
        client.headers["authorization"] = f"Bearer {token}"
        assert "secret plans" not in client.get("/runs").text
        assert client.get(f"/runs/{run.id}").status_code == 404


def test_a_commit_whose_profile_is_damaged_is_shown_with_what_is_wrong(client: httpx.Client, local_ws: Workspace):
    made = trine.dataset("rides").commit(pl.DataFrame({"x": range(10)}))
    for file in (local_ws.root / "store").rglob("*"):  # type: ignore[operator]
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(file.read_bytes()[::-1])
    answer = client.get(f"/data/rides/commits/{made.id[:12]}", headers={"accept": "text/html"})
    assert answer.status_code == 200 and 'class="problem"' in answer.text and "cannot be read here" in answer.text
