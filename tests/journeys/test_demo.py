"""`trine demo`, as a newcomer runs it; shortened to the spring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRINE_")}
    command = [sys.executable, "-m", "trine.cli", "demo", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def spring(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "flights"
    done = demo(folder, "--months", "5")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_the_loop_retrains_on_drift_and_beats_the_frozen_model(spring: tuple[Path, str]) -> None:
    folder, told = spring
    assert "2013-05" in told and "promoted through canary 25→100 %" in told
    for line in ("← route:delays@", "← model:delays@", "← run:", "← dataset:delays-train@", "← code:"):
        assert line in told
    assert (folder / "card.md").read_text().startswith("# ")


def test_a_second_start_goes_on_where_the_first_stopped(spring: tuple[Path, str]) -> None:
    folder, _ = spring
    done = demo(folder, "--months", "6", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout[done.stdout.index("{") :])
    months = {one["month"]: one for one in told["months"]}
    assert list(months) == ["2013-03", "2013-04", "2013-05", "2013-06"]
    june = months["2013-06"]
    assert june["version"] == "delays@2" and june["looped.auc"] > june["frozen.auc"] + 0.02


def test_garbage_collection_leaves_all_that_the_loop_needs(spring: tuple[Path, str]) -> None:
    from trine import data, governance, models, upkeep
    from trine.workspace import connect, using

    with connect(spring[0]) as ws, using(ws):
        card = governance.card("delays@production").markdown
        before = upkeep.verify(ws)
        assert before.is_sound and before.spare
        upkeep.collect(ws, grace_s=0)
        assert upkeep.collect(ws, grace_s=0).objects == 0
        after = upkeep.verify(ws)
        assert after.is_sound and after.spare == 0 and after.needed == before.needed
        assert data.verify("flights") == [] and data.load("delays-train").collect().height > 0
        assert models.load_model("delays@production").version.version == 2
        assert governance.card("delays@production").markdown == card


def test_the_demo_says_what_folder_it_cannot_take(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = demo(tmp_path)
    assert done.returncode == 2 and "folder of its own" in done.stderr
    assert demo(tmp_path / "new", "--months", "1").returncode == 2
