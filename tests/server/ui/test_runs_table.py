"""The runs of a search in a real browser: columns that stay in sight, metrics over each other, the band and the zoom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import trine
from trine.workspace import connect, using


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, site: Callable[..., str]) -> Iterator[str]:
    """Pages of eight runs, of which four have logged more points than a chart has room for."""
    root = tmp_path_factory.mktemp("runs")
    (root / ".trine").mkdir()
    (root / ".trine" / "ledger.db").write_bytes(sqlite_template.read_bytes())
    with connect(root) as ws, using(ws):
        for number in range(8):
            with trine.run("sweep", name=f"net-{number}", capture=False) as run:
                run.params({"kind": ["<i>a", "b"][number % 2], "depth": number})
                steps = np.arange(5000 if number < 4 else 30)
                run.log_batch("loss", np.sin(steps) + number, steps=steps)
                run.log("auc", number / 10)
        yield site(ws, embedded=True)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    found = context.new_page()
    found.set_default_timeout(60_000)
    yield found
    context.close()


def test_pinned_columns_come_first_and_stay_in_sight(page: Page, address: str):
    page.set_viewport_size({"width": 900, "height": 800})
    page.goto(f"{address}/runs")
    page.get_by_text("Columns").click()
    page.get_by_label("pin auc").check()
    page.get_by_label("pin kind").check()
    page.get_by_role("button", name="Search").click()
    expect(page.locator("thead .pin")).to_have_text(["auc", "kind"])
    before = page.locator("tbody tr").first.locator(".pin").first.bounding_box()
    page.locator("main .scroll").evaluate("(box) => { box.scrollLeft = 250; }")
    state = page.locator("thead th").filter(has_text="state").bounding_box()
    after = page.locator("tbody tr").first.locator(".pin").first.bounding_box()
    assert before and after and state and after["x"] == before["x"] and state["x"] < after["x"] + 250


def test_groups_have_the_medians_of_their_runs(page: Page, address: str):
    page.goto(f"{address}/runs?group=param.kind&c=metric.auc&pin=metric.auc")
    expect(page.locator("tr.best th")).to_have_text(["kind b 4 runs, medians", "kind <i>a 4 runs, medians"])
    expect(page.locator("tr.best td.n")).to_have_text(["0.4", "0.3"])


def test_a_metric_of_many_runs_is_drawn_over_each_other_with_bands_and_read_anew_where_one_looks_closer(
    page: Page, address: str
):
    with page.expect_response(lambda one: "/series" in one.url) as told:
        page.goto(f"{address}/runs?view=charts")
    lines = told.value.json()["lines"]
    assert len(lines) == 8 and sum("low" in one for one in lines) == 4
    plot = page.locator("[data-chart] .plot[data-drawn]")
    expect(plot).to_contain_text("and 4 more")
    box = plot.locator(".u-over").bounding_box()
    assert box
    with page.expect_response(lambda one: "from=" in one.url) as told:
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 60, steps=4)
        page.mouse.up()
    part = next(one for one in told.value.json()["lines"] if one["label"] == "net-0")
    assert "low" not in part and np.diff(part["x"]).tolist() == [1.0] * (len(part["x"]) - 1)
    with page.expect_response(lambda one: "/series" in one.url and "from=" not in one.url):
        plot.locator(".u-over").dblclick()
    with page.expect_response(lambda one: "/series" in one.url and "axis=time" in one.url):
        page.get_by_label("over").select_option("time")
    expect(page.locator("[data-chart] .plot[data-drawn] canvas")).to_be_visible()
